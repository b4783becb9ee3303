"""The real node as a process, with real images over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import Image, PointCloud2
from talk import FOCAL, FRAME_ID, INTERVAL, Dialogue
from visualization_msgs.msg import Marker, MarkerArray

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.image import image_to_rgb
from h2onet_ros.ros.messages import (
    hand_from_message,
    stamp_from_message,
)


def test_a_real_hand_comes_out_as_hands_markers_points_and_overlay(start_node, dialogue, hand_frames):
    start_node()
    peer = dialogue.peer
    markers = peer.collect(MarkerArray, "/hand_mesh_node/markers")
    points = peer.collect(PointCloud2, "/hand_mesh_node/points")
    overlays = peer.collect(Image, "/hand_mesh_node/overlay")
    dialogue.wait_until_connected()
    height, width = hand_frames[0].shape[:2]
    dialogue.send_info(width, height)
    for rgb in hand_frames:
        answer = dialogue.ask(rgb)

    assert answer.header.frame_id == FRAME_ID
    assert (answer.image_width, answer.image_height) == (width, height)
    assert len(answer.hands) == 1
    assert len({hand.track_id for message in dialogue.hands for hand in message.hands}) == 1
    assert answer.processing_time > 0 and answer.encode_time > 0
    hand = hand_from_message(answer.hands[0])
    assert len(hand.vertices) == len(dialogue.topology.vertex_part)
    assert hand.detection_score > 0.5
    camera = Camera(width, height, np.array([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]]))
    error = np.sqrt(((camera.project(hand.joints) - hand.image_points) ** 2).sum(-1).mean())
    assert error < 0.1 * hand.region.size
    assert (hand.image_points > 0).all() and (hand.image_points < [width, height]).all()
    assert np.linalg.norm(hand.joints[0] - hand.position) < 0.02

    def is_complete() -> bool:
        return all(
            messages and messages[-1].header.stamp == answer.header.stamp for messages in (points, overlays)
        ) and bool(markers and markers[-1].markers[0].header.stamp == answer.header.stamp)

    assert peer.wait_until(is_complete)
    by_name = {marker.ns: marker for marker in markers[-1].markers if marker.action == Marker.ADD}
    shown = np.array([(p.x, p.y, p.z) for p in by_name["joints"].points])
    np.testing.assert_allclose(shown, hand.joints, atol=1e-6)
    assert len(by_name["mesh"].points) == dialogue.topology.faces.size
    assert points[-1].width == len(hand.vertices)
    drawn = image_to_rgb(overlays[-1]).astype(int)
    changed = np.abs(drawn - hand_frames[-1]).max(-1) > 8
    left, top = hand.image_points.min(0).astype(int)
    right, bottom = hand.image_points.max(0).astype(int)
    assert changed[top:bottom, left:right].mean() > 0.3
    assert changed.mean() < 0.5


def test_an_uncalibrated_camera_is_assumed_with_one_warning(start_node, dialogue, hand_frames):
    node = start_node("-p", "assumed_field_of_view_deg:=75.0")
    dialogue.wait_until_connected()
    height, width = hand_frames[0].shape[:2]
    dialogue.send_info(width, height, focal=0.0)
    for rgb in hand_frames[:5]:
        dialogue.ask(rgb)
    assert node.interrupt() == 0
    warnings = [line for line in node.lines if "[WARN]" in line]
    assert len(warnings) == 1 and "field of view of 75 degrees" in warnings[0]


def test_compressed_images_come_from_the_topic_below_the_image(start_node, peer, hand_frames):
    start_node("-p", "compressed:=true", "-r", "image:=/front/image_raw")
    dialogue = Dialogue(peer, compressed=True, image="/front/image_raw/compressed")
    dialogue.wait_until_connected()
    answer = dialogue.ask(hand_frames[0])
    assert (answer.image_height, answer.image_width) == hand_frames[0].shape[:2]


def test_a_late_node_takes_the_newest_image_and_counts_the_others(start_node, dialogue, hand_frames):
    start_node("-p", "camera_info_wait_s:=0.0", "-p", "max_wait_s:=0.0")
    dialogue.wait_until_connected()
    dialogue.ask(hand_frames[0])
    answered, start = len(dialogue.hands), dialogue.stamp

    def burst() -> list:
        for rgb in hand_frames:
            dialogue.send(rgb)
        dialogue.ask(hand_frames[0])
        return dialogue.hands[answered:]

    # More than once only where this test gets less of the processor than the node.
    assert dialogue.peer.wait_until(lambda: any(message.skipped_images for message in burst()))
    answers = dialogue.hands[answered:]
    sent = (dialogue.stamp - start) // INTERVAL
    # What is neither answered nor skipped was lost by DDS, which keeps ten images for the node.
    assert len(answers) + sum(message.skipped_images for message in answers) <= sent
    got = [stamp_from_message(message.header.stamp) for message in answers]
    assert got == sorted(got)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    values = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def test_the_node_is_ready_soon(start_node, dialogue):
    node = start_node()
    dialogue.wait_until_connected()
    used = cpu_seconds(node.process.pid)
    # Processor time, in that of importing what it stands on: neither a slow nor a busy machine decides.
    imports = "import time, rclpy, cv2, onnxruntime; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=True)
    assert used < 10 * float(done.stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_node_cleanly(start_node, dialogue, hand_frames, number):
    node = start_node()
    dialogue.wait_until_connected()
    dialogue.ask(hand_frames[0])
    dialogue.send(hand_frames[1])
    assert node.interrupt(number) == 0
    assert "processed" in node.lines[-1]
    assert "Traceback" not in node.output and "ERROR" not in node.output


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what is loaded from Linux's /proc")
@pytest.mark.parametrize("library", ["rclpy", "cv2", "onnxruntime"])
def test_ctrl_c_during_start_up_ends_the_node_cleanly(start_node, library):
    node = start_node()
    maps = Path(f"/proc/{node.process.pid}/maps")
    while f"/{library}" not in maps.read_text():
        assert node.process.poll() is None, node.output
    assert node.interrupt() == 0, node.output
    assert "Traceback" not in node.output


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["-p", "weights:=/no/such/folder"], 1, "weights bundle /no/such/folder does not exist"),
        (["-p", f"weights:={Path(__file__).parent}"], 1, "is no weights bundle"),
        (["-p", "engine:=abacus"], 1, "parameter engine: expected auto, "),
        (["-p", "precision:=float64"], 1, "parameter precision: expected auto, float32, bfloat16"),
        (["-p", "max_hands:=99"], 1, "parameter max_hands: expected a value of type int from 1 to 8"),
        (["-p", "smoothing:=2"], 1, "parameter smoothing: expected a value of type float from 0 to 10"),
        (["-p", "weights:=1.5"], 1, "parameter weights: expected a value of type str"),
        (["--params-file", "/no/such/file.yaml"], 2, "/no/such/file.yaml"),
        (["-p", "nonsense"], 2, "nonsense"),
    ],
)
def test_what_it_cannot_run_with_is_said_in_one_message(start_node, arguments, code, complaint):
    node = start_node(*arguments)
    assert node.wait() == code
    assert complaint in node.output
    assert "Traceback" not in node.output
    assert len([line for line in node.lines if "FATAL" in line or "wrong arguments" in line]) == 1
