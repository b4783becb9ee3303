"""A rendered recording of two hands whose truth is known: figures, report, results, resuming."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import demo_recording
import numpy as np
import pytest
import recordings
from independent import aligned, area, f_score
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from visualization_msgs.msg import Marker, MarkerArray

from h2onet_msgs.msg import HandArray
from h2onet_ros.bag.evaluation.run import evaluate
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.evaluation.table import read_table
from h2onet_ros.hand.joints import OCCLUSION_NAMES

ROOT = Path(__file__).resolve().parents[2]
COUNT = 24
SETTINGS = EvaluationSettings(engine="onnxruntime", video=True, with_images=True)


@pytest.fixture(scope="module")
def truth():
    return demo_recording.truth(COUNT)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    messages = demo_recording.messages(COUNT)
    return recordings.write(tmp_path_factory.mktemp("two_hands") / "bag", messages, "sqlite3")


@pytest.fixture(scope="module")
def evaluated(bag, tmp_path_factory):
    result = evaluate(bag, tmp_path_factory.mktemp("evaluated") / "out", SETTINGS)
    assert result.problems == [] and result.exit_code == 0
    return result


def found_hands(out):
    """What hands.mcap holds, by stamp, as arrays: not through the product's reader."""
    by_stamp = {}
    with Reader(out / "hands.mcap") as reader:
        for connection, time, data in reader.messages():
            if connection.msgtype == "h2onet_msgs/msg/HandArray":
                message = deserialize_message(bytes(data), HandArray)
                assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == time
                by_stamp[time] = message.hands
    return by_stamp


def pairs_of(found, truth):
    """Found and true hands that belong together: of all ways to pair them, the one that is nearest."""
    pairs = []
    for result in truth:
        hands = found[result.stamp]
        count = min(len(hands), len(result.hands))
        best = min(
            (
                list(zip(chosen, others, strict=True))
                for chosen in itertools.permutations(hands, count)
                for others in itertools.combinations(result.hands, count)
            ),
            key=lambda pairing: sum(
                np.abs(np.reshape(hand.image_points, (21, 2)) - true.image_points).mean()
                for hand, true in pairing
            ),
        )
        pairs += best
    return pairs


def test_the_errors_are_those_of_an_independent_computation(evaluated, truth):
    pairs = pairs_of(found_hands(evaluated.out), truth)
    accuracy = json.loads((evaluated.out / "metrics.json").read_text())["accuracy"]
    assert (accuracy["images"], accuracy["hands"]) == (COUNT, 2 * COUNT)
    assert accuracy["detection"]["found"] == len(pairs) > COUNT
    expected = {name: [] for name in ("mpjpe", "pa_mpjpe", "mpvpe", "pa_mpvpe", "wrist_error", "error_2d")}
    expected |= {"f_15mm": [], "pa_f_5mm": []}
    all_distances = []
    for hand, true in pairs:
        joints = np.array([(p.x, p.y, p.z) for p in hand.joints])
        vertices = np.reshape(hand.vertices, (-1, 3)).astype(float)
        root, true_root = joints[0], true.joints[0].astype(float)
        onto_wrist, true_joints = joints - root, true.joints - true_root
        all_distances.append(np.linalg.norm(onto_wrist - true_joints, axis=1))
        expected["mpjpe"].append(all_distances[-1].mean())
        expected["pa_mpjpe"].append(np.linalg.norm(aligned(joints, true.joints) - true.joints, axis=1).mean())
        off = vertices - root - (true.vertices - true_root)
        expected["mpvpe"].append(np.linalg.norm(off, axis=1).mean())
        moved = aligned(vertices, true.vertices)
        expected["pa_mpvpe"].append(np.linalg.norm(moved - true.vertices, axis=1).mean())
        expected["wrist_error"].append(np.linalg.norm(root - true_root))
        points = np.reshape(hand.image_points, (21, 2))
        expected["error_2d"].append(np.linalg.norm(points - true.image_points, axis=1).mean())
        expected["f_15mm"].append(f_score(vertices - root, true.vertices - true_root, 0.015))
        expected["pa_f_5mm"].append(f_score(moved, true.vertices, 0.005))
    errors = accuracy["errors"]["all"]
    for name, values in expected.items():
        assert errors[name] == pytest.approx(np.mean(values), rel=1e-4), name
    assert errors["auc"] == pytest.approx(area(all_distances), rel=1e-5)
    for part, name in enumerate(OCCLUSION_NAMES):
        said = np.array([hand.occlusion[part] > 0.5 for hand, _ in pairs])
        hidden = np.array([true.occlusion[part] > 0.5 for _, true in pairs])
        assert accuracy["occlusion"][name]["true_positives"] == (said & hidden).sum()
        assert accuracy["occlusion"][name]["false_negatives"] == (~said & hidden).sum()
    table = read_table(evaluated.out)
    np.testing.assert_allclose(
        np.sort(table["mpjpe"][table["match"] == "pair"]), np.sort(expected["mpjpe"]), rtol=1e-5
    )


def test_the_report_holds_the_figures_and_needs_nothing_else(evaluated):
    text = (evaluated.out / "report.html").read_text()
    errors = evaluated.metrics["accuracy"]["errors"]["all"]
    for shown in (f"{1e3 * errors['mpjpe']:.1f} mm", f"{1e3 * errors['pa_mpjpe']:.1f} mm"):
        assert f"<b>{shown}</b>" in text
    fingers = evaluated.metrics["accuracy"]["occlusion"]["fingers"]
    hidden = fingers["true_positives"] + fingers["false_negatives"]
    assert f"{fingers['true_positives']} of {hidden} hidden fingers were said to be hidden" in text
    assert f"{COUNT} images" in text.replace("\n", " ")
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", text), "it refers to something outside"
    assert "@import" not in text and "<script" not in text
    jpegs = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert len(jpegs) >= 6 and text.count("<svg") >= 8


def test_the_results_play_alone(evaluated, bag, tmp_path):
    """Markers, frames and the camera's images are in the results; these images give the same hands."""
    with Reader(bag) as reader:
        images = [bytes(data) for c, _, data in reader.messages() if c.topic.endswith("compressed")]
    copied, markers, transforms = [], [], []
    with Reader(evaluated.out / "hands.mcap") as reader:
        for connection, _, data in reader.messages():
            if connection.topic.endswith("compressed"):
                copied.append(bytes(data))
            elif connection.topic == "/hand_mesh_node/markers":
                markers.append(deserialize_message(bytes(data), MarkerArray).markers)
            elif connection.topic == "/tf":
                transforms.append(recordings.STORE.deserialize_cdr(data, connection.msgtype).transforms)
    assert copied == images
    hands = [hands for hands in found_hands(evaluated.out).values() if hands]
    for message, shown, frames in zip(hands, markers, transforms, strict=True):
        by_id = {(marker.ns, marker.id): marker for marker in shown if marker.action == Marker.ADD}
        assert {identity for _, identity in by_id} == {hand.track_id for hand in message}
        for hand, frame in zip(message, frames, strict=True):
            assert by_id["joints", hand.track_id].points == list(hand.joints)
            assert (frame.header.frame_id, frame.child_frame_id) == ("camera", f"hand_{hand.track_id}")
            place = frame.transform.translation
            assert (place.x, place.y, place.z) == pytest.approx(
                [getattr(hand.wrist.position, axis) for axis in "xyz"]
            )
    again = evaluate(
        evaluated.out / "hands.mcap",
        tmp_path / "again",
        EvaluationSettings(engine="onnxruntime", report=False),
    )
    assert again.metrics["tracks"] == evaluated.metrics["tracks"]


def test_going_on_after_a_stop_gives_the_same_as_not_stopping(bag, evaluated, tmp_path):
    """And both the same as a first run: two runs give identical figures and arrays."""
    out = tmp_path / "out"
    asked = itertools.count()
    part = evaluate(bag, out, SETTINGS, is_interrupted=lambda: next(asked) == 10)
    assert part.is_interrupted and part.exit_code == 130 and part.metrics["images"] == 10
    assert len(found_hands(out)) == 10
    asked = itertools.count()
    resume = SETTINGS.replace(existing="resume")
    # Stopped again while the first part is still being repeated: nothing of it may be lost.
    again = evaluate(bag, out, resume, is_interrupted=lambda: next(asked) == 4)
    assert again.metrics["images"] == 4
    result = evaluate(bag, out, resume)
    assert result.exit_code == 0 and not (out / "checkpoint").exists()
    assert (out / "metrics.json").read_bytes() == (evaluated.out / "metrics.json").read_bytes()
    mine, other = read_table(out), read_table(evaluated.out)
    assert mine.keys() == other.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], other[name], err_msg=name)
    for hands, others in zip(found_hands(out).values(), found_hands(evaluated.out).values(), strict=True):
        assert [(hand.joints, hand.vertices) for hand in hands] == [(o.joints, o.vertices) for o in others]
    frames = [
        cv2.VideoCapture(str(folder / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)
        for folder in (out, evaluated.out)
    ]
    assert frames == [COUNT, COUNT]
    # A finished one is not done again, and not mistaken for another.
    before = (out / "hands.mcap").stat().st_mtime_ns
    assert evaluate(bag, out, resume).metrics == result.metrics
    assert (out / "hands.mcap").stat().st_mtime_ns == before


def test_a_killed_evaluation_can_be_finished(bag, evaluated, tmp_path):
    """Killed without a chance to tidy up, ten images in, and a checkpoint at each image."""
    program = (
        "import os, sys; import h2onet_ros.bag.evaluation.run as run; run.PERIOD = 0.0; "
        "from h2onet_ros.bag.evaluation.settings import EvaluationSettings; "
        "run.evaluate(sys.argv[1], sys.argv[2], EvaluationSettings(engine='onnxruntime', report=False), "
        "on_progress=lambda done, expected: os._exit(9) if done == 10 else None)"
    )
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", program, str(bag), str(out)], cwd=ROOT)
    assert killed.returncode == 9 and not (out / "metrics.json").exists()
    result = evaluate(
        bag, out, SETTINGS.replace(existing="resume", video=False, with_images=False, report=False)
    )
    assert result.exit_code == 0
    assert (out / "metrics.json").read_bytes() == (evaluated.out / "metrics.json").read_bytes()
