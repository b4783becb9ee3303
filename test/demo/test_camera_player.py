"""The camera player as a process, received by a subscriber over DDS."""

import json
import signal

import cv2
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from h2onet_ros.bag.cdr import with_header_stamp
from h2onet_ros.bag.message_types import CAMERA_INFO, IMAGE
from h2onet_ros.bag.writer import BagWriter

CALIBRATION = """\
image_width: 320
image_height: 240
camera_matrix: {rows: 3, cols: 3, data: [300.0, 0.0, 160.0, 0.0, 300.0, 120.0, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0.0, 0.0, 0.0, 0.0]}
"""


def subscribe(node, kind, topic, qos=50):
    """A list that the topic's messages are appended to; reliable with room for all of them as a rule."""
    received = []
    node.create_subscription(kind, topic, received.append, qos)
    return received


def stamp(message):
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def frames(path):
    capture = cv2.VideoCapture(str(path))
    while (frame := capture.read())[0]:
        yield frame[1]


def test_a_video_arrives_image_by_image_at_its_pace(start, ros, short_video, tmp_path):
    (tmp_path / "camera.yaml").write_text(CALIBRATION)
    player = start(
        "camera_player",
        ["--video", short_video, "--calibration", tmp_path / "camera.yaml", "--events", "--frame-id", "eye"],
    )
    player.event("waiting")  # It does not begin without a subscriber.
    images, infos = subscribe(ros, Image, "image"), subscribe(ros, CameraInfo, "camera_info")
    ros.spin(lambda: len(images) == 12 and len(infos) == 12)
    end = player.event("end")
    assert player.finish() == (0, "")
    for image, expected in zip(images, frames(short_video), strict=True):
        assert (image.encoding, image.width, image.height, image.step) == ("bgr8", 160, 120, 480)
        assert np.array_equal(np.frombuffer(image.data, np.uint8).reshape(120, 160, 3), expected)
    stamps = [stamp(image) for image in images]
    assert end["frames"] == 12 and end["last_stamp"] == stamps[-1]
    assert stamps == [stamp(info) for info in infos]
    # 11 steps of 1/30 s; the first may be late by a step at the most, and nothing makes the last come early.
    assert (stamps[-1] - stamps[0]) / 1e9 >= 10 / 30 - 0.02
    assert {image.header.frame_id for image in images} == {"eye"}
    assert list(infos[0].k) == [150, 0, 79.75, 0, 150, 59.75, 0, 0, 1]  # Half the calibrated size.
    assert infos[0].distortion_model == "plumb_bob" and infos[0].d[0] == 0.1


def test_without_a_calibration_the_camera_info_says_so(start, ros, short_video):
    infos = subscribe(ros, CameraInfo, "camera_info")
    images = subscribe(ros, CompressedImage, "image/compressed")
    start("camera_player", ["--video", short_video, "--compressed"])
    ros.spin(lambda: len(images) == 12 and infos)
    assert not infos[0].k.any() and (infos[0].width, infos[0].height) == (160, 120)
    decoded = cv2.imdecode(np.frombuffer(images[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - next(frames(short_video))).mean() < 20


def recorded_image(index, encoding="mono8"):
    image = Image(width=6, height=4, encoding=encoding, step=8)
    image.header.frame_id = "recorded"
    image.header.stamp.sec = index
    image.data.frombytes(bytes(range(index, index + 32)))
    return serialize_message(image)


def write_bag(path, encoding="mono8"):
    info = CameraInfo(width=6, height=4)
    info.k[0] = 77.0
    with BagWriter(path) as bag:
        bag.add_topic("/cam/image_raw", IMAGE)
        bag.add_topic("/cam/camera_info", CAMERA_INFO)
        for index in range(3):
            bag.write("/cam/camera_info", index * 10_000_000, serialize_message(info))
            bag.write("/cam/image_raw", index * 10_000_000 + 1, recorded_image(index, encoding))
    return path


def test_a_recording_arrives_unchanged_but_for_the_stamps(start, ros, tmp_path):
    images, infos = subscribe(ros, Image, "image"), subscribe(ros, CameraInfo, "camera_info")
    start("camera_player", ["--bag", write_bag(tmp_path / "cam.mcap"), "--rate", "5"])
    ros.spin(lambda: len(images) == 3 and len(infos) == 3)
    for index, image in enumerate(images):
        assert stamp(image) > 1_600_000_000_000_000_000
        assert with_header_stamp(serialize_message(image), index * 10**9) == recorded_image(index)
    assert infos[0].k[0] == 77.0 and stamp(infos[0]) == stamp(images[0])


def test_a_file_can_be_played_in_a_loop_for_some_time(start, ros, short_video):
    images = subscribe(ros, Image, "image")
    player = start("camera_player", ["--video", short_video, "--loop", "--seconds", "0.65", "--events"])
    ros.spin(lambda: len(images) == 20)
    assert player.event("end")["frames"] == 20  # 12 and 8 images, each 1/30 s.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_and_while_it_plays(start, ros, short_video, number):
    player = start("camera_player", ["--video", short_video, "--loop", "--events"])
    player.event("waiting")
    player.popen.send_signal(number)
    assert player.finish() == (128 + number, "")
    # As most programs subscribe to a camera.
    images = subscribe(ros, Image, "image", qos_profile_sensor_data)
    player = start("camera_player", ["--video", short_video, "--loop", "--events"])
    ros.spin(lambda: images)
    player.popen.send_signal(number)
    assert player.finish() == (128 + number, "")


def test_it_begins_at_a_line_of_input_and_stays_until_its_end(start, ros, short_video):
    images = subscribe(ros, Image, "image")
    player = start("camera_player", ["--video", short_video, "--wait-for-input", "--events"])
    player.event("source")
    assert not images
    player.popen.stdin.write(b"begin\n")
    player.popen.stdin.flush()
    ros.spin(lambda: len(images) == 12)
    player.event("end")
    assert player.popen.poll() is None
    assert player.finish() == (0, "")  # finish closes the input


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--camera", "/dev/video87"], "Expected a camera at /dev/video87, no such device is there"),
        (["--video", "nowhere.mp4"], "Expected a video file at nowhere.mp4, nothing is there"),
        (["--bag", "nowhere"], "There is no recording at nowhere"),
        (["--video", "VIDEO", "--calibration", "nowhere.yaml"], "Cannot read the calibration nowhere.yaml"),
        ([], "one of the arguments --video --bag --camera is required"),
        (["--video", "VIDEO", "--rate", "0"], "expected a positive number, got 0"),
        (["--camera", "0", "--size", "big"], "expected a size as 640x480, got big"),
    ],
)
def test_bad_input_is_refused_with_one_message(start, short_video, arguments, complaint):
    player = start("camera_player", [short_video if part == "VIDEO" else part for part in arguments])
    code, errors = player.finish()
    assert code == 2
    assert complaint in errors and "Traceback" not in errors


def test_images_of_an_unknown_encoding_are_refused(start, tmp_path):
    player = start("camera_player", ["--bag", write_bag(tmp_path / "cam.mcap", "32FC1"), "--events"])
    code, errors = player.finish()
    assert code == 2
    assert "got '32FC1'" in errors and "rgb8, bgr8" in errors and "Traceback" not in errors
    told = json.loads(player.output.decode().splitlines()[-1])
    assert told["event"] == "error" and "32FC1" in told["sentence"]
