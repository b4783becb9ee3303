"""Recordings that are not as they should be: what can be read is processed, what is lost is told."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import recordings
from hands import frame_of, make_hand
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.enums import CompressionMode
from rosbags.typesys import get_types_from_msg

from h2onet_ros.bag.evaluate import main
from h2onet_ros.bag.evaluation.run import evaluate
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.message_types import HAND_ARRAY, create_typestore

ROOT = Path(__file__).resolve().parents[2]
K = [[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]
IMAGES = recordings.grey_images(12)


@pytest.fixture
def run(tmp_path):
    """Evaluates and gives the result; the report is left out where it is not what the test is about."""

    def run(bag, **settings):
        values = {"engine": "onnxruntime", "report": False, "existing": "replace"} | settings
        return evaluate(bag, tmp_path / "out", EvaluationSettings(**values))

    return run


def noisy_images(count, size=(160, 120)):
    """Images that no JPEG makes small."""
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (size[1], size[0], 3), np.uint8) for _ in range(count)]


def only_file(folder):
    (file,) = [path for path in folder.iterdir() if path.suffix in (".mcap", ".db3")]
    return file


@pytest.mark.parametrize(
    ("storage", "mode"),
    [("mcap", CompressionMode.MESSAGE), ("sqlite3", CompressionMode.FILE)],
    ids=["mcap-message-zstd", "sqlite3-file-zstd"],
)
def test_every_camera_of_a_compressed_recording(tmp_path, storage, mode, capsys):
    """Two cameras, raw and as JPEG, one calibrated; each goes to a folder of its own."""
    messages = recordings.camera_messages(IMAGES, "/left/image_raw", K, is_raw=True, frame_id="left")
    messages += recordings.camera_messages(IMAGES[:8], "/right/image_raw", frame_id="right")
    bag = recordings.write(tmp_path / "bag", messages, storage, mode)
    out = tmp_path / "out"
    assert (
        main([str(bag), "--out", str(out), "--topic", "all", "--engine", "onnxruntime", "--no-report"]) == 0
    )
    for folder, images, frame in (("left_image_raw", 12, "left"), ("right_image_raw_compressed", 8, "right")):
        assert json.loads((out / folder / "metrics.json").read_text())["images"] == images
        with Reader(out / folder / "hands.mcap") as reader:
            store = create_typestore()
            frames = {
                store.deserialize_cdr(data, HAND_ARRAY).header.frame_id
                for connection, _, data in reader.messages()
                if connection.msgtype == HAND_ARRAY
            }
        assert frames == {frame}
        notes = json.loads((out / folder / "run.json").read_text())["notes"]
        assert any("no calibrated camera_info" in note for note in notes) == (frame == "right")
    assert "8 images have no calibrated camera_info" in capsys.readouterr().err


def test_an_mcap_without_an_index_is_read_from_its_start(tmp_path, run):
    bag = recordings.write(tmp_path / "bag", recordings.camera_messages(IMAGES, k=K))
    file = only_file(bag)
    data = bytearray(file.read_bytes())
    footer = len(data) - 8 - 20
    (summary,) = struct.unpack_from("<Q", data, footer)
    assert 0 < summary < footer
    file.write_bytes(data[:summary] + b"\x02" + struct.pack("<QQQI", 20, 0, 0, 0) + data[-8:])
    result = run(file)
    assert result.metrics["images"] == 12 and result.exit_code == 0
    assert "has no index" in result.run["notes"][0]


def test_a_recording_cut_off_gives_what_is_in_it_and_exit_code_1(tmp_path, run):
    file = only_file(
        recordings.write(tmp_path / "bag", recordings.camera_messages(noisy_images(60, (320, 240)), k=K))
    )
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 5])
    result = run(file, every=4)
    assert result.exit_code == 1 and 0 < result.metrics["images"] < 15 and result.metrics["is_complete"]
    assert "was not closed by its recorder" in result.problems[0]


@pytest.mark.parametrize("is_folder", [True, False], ids=["folder", "file"])
def test_sqlite_without_metadata_is_no_loss(tmp_path, run, is_folder):
    bag = recordings.write(tmp_path / "bag", recordings.camera_messages(IMAGES[:3]), "sqlite3")
    (bag / "metadata.yaml").unlink()
    result = run(bag if is_folder else only_file(bag))
    assert result.metrics["images"] == 3 and result.exit_code == 0


def test_damaged_sqlite_gives_what_is_around_the_damage(tmp_path, run):
    file = only_file(
        recordings.write(tmp_path / "bag", recordings.camera_messages(noisy_images(40)), "sqlite3")
    )
    data = bytearray(file.read_bytes())
    begin = len(data) // 2 // 4096 * 4096
    data[begin : begin + 4096 * 40] = os.urandom(4096 * 40)
    file.write_bytes(data)
    result = run(file, every=2)
    assert result.exit_code == 1 and "is damaged" in result.problems[0]
    assert 5 < result.metrics["images"] + result.metrics["images_unreadable"] < 20


def test_unknown_message_types_do_not_stop_the_others(tmp_path, run):
    store = create_typestore()
    store.register(get_types_from_msg("float64 strangeness", "odd_msgs/msg/Odd"))
    odd = store.serialize_cdr(store.types["odd_msgs/msg/Odd"](1.5), "odd_msgs/msg/Odd")
    messages = recordings.camera_messages(IMAGES[:3])
    messages += [("/odd", "odd_msgs/msg/Odd", recordings.stamp(i), bytes(odd)) for i in range(3)]
    bag = recordings.write(tmp_path / "bag", messages, "sqlite3", store=store)
    assert run(bag).metrics["images"] == 3
    assert main([str(bag), "--topic", "/odd", "--out", str(tmp_path / "odd")]) == 2


def test_a_missing_topic_is_told_with_the_ones_there_are(tmp_path, capsys):
    bag = recordings.write(tmp_path / "bag", recordings.camera_messages(IMAGES[:1], k=K))
    assert main([str(bag), "--topic", "/camera/image", "--out", str(tmp_path / "out")]) == 2
    complaint = capsys.readouterr().err
    assert "/camera/image_raw/compressed (sensor_msgs/msg/CompressedImage, 1 messages)" in complaint
    assert "Did you mean /camera/image_raw/compressed?" in complaint and not (tmp_path / "out").exists()


def test_without_images_there_is_nothing_to_do(tmp_path, capsys):
    bag = recordings.write(tmp_path / "bag", recordings.truth_messages([frame_of(1, make_hand())]))
    for topic in ([], ["--topic", "all"]):
        assert main([str(bag), "--out", str(tmp_path / "out"), *topic]) == 2
        assert "Expected a recording with images" in capsys.readouterr().err


def test_images_that_change_their_size_are_all_processed(tmp_path, run):
    images = IMAGES[:5] + recordings.grey_images(4, (200, 100)) + IMAGES[9:]
    result = run(recordings.write(tmp_path / "bag", recordings.camera_messages(images, k=K)), video=True)
    assert result.metrics["images"] == 12 and result.exit_code == 0
    assert any("8 of 160 x 120, 4 of 200 x 100" in note for note in result.run["notes"])
    capture = cv2.VideoCapture(str(result.out / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12


def test_a_calibration_of_another_camera_is_told_image_by_image(tmp_path, run):
    messages = recordings.camera_messages(IMAGES[:4])
    info = recordings.camera_info(0, 640, 360, K)
    messages.append((recordings.INFO_TOPIC, "sensor_msgs/msg/CameraInfo", recordings.stamp(2), info))
    result = run(recordings.write(tmp_path / "bag", messages))
    assert result.metrics["images_unreadable"] == 4 and result.exit_code == 1
    assert "of the same proportions, got 160 x 120" in result.problems[0]


def test_corrupt_images_are_counted_in_the_report(tmp_path, run):
    images = list(IMAGES)
    images[3] = images[7] = None
    result = run(recordings.write(tmp_path / "bag", recordings.camera_messages(images)), report=True)
    assert (result.metrics["images"], result.metrics["images_unreadable"], result.exit_code) == (10, 2, 1)
    text = (result.out / "report.html").read_text()
    assert "2 images could not be read and were left out" in text and "<b>2</b><span>images lost" in text
    assert json.loads((result.out / "run.json").read_text())["problems"] == result.problems


def test_a_recording_without_one_readable_image_is_told(tmp_path, run):
    result = run(recordings.write(tmp_path / "bag", recordings.camera_messages([None] * 3)), report=True)
    assert (result.metrics["images"], result.metrics["coverage"], result.exit_code) == (0, None, 1)
    assert "3 images could not be read" in (result.out / "report.html").read_text()


def test_stamps_that_go_back_are_processed_and_noted(tmp_path, run):
    messages = recordings.camera_messages(IMAGES[:4])
    times = [recordings.stamp(10 + i) for i in range(4)]
    again = [(topic, kind, time, data) for (topic, kind, _, data), time in zip(messages, times, strict=True)]
    result = run(recordings.write(tmp_path / "bag", messages + again))
    assert result.metrics["images"] == 8 and result.exit_code == 0
    assert any("The pipeline warned of 1 images" in note for note in result.run["notes"])


def test_images_that_two_publishers_sent_are_processed_twice_and_noted(tmp_path, run):
    """The same images on the same topic, recorded two milliseconds one after the other."""
    messages = recordings.camera_messages(IMAGES[:6])
    again = [(topic, kind, time + 2_000_000, data) for topic, kind, time, data in messages]
    result = run(recordings.write(tmp_path / "bag", messages + again))
    assert result.metrics["images"] == 12 and result.exit_code == 0
    assert any("warned of 6 images, first: the stamp repeats" in note for note in result.run["notes"])
    assert "12 images, 56.6 a second" in result.run["source"]


@pytest.mark.parametrize(
    ("frame", "shift", "complaint"),
    [("map", 0, "is in the frame 'map'"), ("camera", 10**10, "--truth-offset -10.0")],
    ids=["frame", "time"],
)
def test_a_truth_of_another_frame_or_time_is_told_and_the_images_are_processed(
    tmp_path, run, frame, shift, complaint
):
    truth = [frame_of(recordings.stamp(i) + shift, make_hand(), frame_id=frame) for i in range(4)]
    messages = recordings.camera_messages(IMAGES[:4]) + recordings.truth_messages(truth)
    result = run(recordings.write(tmp_path / "bag", messages))
    assert result.exit_code == 1 and complaint in result.problems[0]
    assert result.metrics["images"] == result.metrics["accuracy"]["images_without_truth"] == 4
    assert result.metrics["accuracy"]["detection"]["recall"] is None


def test_a_full_disk_keeps_what_was_processed_and_more_room_finishes_it(tmp_path, run):
    """No file may grow beyond 50 kB, as on a full disk."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
        "from h2onet_ros.bag.evaluate import main; sys.exit(main(sys.argv[1:]))"
    )
    bag = recordings.write(tmp_path / "bag", recordings.camera_messages(noisy_images(40), k=K))
    out = tmp_path / "out"
    command = [sys.executable, "-c", program, str(bag), "--out", str(out), "--engine", "onnxruntime"]
    command += ["--with-images", "--no-report"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert "No room left for the recording" in ended.stderr and "Traceback" not in ended.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert not metrics["is_complete"]
    with Reader(out / "hands.mcap") as reader:  # A complete file, though not with all hands.
        assert reader.message_count < 40
    result = run(bag, existing="resume", with_images=True)
    assert result.exit_code == 0 and result.metrics["images"] == 40


def test_a_checkpoint_of_another_evaluation_is_refused(tmp_path, capsys):
    bag = recordings.write(tmp_path / "bag", recordings.camera_messages(IMAGES))
    out = tmp_path / "out"
    settings = EvaluationSettings(engine="onnxruntime")
    assert evaluate(bag, out, settings, is_interrupted=lambda: True).is_interrupted
    arguments = [str(bag), "--out", str(out), "--engine", "onnxruntime", "--no-report"]
    assert main([*arguments, "--resume", "--smoothing", "0"]) == 2
    complaint = capsys.readouterr().err
    assert "cannot be resumed, it was of something else (smoothing: 1.0 then, 0.0 now)" in complaint
    assert main(arguments) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert main([*arguments, "--force", "--smoothing", "0"]) == 0
    assert json.loads((out / "metrics.json").read_text())["images"] == 12


def test_the_nodes_parameter_files_are_understood(tmp_path, capsys):
    bag = recordings.write(tmp_path / "bag", recordings.camera_messages(IMAGES[:2]))
    out = tmp_path / "out"
    arguments = [str(bag), "--out", str(out), "--no-report", "--force", "--engine", "onnxruntime"]
    assert main([*arguments, "--params", str(ROOT / "config" / "hand.yaml")]) == 0
    file = tmp_path / "node.yaml"
    file.write_text("/hand_mesh_node:\n  ros__parameters: {max_hands: 1, smoothing: 2, publish_tf: true}\n")
    assert main([*arguments, "--params", str(file), "--smoothing", "0.5"]) == 0
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert (settings["max_hands"], settings["smoothing"]) == (1, 0.5)
    for content, complaint in (
        ("a: [1", "Cannot read the parameters"),
        ("max_hands: 1", "holds no parameters"),
        ("/**:\n  ros__parameters: {max_hands: two}\n", "expected a value of type int, got 'two'"),
    ):
        file.write_text(content)
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--params", str(file)])
        assert end.value.code == 2 and complaint in capsys.readouterr().err
