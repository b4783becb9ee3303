"""The services of a running node, and what it says of itself in /diagnostics."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from std_srvs.srv import Trigger

from h2onet_msgs.srv import CalibrateHandScale, SaveSnapshot
from h2onet_ros.perception.hand_size import hand_length
from h2onet_ros.ros.messages import hand_from_message

NODE = "/hand_mesh_node"


@pytest.fixture
def asked(conversation, hand_frames):
    """Calls a service that needs images, and shows the node a hand until it answers."""
    dialogue, peer = conversation.dialogue, conversation.peer
    height, width = hand_frames[0].shape[:2]
    dialogue.send_info(width, height)

    def ask(kind, name, request):
        client = peer.node.create_client(kind, f"{NODE}/{name}")
        assert peer.wait_until(client.service_is_ready)
        future = client.call_async(request)
        frames = iter(hand_frames * 40)

        def is_answered() -> bool:
            dialogue.ask(next(frames))
            return future.done()

        assert peer.wait_until(is_answered)
        peer.node.destroy_client(client)
        return future.result()

    return ask


def test_reset_forgets_the_hands(conversation, hand_frames):
    dialogue = conversation.dialogue
    dialogue.send_info(hand_frames[0].shape[1], hand_frames[0].shape[0])
    for rgb in hand_frames[:4]:
        before = dialogue.ask(rgb)
    answer = conversation.peer.call(Trigger, f"{NODE}/reset")
    assert answer.success and "forgotten" in answer.message
    for rgb in hand_frames[4:8]:
        after = dialogue.ask(rgb)
    assert before.hands and after.hands
    assert {hand.track_id for hand in before.hands}.isdisjoint(hand.track_id for hand in after.hands)


def test_a_snapshot_holds_the_image_and_its_hands(conversation, asked, tmp_path, hand_frames):
    answer = asked(SaveSnapshot, "save_snapshot", SaveSnapshot.Request(folder=str(tmp_path / "new")))
    assert answer.success, answer.message
    files = {Path(path).name: Path(path) for path in answer.files}
    (folder,) = (tmp_path / "new").iterdir()
    assert {path.parent for path in files.values()} == {folder}
    document = json.loads(files["hands.json"].read_text())
    message = next(
        m
        for m, s in zip(conversation.dialogue.hands, conversation.dialogue.stamps())
        if s == document["stamp_ns"]
    )
    hands = [hand_from_message(hand) for hand in message.hands]
    assert [hand["track_id"] for hand in document["hands"]] == [hand.track_id for hand in hands]
    for saved, hand in zip(document["hands"], hands):
        np.testing.assert_allclose(saved["joints"], hand.joints, atol=1e-6)
        obj = files[f"hand_{hand.track_id}.obj"].read_text().splitlines()
        vertices = np.array([line.split()[1:] for line in obj if line[0] == "v"], float)
        np.testing.assert_allclose(vertices, hand.vertices, atol=1e-5)
        assert sum(line[0] == "f" for line in obj) == len(conversation.dialogue.topology.faces)
    image = cv2.imread(str(files["image.png"]))[..., ::-1]
    assert min(np.abs(image.astype(int) - frame).max() for frame in hand_frames) == 0
    overlay = cv2.imread(str(files["overlay.png"]))[..., ::-1]
    assert (np.abs(overlay.astype(int) - image).max(-1) > 8).any() == bool(hands)


def test_a_snapshot_that_cannot_be_written_says_why(asked, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (str(tmp_path / "file"), "~nobody-of-this-name/snapshots"):
        answer = asked(SaveSnapshot, "save_snapshot", SaveSnapshot.Request(folder=folder))
        assert not answer.success and not answer.files
        assert f"expected a folder to write to, not {folder}: " in answer.message


def test_a_snapshot_without_a_camera_gives_up(conversation):
    answer = conversation.peer.call(SaveSnapshot, f"{NODE}/save_snapshot")
    assert not answer.success and "no image came within" in answer.message


def test_the_hands_size_is_learnt_from_a_ruler(conversation, asked, hand_frames):
    peer, dialogue = conversation.peer, conversation.dialogue
    try:
        request = CalibrateHandScale.Request(hand_length=0.15, images=10, timeout=60.0)
        answer = asked(CalibrateHandScale, "calibrate_hand_scale", request)
        assert answer.success, answer.message
        assert peer.get("hand_scale") == pytest.approx(answer.hand_scale, abs=1e-6)
        assert peer.set(smoothing=0.0)[0].successful
        lengths = []
        for rgb in hand_frames[:8]:
            message = dialogue.ask(rgb)
            lengths += [hand_length(hand_from_message(hand).joints) for hand in message.hands]
        assert np.median(lengths) == pytest.approx(0.15, rel=0.1)
    finally:
        assert all(result.successful for result in peer.set(hand_scale=1.0, smoothing=1.0))


@pytest.mark.parametrize(
    ("request_fields", "reason"),
    [
        ({"hand_length": 5.0}, "give metres"),
        ({"timeout": -1.0}, "timeout"),
        ({"images": 100_000}, "at most 1000 images"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_calibrations_that_make_no_sense_are_refused_at_once(conversation, request_fields, reason):
    request = CalibrateHandScale.Request(**request_fields)
    answer = conversation.peer.call(CalibrateHandScale, f"{NODE}/calibrate_hand_scale", request)
    assert not answer.success and reason in answer.message


def test_a_calibration_without_depth_says_what_to_do(asked):
    answer = asked(CalibrateHandScale, "calibrate_hand_scale", CalibrateHandScale.Request(timeout=1.0))
    assert not answer.success and "depth" in answer.message


def test_services_of_a_node_that_is_not_active_say_so(start_node, peer):
    node = start_node("-p", "autostart:=false")
    snapshot = peer.call(SaveSnapshot, f"{NODE}/save_snapshot")
    assert not snapshot.success and "activate it first" in snapshot.message
    assert peer.call(Trigger, f"{NODE}/reset").success
    assert node.interrupt() == 0


def test_diagnostics_tell_rates_delays_and_engine(conversation, hand_frames):
    dialogue = conversation.dialogue
    dialogue.send_info(hand_frames[0].shape[1], hand_frames[0].shape[0])
    for rgb in hand_frames:
        dialogue.ask(rgb)
    status, values = conversation.diagnosis()
    assert status.name == "hand_mesh_node: hands" and status.hardware_id == dialogue.frame_id
    assert values["state"] == "active"
    assert "ONNX Runtime" in values["engine"] or "OpenVINO" in values["engine"]
    assert float(values["processed rate (1/s)"]) > 0
    assert float(values["delay arrival to publication, p95 (ms)"]) > 1
    assert int(values["images processed"]) >= len(hand_frames)
    # The camera is silent now: its age grows, and with it the level.
    assert conversation.peer.wait_until(
        lambda: "no image for" in conversation.diagnostics[-1].status[0].message
    )
    assert conversation.diagnostics[-1].status[0].level > status.OK
