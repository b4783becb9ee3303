"""`h2onet make-bag`: recordings of videos and of pictures, as rosbags reads them."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from h2onet_ros.bag import make_bag
from h2onet_ros.bag.message_types import create_typestore
from h2onet_ros.bag.sources import BagSource
from h2onet_ros.perception.camera_info import camera_from_info
from h2onet_ros.perception.image import compressed_to_rgb, image_to_rgb

ROOT = Path(__file__).parents[2]
SECOND = 1_000_000_000
YAML = """\
image_width: 96
image_height: 64
camera_matrix: {rows: 3, cols: 3, data: [80.0, 0.0, 47.0, 0.0, 81.0, 31.0, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}
projection_matrix: {rows: 3, cols: 4, data: [70.0, 0.0, 48.0, 0.0, 0.0, 71.0, 32.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
"""


def picture(index, size=(96, 64)):
    """A picture with detail, another one for each index, BGR."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.stack([x * 2, y * 3, 20 * index + 0 * x], -1).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path):
    """Eleven PNG files, whose order by value is not that by letters."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(11):
        cv2.imwrite(str(folder / f"frame_{index}.png"), picture(index))
    return folder


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (96, 64))
    for index in range(10):
        writer.write(picture(index))
    writer.release()
    return path


def read(path):
    """(topic, time, message) of a recording, through rosbags."""
    store = create_typestore()
    with Reader(path) as reader:
        return [
            (connection.topic, time, store.deserialize_cdr(data, connection.msgtype))
            for connection, time, data in reader.messages()
        ]


def of_topic(messages, topic):
    return [(time, message) for name, time, message in messages if name == topic]


def stamp_of(message):
    return message.header.stamp.sec * SECOND + message.header.stamp.nanosec


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("is_compressed", [False, True], ids=["plain", "zstd"])
def test_pictures_come_back_exactly(pictures, tmp_path, storage, is_compressed):
    out = tmp_path / "bag"
    arguments = [str(pictures), "--out", str(out), "--images", "raw", "--rate", "20", "--storage", storage]
    assert make_bag.main([*arguments, "--stamp", "5", *(["--compress"] if is_compressed else [])]) == 0
    messages = read(out)
    images = of_topic(messages, "/camera/image_raw")
    assert [time for time, _ in images] == [5 * SECOND + index * SECOND // 20 for index in range(11)]
    for index, (time, message) in enumerate(images):
        np.testing.assert_array_equal(image_to_rgb(message)[..., ::-1], picture(index))
        assert stamp_of(message) == time and message.header.frame_id == "camera_optical_frame"
    assert len(of_topic(messages, "/camera/camera_info")) == 11


def test_pictures_that_are_compressed_already_are_taken_as_they_are(pictures, tmp_path, capsys):
    grey = pictures / "frame_11.png"
    cv2.imwrite(str(grey), picture(11)[..., 0])
    assert make_bag.main([str(pictures), "--out", str(tmp_path / "bag"), "--images", "png"]) == 0
    images = of_topic(read(tmp_path / "bag"), "/camera/image_raw/compressed")
    assert bytes(images[3][1].data) == (pictures / "frame_3.png").read_bytes()
    # Subscribers are told of colour, so grey is made colour.
    assert bytes(images[11][1].data) != grey.read_bytes()
    assert compressed_to_rgb(images[11][1]).shape == (64, 96, 3)
    assert "12 images of 96 x 64 pixels at 30 a second" in capsys.readouterr().out


def test_a_video_as_one_file_with_its_calibration(video, tmp_path, capsys):
    calibration = tmp_path / "camera.yaml"
    calibration.write_text(YAML)
    out = tmp_path / "bags" / "clip.mcap"
    names = ["--topic", "/left/image", "--frame-id", "eye"]
    assert make_bag.main([str(video), "--out", str(out), "--calibration", str(calibration), *names]) == 0
    assert str(calibration) in capsys.readouterr().out
    messages = read(out)
    times = [time for time, _ in of_topic(messages, "/left/image/compressed")]
    assert times == [video.stat().st_mtime_ns + 40_000_000 * index for index in range(10)]
    _, info = of_topic(messages, "/left/camera_info")[0]
    camera = camera_from_info(info, 96, 64)
    np.testing.assert_array_equal(camera.k, [[80, 0, 47], [0, 81, 31], [0, 0, 1]])
    assert camera.distortion.tolist() == [0.1, -0.2, 0.001, 0.002, 0.0]
    rectified = camera_from_info(info, 96, 64, rectified=True)
    np.testing.assert_array_equal(rectified.k, [[70, 0, 48], [0, 71, 32], [0, 0, 1]])
    assert info.header.frame_id == "eye"
    # The evaluation finds image and camera_info by their names.
    source = BagSource(out)
    assert source.frame_rate == pytest.approx(25)
    assert all(moment.camera_info is not None for moment in source.pictures())
    source.close()


def test_another_size_takes_the_calibration_along(video, tmp_path):
    calibration = tmp_path / "camera.yaml"
    doubled = YAML.replace("image_width: 96", "image_width: 192").replace(
        "image_height: 64", "image_height: 128"
    )
    calibration.write_text(doubled)
    assert make_bag.main([str(video), "--out", str(tmp_path / "bag"), "--calibration", str(calibration)]) == 0
    _, info = of_topic(read(tmp_path / "bag"), "/camera/camera_info")[0]
    # Edges keep their place: a point at the calibration's pixel x is at (x + 0.5) / 2 - 0.5.
    np.testing.assert_allclose(info.k, [40, 0, 23.25, 0, 40.5, 15.25, 0, 0, 1])
    np.testing.assert_allclose(info.p, [35, 0, 23.75, 0, 0, 35.5, 15.75, 0, 0, 0, 1, 0])


def test_an_assumed_camera_is_told(video, tmp_path, capsys):
    assert make_bag.main([str(video), "--out", str(tmp_path / "one"), "--field-of-view", "90"]) == 0
    assert "assumed, 90 degrees" in capsys.readouterr().out
    _, info = of_topic(read(tmp_path / "one"), "/camera/camera_info")[0]
    assert info.k[0] == pytest.approx(48)
    assert make_bag.main([str(video), "--out", str(tmp_path / "two")]) == 0
    assert "assumed, 60 degrees across the longer side; distances" in capsys.readouterr().out


def test_part_of_a_video_at_another_pace(video, tmp_path):
    arguments = [
        str(video),
        "--rate",
        "50",
        "--start",
        "0.1",
        "--seconds",
        "0.06",
        "--stamp",
        "1970-01-01T00:00:02+00:00",
    ]
    assert make_bag.main([*arguments, "--out", str(tmp_path / "bag")]) == 0
    times = [time for time, _ in of_topic(read(tmp_path / "bag"), "/camera/image_raw/compressed")]
    assert times == [2 * SECOND + 20_000_000 * index for index in (5, 6, 7)]


def test_pictures_that_do_not_belong_are_left_out_and_counted(pictures, tmp_path, capsys):
    (pictures / "frame_3.png").write_bytes(b"no picture")
    cv2.imwrite(str(pictures / "frame_5.png"), picture(5, (80, 64)))
    (pictures / "notes.txt").write_text("nothing")
    assert make_bag.main([str(pictures), "--out", str(tmp_path / "bag"), "--stamp", "1", "--rate", "10"]) == 1
    error = capsys.readouterr().err
    assert "2 pictures were left out" in error
    assert (
        "frame_3.png cannot be read" in error
        and "frame_5.png has 80 x 64 pixels, the others 96 x 64" in error
    )
    times = [time for time, _ in of_topic(read(tmp_path / "bag"), "/camera/image_raw/compressed")]
    # What is missing leaves a gap.
    assert times == [SECOND + index * SECOND // 10 for index in range(11) if index not in (3, 5)]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing.mp4"], "nothing is there"),
        (["empty"], "Expected a folder with pictures (.jpg"),
        (["text.mp4"], "Expected a video that can be decoded"),
        (["bag.mcap"], "is a recording already"),
        (["clip.mp4", "--out", "there"], "add --force"),
        (
            ["clip.mp4", "--calibration", "text.mp4"],
            "Cannot read the calibration|describes no camera|no entries",
        ),
        (["clip.mp4", "--calibration", "wide.yaml"], "calibration is for images of 100 x 64 pixels"),
    ],
    ids=[
        "missing",
        "no pictures",
        "no video",
        "a recording",
        "occupied",
        "no calibration",
        "other proportions",
    ],
)
def test_input_that_cannot_be_used(video, tmp_path, monkeypatch, capsys, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("there").mkdir()
    Path("text.mp4").write_text("hello")
    Path("bag.mcap").write_text("")
    Path("wide.yaml").write_text(YAML.replace("image_width: 96", "image_width: 100"))
    assert make_bag.main(["--out", "out", *arguments]) == 2
    error = capsys.readouterr().err
    assert any(part in error for part in complaint.split("|")), error
    assert not Path("out").exists() and not any(Path("there").iterdir())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "expected a SOURCE"),
        (["a.mp4", "--synthetic"], "expected a SOURCE"),
        (["a.mp4", "--calibration", "a", "--field-of-view", "60"], "not both"),
        (["a.mp4", "--field-of-view", "200"], "expected 1 to 179, got 200"),
        (["a.mp4", "--rate", "0"], "expected 0.01 to 1000, got 0"),
        (["a.mp4", "--depth"], "a video has none"),
        (["a.mp4", "--topic", "image"], "expected a full topic name"),
        (["a.mp4", "--out", "a.mcap", "--storage", "sqlite3"], "name a folder"),
        (["a.mp4", "--stamp", "yesterday"], "expected a time as"),
        (["--synthetic", "--size", "640"], "expected width x height"),
        (["--synthetic", "--calibration", "a"], "camera of its own"),
    ],
)
def test_options_that_contradict_each_other(capsys, arguments, complaint):
    with pytest.raises(SystemExit) as exit_:
        make_bag.main(arguments)
    assert exit_.value.code == 2 and complaint in capsys.readouterr().err


def test_force_replaces_a_recording_and_nothing_else(video, tmp_path, capsys):
    out = tmp_path / "bag"
    assert make_bag.main([str(video), "--out", str(out), "--storage", "sqlite3"]) == 0
    assert make_bag.main([str(video), "--out", str(out), "--force"]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["bag.mcap", "metadata.yaml"]
    (out / "thesis.tex").write_text("years of work")
    assert make_bag.main([str(video), "--out", str(out), "--force"]) == 2
    assert "holds more than a recording (thesis.tex)" in capsys.readouterr().err
    assert len(read(out)) == 20


@pytest.mark.parametrize("name", ["bag", "bag.mcap"], ids=["folder", "file"])
def test_a_full_disk_is_told(video, tmp_path, name):
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "h2onet_ros.cli",
            "make-bag",
            str(video),
            "--images",
            "raw",
            "--out",
            tmp_path / name,
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert result.returncode == 1
    assert "No room left for the recording" in result.stderr and "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    """So many images that recording them takes longer than it takes to notice that it began."""
    path = tmp_path_factory.mktemp("long") / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (480, 360))
    noise = np.random.default_rng(0).integers(0, 256, (360, 480, 3), np.uint8)
    for index in range(300):
        writer.write(np.roll(noise, index, 0))
    writer.release()
    return path


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_stopping_leaves_a_whole_recording(long_video, tmp_path, how):
    command = [sys.executable, "-m", "h2onet_ros.cli", "make-bag", str(long_video), "--images", "png"]
    running = subprocess.Popen(
        [*command, "--out", tmp_path / "bag"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    # The bar appears when the recording has begun.
    assert running.stderr.read(4)
    running.send_signal(how)
    out, error = running.communicate(timeout=300)
    assert running.returncode == 128 + how and "Traceback" not in error
    assert "holds what was recorded until then" in error
    count = len(of_topic(read(tmp_path / "bag"), "/camera/image_raw/compressed"))
    assert count < 300 and f"{count} images of" in out
