"""`h2onet evaluate-bag` on real recordings, and its figures against ones computed here."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import demo_recording
import numpy as np
import pytest
from hands import make_hand
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import Reader

from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.bag.evaluate import main
from h2onet_ros.bag.evaluation import report
from h2onet_ros.bag.evaluation.report import write_report
from h2onet_ros.bag.evaluation.stability import StabilityMetrics
from h2onet_ros.bag.hands import HandSerialiser
from h2onet_ros.bag.message_types import COMPRESSED_IMAGE, HAND_ARRAY, MESH_TOPOLOGY, create_typestore
from h2onet_ros.bag.writer import BagWriter
from h2onet_ros.engines import WeightsBundle
from h2onet_ros.perception.types import FrameResult
from h2onet_ros.ros.messages import hands_to_message

ROOT = Path(__file__).resolve().parents[2]
IMAGE_TOPIC = "/camera/image_raw/compressed"


@pytest.fixture
def make_bag(tmp_path, maker):
    """Makes a recording of JPEG images: `make_bag(images)`; None stands for a corrupt one."""

    def make(images):
        path = tmp_path / "camera.mcap"
        with BagWriter(path) as bag:
            bag.add_topic(IMAGE_TOPIC, COMPRESSED_IMAGE)
            for index, image in enumerate(images):
                data = np.frombuffer(b"no JPEG", np.uint8)
                if image is not None:
                    data = cv2.imencode(".jpg", image)[1].ravel()
                time = divmod(100 * 10**9 + index * 33_000_000, 10**9)
                stamp = maker.types["builtin_interfaces/msg/Time"](*time)
                header = maker.types["std_msgs/msg/Header"](stamp, "eye")
                message = maker.types[COMPRESSED_IMAGE](header, "jpeg", data)
                serialised = bytes(maker.store.serialize_cdr(message, COMPRESSED_IMAGE))
                bag.write(IMAGE_TOPIC, 200 * 10**9 + index * 33_000_000, serialised)
        return path

    return make


def grey_images(count):
    return [np.full((120, 160, 3), 5 * index, np.uint8) for index in range(count)]


def recorded(path):
    with Reader(path) as reader:
        return [
            deserialize_message(bytes(data), HandArray if found.msgtype == HAND_ARRAY else MeshTopology)
            for found, _, data in reader.messages()
            if found.msgtype in (HAND_ARRAY, MESH_TOPOLOGY)
        ]


def random_hand(track_id=3, seed=0, handedness="left"):
    turn = cv2.Rodrigues(np.random.default_rng(seed).normal(size=3))[0]
    return replace(make_hand(track_id, seed=seed, handedness=handedness), rotation=turn.astype(np.float32))


def test_recorded_hands_are_those_the_node_would_publish():
    timings = {"detect": 0.001, "crop": 0.002, "encode": 0.003, "fuse": 0.004, "place": 0.005, "total": 0.015}
    result = FrameResult(123_000_000_456, "eye", (random_hand(), random_hand(4, 1, "right")), timings)
    written = HandSerialiser(create_typestore()).hands(result, (640, 480))
    mine = deserialize_message(written, HandArray)
    nodes = deserialize_message(serialize_message(hands_to_message(result, (640, 480))), HandArray)
    for hand, other in zip(mine.hands, nodes.hands, strict=True):
        turn, other_turn = hand.wrist.orientation, other.wrist.orientation
        for axis in "xyzw":
            assert getattr(turn, axis) == pytest.approx(getattr(other_turn, axis), abs=1e-6)
        hand.wrist.orientation = other_turn
    assert mine == nodes


def test_every_image_is_processed_and_recorded(make_bag, weights, tmp_path):
    out = tmp_path / "out"
    code = main([str(make_bag(grey_images(20))), "--weights", str(weights), "--out", str(out), "--video"])
    assert code == 0
    topology, *hands = recorded(out / "hands.mcap")
    assert topology.weights == WeightsBundle.load(weights).info.name and topology.vertex_count > 0
    stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in hands]
    assert stamps == [100 * 10**9 + index * 33_000_000 for index in range(20)]
    assert {(m.image_width, m.image_height, m.header.frame_id) for m in hands} == {(160, 120, "eye")}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 20 and metrics["is_complete"] and metrics["hands"] == 0
    assert cv2.VideoCapture(str(out / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 20
    run = json.loads((out / "run.json").read_text())
    timings = json.loads((out / "timings.json").read_text())
    assert sum(timings["processing_time"]["histogram"]["counts"]) == 20 and not run["problems"]


def test_parts_of_a_recording(make_bag, weights, tmp_path):
    bag = str(make_bag(grey_images(30)))
    arguments = ["--weights", str(weights), "--out", str(tmp_path / "out"), "--every", "3"]
    assert main([bag, *arguments, "--start", "0.3", "--seconds", "0.5"]) == 0
    _, *hands = recorded(tmp_path / "out" / "hands.mcap")
    # Images 10 to 24 lie between 0.3 and 0.8 s; of these every third of the recording.
    expected = [index * 33_000_000 for index in (12, 15, 18, 21, 24)]
    assert [message.header.stamp.nanosec for message in hands] == expected


def test_corrupt_images_are_left_out_and_counted(make_bag, weights, tmp_path, capsys):
    images = grey_images(10)
    images[4] = images[7] = None
    bag = str(make_bag(images))
    assert main([bag, "--weights", str(weights), "--out", str(tmp_path / "out")]) == 1
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["images"] == 8 and metrics["images_unreadable"] == 2 and metrics["is_complete"]
    assert "2 images could not be read" in capsys.readouterr().err


def test_a_recording_cut_off_gives_what_is_in_it(make_bag, weights, tmp_path, capsys):
    random = np.random.default_rng(0)
    bag = make_bag([random.integers(0, 255, (240, 320, 3), np.uint8) for _ in range(60)])
    bag.write_bytes(bag.read_bytes()[: bag.stat().st_size * 3 // 4])
    assert main([str(bag), "--weights", str(weights), "--out", str(tmp_path / "out")]) == 1
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (
        0 < metrics["images"] < 60 and len(recorded(tmp_path / "out" / "hands.mcap")) == metrics["images"] + 1
    )
    assert "was not closed by its recorder" in capsys.readouterr().err


def test_an_earlier_evaluation_is_not_overwritten_unasked(make_bag, weights, tmp_path, capsys):
    arguments = [str(make_bag(grey_images(2))), "--weights", str(weights), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "or replace it with --force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0


def test_ctrl_c_keeps_what_was_processed(make_bag, weights, tmp_path):
    bag = make_bag(grey_images(30) * 200)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "h2onet_ros.cli",
        "evaluate-bag",
        bag,
        "--weights",
        weights,
        "--out",
        out,
    ]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        # The bar appears with the first image.
        seen = ""
        while "images" not in seen and (piece := process.stderr.read(1)):
            seen += piece
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == 130
    assert "stopped; what was processed is in" in errors and "Traceback" not in errors
    metrics = json.loads((out / "metrics.json").read_text())
    assert not metrics["is_complete"] and metrics["images"] < 6000
    assert len([m for m in recorded(out / "hands.mcap") if isinstance(m, HandArray)]) == metrics["images"]


def test_ctrl_c_while_the_report_is_written_comes_too_late(make_bag, tmp_path, monkeypatch, capsys):
    def write(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        write_report(*arguments)

    monkeypatch.setattr(report, "write_report", write)
    assert main([str(make_bag(grey_images(3))), "--out", str(tmp_path / "out")]) == 0
    assert "stopped" not in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["is_complete"]
    assert (tmp_path / "out" / "report.html").exists() and not (tmp_path / "out" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "There is no recording at nowhere"),
        (["BAG", "--topic", "/camera/image_raw"], "Did you mean /camera/image_raw/compressed"),
        (["BAG", "--weights", "nowhere"], "nowhere"),
        (["BAG", "--engine", "abacus"], "abacus"),
        (["BAG", "--engine", "onnxruntime", "--precision", "float64"], "not 'float64'"),
        (["BAG", "--out", "/dev/null/x"], "Expected a folder to write to"),
    ],
)
def test_bad_input_is_refused_with_one_message(make_bag, weights, tmp_path, capsys, arguments, complaint):
    bag = make_bag(grey_images(1))
    defaults = ["--weights", str(weights), "--out", str(tmp_path / "out")]
    code = main([*[str(bag) if part == "BAG" else part for part in arguments[:1]], *defaults, *arguments[1:]])
    errors = capsys.readouterr().err
    assert code == 2 and complaint in errors and "Traceback" not in errors
    assert not (tmp_path / "out" / "hands.mcap").exists()


def test_two_runs_are_equal(make_bag, tmp_path):
    bag = str(make_bag(demo_recording.images(12)))
    for name in "a", "b":
        assert main([bag, "--out", str(tmp_path / name), "--engine", "onnxruntime"]) == 0
    first, second = ((tmp_path / name / "metrics.json").read_text() for name in "ab")
    assert first == second and json.loads(first)["hands"] > 0
    for one, other in zip(*(recorded(tmp_path / name / "hands.mcap")[1:] for name in "ab"), strict=True):
        assert one.hands == other.hands


def results(joints, tracks=None):
    """One result an image at 30 a second; `joints` (T, 21, 3), None where no hand is seen."""
    for index, points in enumerate(joints):
        hands = ()
        if points is not None:
            hand = random_hand(1 if tracks is None else tracks[index])
            hands = (replace(hand, joints=np.asarray(points, np.float32)),)
        yield FrameResult(index * 33_333_333, "eye", hands, {"total": 0.01})


def test_figures_of_tracks():
    still = np.random.default_rng(0).normal(size=(21, 3))
    metrics = StabilityMetrics()
    sequence = [still] * 20 + [None] * 4 + [still] * 6 + [still] * 5
    for result in results(sequence, tracks=[1] * 30 + [2] * 5):
        metrics.add(result)
    summary = metrics.summary()
    assert (summary["images"], summary["images_with_hands"], summary["hands"]) == (35, 31, 31)
    assert summary["coverage"] == pytest.approx(31 / 35)
    first, second = summary["tracks"]
    assert (first["track_id"], first["images"], first["missed"]) == (1, 26, 4)
    assert first["seconds"] == pytest.approx(29 / 30, abs=1e-6)
    assert (second["track_id"], second["images"], second["missed"]) == (2, 5, 0)
    assert (first["gaps"], first["longest_gap"]) == (1, pytest.approx(5 / 30, abs=1e-6))
    assert first["handedness"] == "left" and first["handedness_changes"] == 0
    assert first["bone_length_variation"] == pytest.approx(0, abs=1e-6)
    assert first["jitter_at_rest"] == pytest.approx(0, abs=1e-9)
    assert first["reprojection_error_median"] == 1.25
    hidden = random_hand().occlusion > 0.5
    assert list(first["occluded"].values()) == hidden.astype(float).tolist()


def track_of(sequence):
    metrics = StabilityMetrics()
    for result in results(sequence):
        metrics.add(result)
    return metrics.summary()["tracks"][0]


def test_bones_that_breathe_are_told():
    still = np.random.default_rng(0).normal(size=(21, 3))
    scale = np.where(np.arange(100) % 2, 1.1, 0.9)
    assert track_of(scale[:, None, None] * still)["bone_length_variation"] == pytest.approx(0.1)
    assert track_of([still])["bone_length_variation"] is None


def test_jitter_is_told_at_rest_and_not_from_movement():
    random = np.random.default_rng(0)
    still = random.normal(size=(21, 3))
    noise = random.normal(scale=0.001, size=(400, 21, 3))
    # A quick wave for half of the time; noise of 1 mm throughout.
    wave = 0.3 * np.sin(np.arange(400) / 3)[:, None, None] * (np.arange(400) < 200)[:, None, None]
    measured = track_of(still + noise + wave)["jitter_at_rest"]
    deviation = noise[1:-1] - (noise[:-2] + noise[2:]) / 2
    assert measured == pytest.approx(np.linalg.norm(deviation, axis=-1).mean(), rel=0.1)
    # No three images in a row.
    assert track_of([points for image in still + noise for points in (image, None)])["jitter_at_rest"] is None
