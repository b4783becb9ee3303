"""What is played: videos, recordings, cameras, calibrations; and what each of them refuses."""

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from h2onet_ros.bag.calibration import fit_camera, load_camera
from h2onet_ros.bag.cdr import header_stamp, with_header_stamp
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.message_types import CAMERA_INFO, COMPRESSED_IMAGE, HAND_ARRAY, IMAGE
from h2onet_ros.bag.sources import BagSource, CameraSource, SourceError, VideoSource

SECOND = 1_000_000_000
CAMERA_YAML = """\
image_width: 640
image_height: 480
camera_name: test
camera_matrix: {rows: 3, cols: 3, data: [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0.0]}
"""


@pytest.fixture
def video(tmp_path):
    """20 grey images at 25 a second, each a little lighter."""
    path = tmp_path / "grey.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for index in range(20):
        writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    writer.release()
    return path


def write_bag(path, entries, maker, plugin=StoragePlugin.MCAP):
    """Write (topic, type, time, serialised message) entries with rosbags."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, kind, time_ns, data in entries:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=maker.store)
            writer.write(connections[topic], time_ns, data)
    return path


def image_entries(maker, count=5, topic="/camera/image_raw", step_ns=40_000_000):
    for index in range(count):
        pixels = np.full((4, 6, 3), index, np.uint8)
        data = with_header_stamp(maker.image(0, pixels), 7 * SECOND + index * step_ns)
        yield topic, IMAGE, 100 * SECOND + index * 50_000_000, data


def info_entry(maker, topic, time_ns=0):
    kinds = maker.types
    roi = kinds["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    info = kinds[CAMERA_INFO](
        maker.header(1), 4, 6, "plumb_bob", np.zeros(5), np.eye(3).ravel(), np.eye(3).ravel(), np.zeros(12),
        0, 0, roi,
    )  # fmt: skip
    return topic, CAMERA_INFO, time_ns, bytes(maker.store.serialize_cdr(info, CAMERA_INFO))


def test_a_video_is_played_at_its_own_pace(video):
    source = VideoSource(video)
    assert (source.frame_count, source.frame_rate, source.size) == (20, 25.0, (64, 48))
    pictures = list(source.pictures())
    assert [picture.time for picture in pictures] == [40_000_000 * index for index in range(20)]
    assert abs(int(pictures[10].bgr.mean()) - 100) <= 6
    assert len(list(source.pictures())) == 20  # Again from the start.


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "nothing is there"),
        (b"", "0 bytes without a readable image"),
        (b"no video" * 99, "can be decoded"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, content, complaint):
    path = tmp_path / "video.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=complaint):
        VideoSource(path)


def test_a_video_without_its_end_is_refused(video):
    video.write_bytes(video.read_bytes()[:-200])
    with pytest.raises(SourceError, match="can be decoded"):
        VideoSource(video)


@pytest.mark.parametrize("device", ["/dev/video87", "87"])
def test_a_camera_that_is_not_there_is_refused(device):
    with pytest.raises(SourceError, match="Expected a camera at /dev/video87"):
        CameraSource(device)


def test_a_device_that_is_no_camera_is_refused():
    with pytest.raises(SourceError, match="cannot be opened"):
        CameraSource("/dev/null")


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_a_recording_is_played_at_the_pace_of_its_stamps(tmp_path, maker, plugin):
    source = BagSource(write_bag(tmp_path / "bag", image_entries(maker), maker, plugin))
    assert source.frame_count == 5 and source.frame_rate == pytest.approx(25.0)
    pictures = list(source.pictures())
    assert [picture.time for picture in pictures] == [40_000_000 * index for index in range(5)]
    assert [header_stamp(picture.image.data) for picture in pictures][:2] == [7 * SECOND, 7_040_000_000]
    assert all(picture.camera_info is None for picture in pictures)


def test_without_usable_stamps_the_time_of_recording_sets_the_pace(tmp_path, maker):
    source = BagSource(write_bag(tmp_path / "bag", image_entries(maker, step_ns=0), maker))
    assert [picture.time for picture in source.pictures()] == [50_000_000 * index for index in range(5)]


@pytest.mark.parametrize(
    ("image_topic", "info_topic"),
    [
        ("/camera/image_raw", "/camera/camera_info"),
        ("/camera/image_raw/compressed", "/camera/camera_info"),
        ("/camera/image_raw", "/somewhere/else"),
    ],
)
def test_the_camera_info_of_the_images_comes_along_from_the_first_one_on(
    tmp_path, maker, image_topic, info_topic
):
    entries = [*image_entries(maker, topic=image_topic), info_entry(maker, info_topic, 200 * SECOND)]
    if info_topic == "/camera/camera_info":
        entries.append(info_entry(maker, "/other/camera_info", 0))
    source = BagSource(write_bag(tmp_path / "bag", entries, maker))
    assert {picture.camera_info.topic for picture in source.pictures()} == {info_topic}


def test_depth_is_not_taken_for_the_camera(tmp_path, maker):
    entries = [*image_entries(maker, 9, "/aligned_depth_to_color/image_raw"), *image_entries(maker, 5)]
    path = write_bag(tmp_path / "bag", entries, maker)
    assert "topic /camera/image_raw (5 images" in BagSource(path).description
    assert "(9 images" in BagSource(path, "/aligned_depth_to_color/image_raw").description


def test_the_fullest_image_topic_is_played_unless_one_is_named(tmp_path, maker):
    entries = [*image_entries(maker, 3, "/left"), *image_entries(maker, 5, "/right")]
    path = write_bag(tmp_path / "bag", entries, maker)
    assert BagSource(path).frame_count == 5
    assert BagSource(path, "/left").frame_count == 3
    with pytest.raises(BagError, match="Did you mean /left"):
        BagSource(path, "/lefty")


def test_compressed_images_are_known_as_such(tmp_path, maker):
    image = maker.types[COMPRESSED_IMAGE](maker.header(1), "jpeg", np.zeros(9, np.uint8))
    data = bytes(maker.store.serialize_cdr(image, COMPRESSED_IMAGE))
    path = write_bag(tmp_path / "bag", [("/image/compressed", COMPRESSED_IMAGE, 0, data)], maker)
    assert BagSource(path).is_compressed


def test_a_recording_without_images_is_refused(tmp_path, maker):
    path = write_bag(tmp_path / "bag", [("/hands", HAND_ARRAY, 0, maker.hands(0))], maker)
    with pytest.raises(SourceError, match=r"Expected a recording with images .* has /hands \(h2onet_msgs"):
        BagSource(path)
    with pytest.raises(
        BagError, match=r"Expected images \(.*CompressedImage\) on the topic /hands, it has h2onet_msgs"
    ):
        BagSource(path, "/hands")


def test_an_empty_recording_is_refused(tmp_path, maker):
    with pytest.raises(SourceError, match="has no topics"):
        BagSource(write_bag(tmp_path / "bag", [], maker))


@pytest.mark.parametrize("big_endian", [False, True])
def test_stamps_are_read_and_set(maker, big_endian):
    data = bytearray(maker.hands(3))
    if big_endian:
        data[1] = 0
        data[4:8], data[8:12] = data[4:8][::-1], data[8:12][::-1]
    assert header_stamp(data) == 3 * SECOND + 7
    changed = with_header_stamp(data, 12_345_678_901)
    assert header_stamp(changed) == 12_345_678_901
    assert changed[:4] + changed[12:] == bytes(data[:4] + data[12:])
    with pytest.raises(ValueError, match="12 bytes at least, got 3"):
        header_stamp(b"\0\1\0")


def test_a_calibration_is_read(tmp_path):
    (tmp_path / "camera.yaml").write_text(CAMERA_YAML)
    camera = load_camera(tmp_path / "camera.yaml")
    assert (camera.width, camera.height, camera.distortion_model) == (640, 480, "plumb_bob")
    np.testing.assert_array_equal(camera.k, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    np.testing.assert_array_equal(camera.distortion, [0.1, -0.2, 0.001, 0.002, 0])


def test_a_calibration_fits_images_of_its_proportions(tmp_path):
    (tmp_path / "camera.yaml").write_text(CAMERA_YAML)
    camera = load_camera(tmp_path / "camera.yaml")
    assert fit_camera(camera, 640, 480) is camera
    assert fit_camera(camera, 320, 240).focal == pytest.approx([250, 255])
    with pytest.raises(BagError, match=r"for images of 640 x 480 .* have 1280 x 720"):
        fit_camera(camera, 1280, 720)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        ("[1, 2", "Cannot read the calibration"),
        ("hello", "holds str, no entries"),
        ("image_width: 640\n", "lacks image_height"),
        (CAMERA_YAML.replace("500.0, ", ""), "describes no camera"),
        (CAMERA_YAML.replace("500.0", "-500.0"), "positive focal lengths"),
        (CAMERA_YAML.replace("plumb_bob", "magic"), "magic"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, content, complaint):
    path = tmp_path / "camera.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BagError, match=complaint):
        load_camera(path)
