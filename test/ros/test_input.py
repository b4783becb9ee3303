"""What the node subscribes to, and how: quality of service, depth, regions of other detectors."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.qos import QoSReliabilityPolicy
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from talk import Dialogue

from h2onet_msgs.msg import HandRegion, HandRegionArray
from h2onet_ros.ros.image import rgb_to_image

RELIABLE, BEST_EFFORT = QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT


def asked_for(peer) -> set[QoSReliabilityPolicy]:
    """The reliability of the node's subscriptions to the camera."""
    infos = [*peer.node.get_subscriptions_info_by_topic("/image")]
    infos += peer.node.get_subscriptions_info_by_topic("/camera_info")
    return {info.qos_profile.reliability for info in infos}


def show(dialogue: Dialogue, frames) -> list:
    """The hands after some frames, from a fresh start."""
    dialogue.stamp += 10**10
    for rgb in frames:
        answer = dialogue.ask(rgb)
    return list(answer.hands)


def restart_camera(conversation, reliability: QoSReliabilityPolicy) -> None:
    dialogue, peer = conversation.dialogue, conversation.peer
    dialogue.stop_camera()
    assert peer.wait_until(lambda: not peer.node.count_publishers("/image"))
    dialogue.set_reliability(reliability)
    dialogue.start_camera()


def test_reliability_follows_the_cameras(conversation, hand_frames):
    dialogue, peer = conversation.dialogue, conversation.peer
    assert peer.wait_until(lambda: asked_for(peer) == {RELIABLE})
    try:
        restart_camera(conversation, BEST_EFFORT)
        assert peer.wait_until(lambda: asked_for(peer) == {BEST_EFFORT})
        dialogue.send_info(640, 360)
        assert dialogue.ask(hand_frames[0]).image_width == 640

        # Somebody insists on what this camera does not offer: nothing can come, and that is said.
        lines = len(conversation.process.lines)
        assert peer.set(input_reliability="reliable")[0].successful
        line = conversation.process.wait_for_line("incompatible QoS", since=lines)
        assert "RELIABILITY" in line and "input_reliability" in line
        status, _ = conversation.diagnosis()
        assert status.level > status.OK and "offers another RELIABILITY" in status.message
    finally:
        assert peer.set(input_reliability="auto")[0].successful
        restart_camera(conversation, RELIABLE)
    assert peer.wait_until(lambda: asked_for(peer) == {RELIABLE})
    dialogue.send_info(640, 360)
    assert dialogue.ask(hand_frames[0]).image_width == 640


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_puts_the_wrist_where_it_is(conversation, hand_frames, encoding):
    dialogue, peer = conversation.dialogue, conversation.peer
    depths = peer.node.create_publisher(Image, "depth", 10)
    # Everything is 0.9 m away, much farther than the image says, and a second half of nothing known.
    metres = np.full((360, 640), 0.9, np.float32)
    metres[::2, 1::2] = np.nan if encoding == "32FC1" else 0
    pixels = metres if encoding == "32FC1" else (1000 * metres).astype(np.uint16)
    dialogue.send_info(640, 360)
    without = show(dialogue, hand_frames[:5])
    try:
        assert all(r.successful for r in peer.set(depth=True, depth_wait_s=1.0, smoothing=0.0))
        dialogue.wait_until_settled(depths.topic_name)
        dialogue.stamp += 10**10
        for rgb in hand_frames[:6]:
            header = dialogue.next_header()
            message = rgb_to_image(rgb, header)
            depth = Image(height=360, width=640, encoding=encoding, step=640 * pixels.itemsize, header=header)
            depth.data.frombytes(pixels.tobytes())
            depths.publish(depth)
            dialogue.images.publish(message)
            stamp = header.stamp
            assert peer.wait_until(
                lambda stamp=stamp: any(m.header.stamp == stamp for m in dialogue.hands[-5:])
            )
        hands = dialogue.hands[-1].hands
        _, values = conversation.diagnosis()
        # All but the first, which does not wait for a topic that has never said anything.
        assert int(values["images with depth"]) >= 5
        assert hands[0].wrist.position.z == pytest.approx(0.9, abs=0.08)
        assert abs(without[0].wrist.position.z - 0.9) > 2 * abs(hands[0].wrist.position.z - 0.9)
    finally:
        assert all(r.successful for r in peer.set(depth=False, depth_wait_s=0.03, smoothing=1.0))
        peer.node.destroy_publisher(depths)
    assert peer.wait_until(lambda: dialogue.images.get_subscription_count() > 0)
    dialogue.send_info(640, 360)


def test_hands_are_looked_for_where_another_detector_says(conversation, hand_frames):
    dialogue, peer = conversation.dialogue, conversation.peer
    given = peer.node.create_publisher(HandRegionArray, "regions", 10)
    dialogue.send_info(640, 360)
    seen = show(dialogue, hand_frames[:5])[0]
    try:
        assert peer.set(regions="topic")[0].successful
        assert peer.wait_until(lambda: given.get_subscription_count() > 0)
        dialogue.send_info(640, 360)
        assert peer.call(Trigger, "/hand_mesh_node/reset").success
        assert show(dialogue, hand_frames[:5]) == []

        region = HandRegion(x=seen.region_x, y=seen.region_y, size=seen.region_size)

        def is_found() -> bool:
            # The regions may come later than the next image, which then does not know of them.
            given.publish(HandRegionArray(header=dialogue.next_header(), regions=[region]))
            return bool(dialogue.ask(hand_frames[0]).hands)

        dialogue.stamp += 10**10
        assert peer.wait_until(is_found)
        hand = dialogue.hands[-1].hands[0]
        assert np.hypot(hand.region_x - seen.region_x, hand.region_y - seen.region_y) < seen.region_size / 3

        nonsense = HandRegion(x=float("nan"), size=-1.0)
        given.publish(HandRegionArray(header=dialogue.next_header(), regions=[nonsense]))
        conversation.process.wait_for_line("positive size")
    finally:
        assert peer.set(regions="detector")[0].successful
        peer.node.destroy_publisher(given)
    assert peer.wait_until(lambda: dialogue.images.get_subscription_count() > 0)
    dialogue.send_info(640, 360)
    assert len(show(dialogue, hand_frames[:5])) == 1
