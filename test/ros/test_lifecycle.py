"""The life cycle of the real node: what each transition makes and takes away, also while images stream in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sensor_msgs.msg import Image
from talk import Dialogue, Peer

from h2onet_msgs.srv import SaveSnapshot

OUTPUTS = {f"/hand_mesh_node/{name}" for name in ("hands", "markers", "points", "overlay", "topology")}


def topics(peer: Peer) -> set[str]:
    """Topics that somebody publishes."""
    return {name for name, _ in peer.node.get_topic_names_and_types() if peer.node.count_publishers(name)}


def resident_megabytes(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1024


def test_each_transition_makes_and_takes_away(start_node, dialogue, hand_frames):
    node, peer = start_node("-p", "autostart:=false"), dialogue.peer
    assert peer.state() == "unconfigured"
    assert not topics(peer) & OUTPUTS
    unloaded = resident_megabytes(node.process.pid)

    assert peer.transition("configure")
    assert peer.state() == "inactive"
    assert peer.wait_until(lambda: topics(peer) >= OUTPUTS)
    assert dialogue.images.get_subscription_count() == 0

    assert peer.transition("activate")
    dialogue.wait_until_connected()
    assert dialogue.ask(hand_frames[0]).image_width
    loaded = resident_megabytes(node.process.pid)

    # Who waits for an image gets an answer all the same.
    client = peer.node.create_client(SaveSnapshot, "/hand_mesh_node/save_snapshot")
    assert peer.wait_until(client.service_is_ready)
    waiting = client.call_async(SaveSnapshot.Request())
    assert peer.transition("deactivate")
    assert peer.wait_until(waiting.done)
    assert not waiting.result().success and "not active" in waiting.result().message
    assert peer.wait_until(lambda: dialogue.images.get_subscription_count() == 0)

    # The engine is chosen anew when the node is configured, and at no other time.
    refused = peer.set(engine="onnxruntime")[0]
    assert not refused.successful and "when the node is configured" in refused.reason
    assert peer.transition("cleanup")
    assert peer.wait_until(lambda: not topics(peer) & OUTPUTS)
    assert resident_megabytes(node.process.pid) < unloaded + 0.6 * (loaded - unloaded)
    assert peer.set(engine="onnxruntime")[0].successful

    # A configuration that fails leaves the node where it was, and says why.
    assert peer.set(weights="/no/such/folder")[0].successful
    assert not peer.transition("configure")
    assert peer.state() == "unconfigured"
    node.wait_for_line("weights bundle /no/such/folder does not exist")
    assert peer.set(weights="", precision="bfloat16")[1].successful
    assert not peer.transition("configure")
    node.wait_for_line("onnxruntime computes in float32 or int8, not 'bfloat16'")
    assert peer.set(precision="float32")[0].successful

    assert peer.transition("configure") and peer.transition("activate")
    assert peer.wait_until(lambda: dialogue.images.get_subscription_count() > 0)
    assert dialogue.ask(hand_frames[0]).image_width
    assert node.interrupt() == 0
    assert "Traceback" not in node.output


def test_transitions_under_load(start_node, dialogue, hand_frames):
    node, peer = start_node("-p", "camera_info_wait_s:=0.0"), dialogue.peer
    dialogue.wait_until_connected()
    over = threading.Event()

    def stream() -> None:
        while not over.wait(0.005):
            dialogue.send(hand_frames[0])

    camera = threading.Thread(target=stream)
    camera.start()
    try:
        for number in range(4):
            count = len(dialogue.hands)
            assert peer.wait_until(lambda count=count: len(dialogue.hands) > count)
            assert peer.transition("deactivate")
            if number % 2:
                assert peer.transition("cleanup") and peer.transition("configure")
            assert peer.set(publish_markers=bool(number % 2), max_hands=1 + number % 2)[0].successful
            assert peer.transition("activate")
    finally:
        over.set()
        camera.join()
    assert dialogue.ask(hand_frames[0]).image_width
    assert node.interrupt() == 0
    assert "Traceback" not in node.output and "ERROR" not in node.output, node.output


def test_the_camera_is_subscribed_to_only_while_somebody_wants_hands(start_node, peer, hand_frames):
    node = start_node("-p", "camera_info_wait_s:=0.0")
    dialogue = Dialogue(peer)
    dialogue.wait_until_connected()
    dialogue.ask(hand_frames[0])
    peer.node.destroy_subscription(dialogue.subscription)
    publishers = (dialogue.images, dialogue.infos)
    assert peer.wait_until(lambda: not any(p.get_subscription_count() for p in publishers))
    overlay = peer.node.create_subscription(Image, "/hand_mesh_node/overlay", lambda _: None, 1)
    assert peer.wait_until(lambda: all(p.get_subscription_count() for p in publishers))
    peer.node.destroy_subscription(overlay)
    assert peer.wait_until(lambda: not any(p.get_subscription_count() for p in publishers))
    assert node.interrupt() == 0


def test_a_subscriber_that_was_killed_holds_nobody_up(conversation, hand_frames):
    """DDS learns of it only after its lease; until then the node publishes to a reader that is not there."""
    program = (
        "import rclpy, sys\n"
        "from h2onet_msgs.msg import HandArray\n"
        "rclpy.init()\n"
        "node = rclpy.create_node('victim')\n"
        "hear = lambda _: print('heard', flush=True)\n"
        "node.create_subscription(HandArray, '/hand_mesh_node/hands', hear, 10)\n"
        "rclpy.spin(node)\n"
    )
    dialogue, peer = conversation.dialogue, conversation.peer
    environment = os.environ | {"ROS_DOMAIN_ID": str(conversation.domain)}
    environment |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    victim = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    try:
        assert victim.stdout
        heard = threading.Thread(target=victim.stdout.readline)
        heard.start()
        height, width = hand_frames[0].shape[:2]
        dialogue.send_info(width, height)

        def is_heard() -> bool:
            dialogue.ask(hand_frames[0])
            return not heard.is_alive()

        assert peer.wait_until(is_heard)
        # The node may find the newcomer before this test does.
        assert peer.wait_until(lambda: peer.node.count_subscribers("/hand_mesh_node/hands") == 2)
    finally:
        victim.kill()
        victim.wait()
        heard.join()
    assert peer.node.count_subscribers("/hand_mesh_node/hands") == 2
    for rgb in hand_frames:
        dialogue.ask(rgb)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_among_transitions_and_images_ends_the_node_cleanly(
    start_node, dialogue, hand_frames, number
):
    node, peer = start_node("-p", "camera_info_wait_s:=0.0"), dialogue.peer
    dialogue.wait_until_connected()
    dialogue.ask(hand_frames[0])
    for name in ("deactivate", "cleanup", "configure", "activate"):
        # Not waited for: the signal comes in the middle of one of them.
        peer.begin_transition(name)
    dialogue.send(hand_frames[0])
    assert node.interrupt(number) == 0, node.output
    assert "Traceback" not in node.output
