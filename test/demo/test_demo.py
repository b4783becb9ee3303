"""The demo as its user starts it: three processes over DDS, and everything that can come between."""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.rosbag2 import Writer as RosbagWriter

from h2onet_ros.bag.message_types import HAND_ARRAY, IMAGE, create_typestore
from h2onet_ros.bag.writer import BagWriter
from h2onet_ros.engines.bundle import bundle_path
from h2onet_ros.ros.demo_run import ASSETS

HANDS = "/hand_mesh_node/hands"
PATIENCE = 120.0
"""Seconds after which what a test waits for will not come any more."""


@pytest.fixture(scope="session")
def weights():
    """The weights that come along."""
    return bundle_path()


@pytest.fixture
def demo(start, tmp_path, weights):
    """Starts the demo with its output in tmp_path/out, and checks that nothing of it is left."""
    out = tmp_path / "out"

    def starter(*arguments, **changes):
        # The demo chooses its own domain.
        return start("demo", ["--out", out, "--weights", weights, *arguments], **changes)

    starter.out = out
    yield starter
    assert not processes_of(out)


def processes_of(out):
    """Process ids of the demo's children by name, known by their ROS_HOME."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"ROS_HOME={out / 'ros'}".encode() in environment:
                command = (folder / "cmdline").read_bytes().decode().split("\0")
                name = next((part for part in command if part.startswith("h2onet_ros.ros.")), "")
                found[name.removeprefix("h2onet_ros.ros.")] = int(folder.name)
    return found


def hands_in(path):
    """Stamps in nanoseconds and numbers of hands, as rosbags reads them; it opens complete files only."""
    store = create_typestore()
    with Reader(path) as reader:
        messages = [
            store.deserialize_cdr(data, HAND_ARRAY)
            for found, _, data in reader.messages()
            if found.topic == HANDS
        ]
    return [
        (message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, len(message.hands))
        for message in messages
    ]


def images_in(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count


def wait_until(condition, timeout=PATIENCE):
    """For what has no event to wait for: the files of another process."""
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.02)


def is_recording(out):
    """Whether hands have reached the disk."""
    path = out / "hands.mcap"
    with contextlib.suppress(Exception):
        return bool(hands_in(path))
    return False


@pytest.mark.skipif(not list(ASSETS.glob("*.mp4")), reason="the recording that comes along is not there")
def test_the_recording_that_comes_along_gives_hands(start, tmp_path):
    out = tmp_path / "out"
    process = start("demo", ["--out", out, "--seconds", "3"])
    code, errors = process.finish()
    assert code == 0, errors
    summary = json.loads((out / "summary.json").read_text())
    assert summary["exit_code"] == 0 and summary["images_sent"] >= 60
    hands = hands_in(out / "hands.mcap")
    assert len(hands) == summary["hands"]["answers"]
    # How many images are answered hangs on the machine.
    assert sum(count for _, count in hands) == summary["hands"]["hands"] > 0
    assert [stamp for stamp, _ in hands] == sorted({stamp for stamp, _ in hands})
    assert images_in(out / "overlay.mp4") >= summary["video_images"] > 0
    assert cv2.imread(str(out / "overlay.png")).shape[1] == 3 * 640
    assert re.search(r"stamp to publish +median [\d.]+ ms", process.output.decode())
    assert not processes_of(out)


def test_without_a_hand_it_fails_and_says_so(demo, short_video):
    process = demo("--video", short_video)
    code, errors = process.finish()
    assert code == 1
    assert "no hand came out. Expected a hand in view" in errors and "Traceback" not in errors
    summary = json.loads((demo.out / "summary.json").read_text())
    assert summary["images_sent"] == 12 and summary["hands"]["hands"] == 0
    # Every image is answered, skipped or told as lost.
    told = summary["hands"]["answers"] + summary["hands"]["skipped"] + summary["images_lost"]
    assert told == 12 and summary["hands"]["answers"] == len(hands_in(demo.out / "hands.mcap")) > 0
    assert images_in(demo.out / "overlay.mp4") > 0 and (demo.out / "overlay.png").exists()
    assert "images sent          12" in process.output.decode()


def test_a_recording_can_be_played(demo, tmp_path):
    store = create_typestore()
    kinds = store.types
    with BagWriter(tmp_path / "camera.mcap") as bag:
        bag.add_topic("/camera/image_raw", IMAGE)
        for index in range(10):
            stamp = kinds["builtin_interfaces/msg/Time"](0, index * 33_000_000)
            header = kinds["std_msgs/msg/Header"](stamp, "camera")
            pixels = np.full(120 * 160 * 3, 100, np.uint8)
            image = kinds[IMAGE](header, 120, 160, "rgb8", 0, 480, pixels)
            bag.write("/camera/image_raw", index * 33_000_000, bytes(store.serialize_cdr(image, IMAGE)))
    process = demo("--bag", tmp_path / "camera.mcap")
    code, _ = process.finish()
    assert code == 1  # No hand in grey images.
    summary = json.loads((demo.out / "summary.json").read_text())
    assert len(hands_in(demo.out / "hands.mcap")) == summary["hands"]["answers"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_readable_files(demo, short_video, number):
    process = demo("--video", short_video, "--loop")
    process.line("Playing the video")
    wait_until(lambda: is_recording(demo.out))
    process.popen.send_signal(number)
    code, errors = process.finish()
    assert code == 128 + number
    assert "Stopped." in errors and "Traceback" not in errors
    summary = json.loads((demo.out / "summary.json").read_text())
    assert len(hands_in(demo.out / "hands.mcap")) == summary["hands"]["answers"] > 0
    assert images_in(demo.out / "overlay.mp4") >= summary["video_images"] > 0


def test_ctrl_c_typed_in_a_terminal(environment, tmp_path, weights, short_video):
    terminal, inside = os.openpty()
    command = [sys.executable, "-m", "h2onet_ros.ros.demo", "--video", short_video, "--loop"]
    with subprocess.Popen(
        [*command, "--out", tmp_path / "out", "--weights", weights],
        env=environment,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(inside)
        shown = b""

        def more() -> bytes:
            assert select.select([terminal], [], [], PATIENCE)[0], shown
            return os.read(terminal, 65536)

        # The bar moves, also in a terminal that has no size.
        while not re.search(rb"[1-9]\d* images \[", shown):
            shown += more()
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):  # That is how the end of a terminal reads.
            while True:
                shown += more()
    os.close(terminal)
    assert process.returncode == 130
    assert b"Stopped." in shown and b"images sent" in shown and b"Traceback" not in shown
    assert not processes_of(tmp_path / "out")


@pytest.mark.parametrize("child", ["none", "node", "recorder", "camera_player"])
def test_ctrl_c_while_it_starts_ends_everything(demo, short_video, child):
    process = demo("--video", short_video, "--loop")
    process.line("Playing the video")
    if child != "none":
        wait_until(lambda: child in processes_of(demo.out))
    process.popen.send_signal(signal.SIGINT)
    code, errors = process.finish()
    assert code == 130 and "Traceback" not in errors


@pytest.mark.parametrize("child", ["node", "recorder", "camera_player"])
def test_a_process_that_is_killed_is_told_and_the_others_end(demo, short_video, child):
    process = demo("--video", short_video, "--loop")
    process.line("Playing the video")
    wait_until(lambda: is_recording(demo.out))
    os.kill(processes_of(demo.out)[child], signal.SIGKILL)
    code, errors = process.finish()
    name = {"node": "hand node", "recorder": "recorder", "camera_player": "camera player"}[child]
    assert code == 1
    assert f"The {name} ended too early: it was killed (SIGKILL)" in errors and "Traceback" not in errors
    assert hands_in(demo.out / "hands.mcap")


def test_nothing_is_left_when_the_demo_itself_is_killed(demo, short_video):
    process = demo("--video", short_video, "--loop")
    process.line("Playing the video")
    wait_until(lambda: is_recording(demo.out))
    handles = [os.pidfd_open(pid) for pid in processes_of(demo.out).values()]
    assert len(handles) == 3
    process.popen.kill()
    wait_until(lambda: not processes_of(demo.out))
    for handle in handles:
        os.close(handle)
    assert hands_in(demo.out / "hands.mcap") and images_in(demo.out / "overlay.mp4")


def empty_bag(tmp_path):
    with RosbagWriter(tmp_path / "empty", version=9):
        pass
    return tmp_path / "empty"


def bag_of_hands(tmp_path):
    with BagWriter(tmp_path / "hands.mcap") as bag:
        bag.add_topic("/hands", HAND_ARRAY)
    return tmp_path / "hands.mcap"


def bag_of_depth(tmp_path):
    store = create_typestore()
    kinds = store.types
    header = kinds["std_msgs/msg/Header"](kinds["builtin_interfaces/msg/Time"](1, 0), "camera")
    image = kinds[IMAGE](header, 2, 2, "32FC1", 0, 8, np.zeros(16, np.uint8))
    with BagWriter(tmp_path / "depth.mcap") as bag:
        bag.add_topic("/depth", IMAGE)
        bag.write("/depth", 0, bytes(store.serialize_cdr(image, IMAGE)))
    return tmp_path / "depth.mcap"


def text_file(tmp_path):
    (tmp_path / "text.mp4").write_text("This is no video. " * 100)
    return tmp_path / "text.mp4"


def wrong_bundle(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "bundle.json").write_text('{"format": "something else", "version": 1}')
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--camera", "/dev/video87"], r"Expected a camera at /dev/video87, no such device is there"),
        (["--camera", "/dev/null"], r"Expected a camera at /dev/null, it cannot be opened"),
        (["--video", "nowhere.mp4"], r"Expected a video file at nowhere.mp4, nothing is there"),
        (["--video", text_file], r"Expected a video that can be decoded .* 1800 bytes without a readable"),
        (["--bag", "nowhere"], r"There is no recording at nowhere"),
        (["--bag", empty_bag], r"Expected a recording with images .*/empty has no topics"),
        (["--bag", bag_of_hands], r"Expected a recording with images .* has /hands \(h2onet_msgs"),
        (["--bag", bag_of_depth], r"expected an image with one of the encodings .* got '32FC1'"),
        (["--video", "VIDEO", "--weights", "nowhere"], r"nowhere"),
        (["--video", "VIDEO", "--weights", wrong_bundle], r"(?s)model.*something else|something else.*model"),
        (["--video", "VIDEO", "--engine", "abacus"], r"Expected an engine among auto, .* got 'abacus'"),
        (["--video", "VIDEO", "--calibration", "nowhere.yaml"], r"Cannot read the calibration nowhere.yaml"),
        (["--video", "VIDEO", "--out", "/dev/null/out"], r"Expected a folder to write to, cannot make"),
        (["--video", "VIDEO", "--bag", "b"], r"not allowed with argument --video"),
        (["--video", "VIDEO", "--seconds", "-1"], r"expected a positive number, got -1"),
    ],
)
def test_bad_input_is_refused_with_one_message(demo, short_video, tmp_path, arguments, complaint):
    made = [
        short_video if part == "VIDEO" else part(tmp_path) if callable(part) else part for part in arguments
    ]
    code, errors = demo(*made).finish()
    assert code == 2, errors
    assert re.search(complaint, errors), errors
    assert "Traceback" not in errors and len(re.findall("h2onet_demo: ", errors)) == 1


def test_why_the_node_could_not_start_is_told(demo, short_video, weights, tmp_path):
    # A network that no engine can read, in a bundle whose checksums are right.
    folder = shutil.copytree(weights, tmp_path / "broken")
    (folder / "encode.onnx").write_bytes(b"no network")
    document = json.loads((folder / "bundle.json").read_text())
    document["sha256"]["encode.onnx"] = hashlib.sha256(b"no network").hexdigest()
    (folder / "bundle.json").write_text(json.dumps(document))
    code, errors = demo("--video", short_video, "--weights", folder, "--engine", "onnxruntime").finish()
    assert code == 1
    assert "The hand node ended too early" in errors and "encode.onnx" in errors and "Traceback" not in errors


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare (util-linux) is not there")
def test_a_full_disk_is_told_and_what_was_written_stays_readable(environment, tmp_path, weights):
    random = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(tmp_path / "noise.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (640, 480))
    for _ in range(30):
        writer.write(random.integers(0, 255, (480, 640, 3), np.uint8))
    writer.release()
    # A small file system of its own, seen by the demo alone; what it left is copied out before it vanishes.
    script = f"""
        mount -t tmpfs -o size=7m none {tmp_path}/disk || exit 77
        "$@"
        code=$?
        cp -r {tmp_path}/disk/out {tmp_path}/copy
        exit $code
    """
    (tmp_path / "disk").mkdir()
    command = [sys.executable, "-m", "h2onet_ros.ros.demo", "--video", tmp_path / "noise.mp4", "--loop"]
    command += ["--out", tmp_path / "disk" / "out", "--weights", weights]
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    result = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", *command], env=environment, capture_output=True, text=True
    )
    if result.returncode == 77 or "unshare failed" in result.stderr:
        pytest.skip(f"no file system can be mounted here: {result.stderr.strip()}")
    assert result.returncode == 1, result.stderr
    assert "No room left for the video" in result.stderr and "Traceback" not in result.stderr
    assert "Free some space, or write elsewhere" in result.stderr
    summary = json.loads((tmp_path / "copy" / "summary.json").read_text())
    assert "No room left" in summary["failure"]
    assert len(hands_in(tmp_path / "copy" / "hands.mcap")) == summary["hands"]["answers"] > 0
    assert images_in(tmp_path / "copy" / "overlay.mp4") >= summary["video_images"] > 0
