"""Bad input to a running node: it stays up, tells of each cause once, publishes nothing false, recovers."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from talk import CHECKOUT, FOCAL, FRAME_ID, Conversation, Dialogue

from h2onet_ros.ros.environment import local_environment
from h2onet_ros.ros.image import rgb_to_compressed, rgb_to_image
from h2onet_ros.ros.messages import stamp_from_message

HEIGHT, WIDTH = 360, 640


@pytest.fixture
def told(conversation: Conversation, hand_frames):
    """Sends bad messages, then a good image; how often the node told of a cause since it started."""
    dialogue = conversation.dialogue
    dialogue.send_info(WIDTH, HEIGHT)
    dialogue.ask(hand_frames[0])

    def send(cause: str, *messages: Image) -> list[str]:
        bad = []
        for message in messages:
            dialogue.send_message(message)
            bad.append(stamp_from_message(message.header.stamp))
        answer = dialogue.ask(hand_frames[1])
        assert (answer.image_width, answer.image_height) == (WIDTH, HEIGHT)
        assert not set(bad) & set(dialogue.stamps())
        conversation.process.wait_for_line(cause)
        return [line for line in conversation.process.lines if cause in line]

    return send


def image(**changes) -> Image:
    """A black 64 x 48 image in rgb8, with some fields made wrong."""
    fields = {"height": 48, "width": 64, "encoding": "rgb8", "step": 192, "data": bytes(48 * 192)}
    return Image(**(fields | changes))


def test_images_without_pixels(told):
    assert len(told("expected an image with pixels", image(width=0), image(height=0, data=b""))) == 1


def test_truncated_images(told):
    assert len(told("and 9000 bytes", *[image(data=bytes(9000)) for _ in range(3)])) == 1


def test_rows_that_are_too_short(told):
    # Of the same cause as the truncated ones, so whichever came first was told of.
    told("bytes a row and", *[image(step=100) for _ in range(3)])


def test_unknown_encodings(told):
    lines = told("expected an image with one of the encodings", image(encoding="nv99"), image(encoding=""))
    assert len(lines) == 1 and "convert it before this node" in lines[0]


def test_sizes_that_no_memory_could_hold(told):
    huge = image(width=2**32 - 1, height=2**32 - 1, step=2**32 - 1)
    told("image dropped", huge, image(width=2**31, step=0), image(height=2**32 - 1))


@pytest.mark.parametrize(
    ("value", "cause"),
    [(math.nan, "finite 3 x 3"), (math.inf, "finite 3 x 3"), (-FOCAL, "positive focal lengths")],
)
def test_intrinsics_that_are_no_cameras(conversation, hand_frames, value, cause):
    dialogue = conversation.dialogue
    k = [value, 0.0, WIDTH / 2, 0.0, value, HEIGHT / 2, 0.0, 0.0, 1.0]
    dialogue.infos.publish(CameraInfo(width=WIDTH, height=HEIGHT, k=k))
    expect_refusal(conversation, hand_frames, cause, f"{value:g}")


def test_a_calibration_of_another_size(conversation, hand_frames):
    conversation.dialogue.send_info(300, 900)
    cause = "publish the camera_info that belongs to the images"
    expect_refusal(conversation, hand_frames, cause, "300 x 900")


def test_distortion_that_is_none(conversation, hand_frames):
    k = [FOCAL, 0.0, WIDTH / 2, 0.0, FOCAL, HEIGHT / 2, 0.0, 0.0, 1.0]
    info = CameraInfo(width=WIDTH, height=HEIGHT, k=k, distortion_model="plumb_bob", d=[math.nan] * 5)
    conversation.dialogue.infos.publish(info)
    expect_refusal(conversation, hand_frames, "distortion", "distortion")


def expect_refusal(conversation: Conversation, frames, cause: str, detail: str) -> None:
    """No hands from the calibration sent before, one line about it, hands again with a good one.

    Args:
        cause: words of the line.
        detail: words that this calibration alone is refused with; only the first of a cause has a line.
    """
    dialogue = conversation.dialogue
    sent = []

    def latest_fault() -> str:
        values = {value.key: value.value for value in conversation.diagnostics[-1].status[0].values}
        return values["latest fault"]

    def is_refused() -> bool:
        # The calibration comes on another topic than the images, so the first may still have the old one.
        sent.append(dialogue.send(frames[0]))
        dialogue.peer.wait_until(lambda: sent[-1] in dialogue.stamps(-20) or detail in latest_fault(), 0.3)
        return cause in latest_fault() and detail in latest_fault()

    assert dialogue.peer.wait_until(lambda: bool(conversation.diagnostics))
    assert dialogue.peer.wait_until(is_refused)
    dialogue.send_info(WIDTH, HEIGHT)
    answer = dialogue.ask(frames[1])
    assert answer.image_width == WIDTH
    assert set(sent) - set(dialogue.stamps())
    assert sum(cause in line for line in conversation.process.lines) == 1


def test_stamps_of_zero_count_as_the_time_of_arrival(conversation, hand_frames):
    dialogue = conversation.dialogue
    dialogue.send_info(WIDTH, HEIGHT)
    message = rgb_to_image(hand_frames[0], dialogue.next_header())
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    before = conversation.peer.node.get_clock().now().nanoseconds
    count = len(dialogue.hands)

    def is_answered() -> bool:
        dialogue.images.publish(message)
        conversation.peer.wait_until(lambda: len(dialogue.hands) > count, 1.0)
        return len(dialogue.hands) > count

    assert conversation.peer.wait_until(is_answered)
    assert before <= dialogue.stamps()[-1] <= conversation.peer.node.get_clock().now().nanoseconds
    assert sum("no stamp" in line for line in conversation.process.lines) == 1
    # The stamps of the other tests lie before it: time goes back, as below.
    dialogue.ask(hand_frames[0])


def test_time_that_goes_back_starts_afresh(conversation, hand_frames):
    dialogue = conversation.dialogue
    dialogue.send_info(WIDTH, HEIGHT)
    dialogue.stamp += 10**10
    start, ids = dialogue.stamp, []
    for _ in range(2):
        # A recording that is played in a loop.
        dialogue.stamp, before = start, len(dialogue.hands)
        for rgb in hand_frames[:6]:
            answer = dialogue.ask(rgb)
        assert len(answer.hands) == 1
        ids.append({hand.track_id for message in dialogue.hands[before:] for hand in message.hands})
    assert len(ids[0]) == len(ids[1]) == 1 and ids[0] != ids[1]
    assert sum("time went back" in line for line in conversation.process.lines) == 1
    dialogue.stamp += 10**10


CAMERA = """
import sys, time
import numpy as np, rclpy
from std_msgs.msg import Header
from sensor_msgs.msg import Image
from h2onet_ros.ros.image import rgb_to_image
rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "image", 5)
rgb = np.zeros((360, 640, 3), np.uint8)
while True:
    header = Header(stamp=node.get_clock().now().to_msg(), frame_id="camera_optical")
    publisher.publish(rgb_to_image(rgb, header))
    rclpy.spin_once(node, timeout_sec=0.05)
"""


def test_a_camera_that_is_killed_and_started_again(conversation, hand_frames):
    dialogue, peer = conversation.dialogue, conversation.peer
    dialogue.send_info(WIDTH, HEIGHT)
    dialogue.stop_camera()
    environment = local_environment(domain_id=conversation.domain)
    try:
        for _ in range(2):
            count = len(dialogue.hands)
            camera = subprocess.Popen([sys.executable, "-c", CAMERA], cwd=CHECKOUT, env=environment)
            try:
                assert peer.wait_until(lambda count=count: len(dialogue.hands) > count + 3)
            finally:
                camera.kill()
                camera.wait()
    finally:
        dialogue.start_camera()
    assert peer.wait_until(lambda: dialogue.images.get_subscription_count() > 0)
    dialogue.send_info(WIDTH, HEIGHT)
    assert dialogue.ask(hand_frames[0]).image_width == WIDTH


def test_a_second_camera_on_the_topic_is_told_of_and_its_images_are_dropped(conversation, hand_frames):
    dialogue, peer = conversation.dialogue, conversation.peer
    dialogue.send_info(WIDTH, HEIGHT)
    dialogue.ask(hand_frames[0])
    publishers = peer.node.count_publishers("/image")
    second = peer.node.create_publisher(Image, "image", 10)
    conversation.process.wait_for_line("several cameras")
    # That was told of before if a camera of another test was killed, which counts for a while.
    said = "publishers on /image, expected one camera"
    assert peer.wait_until(lambda: second.get_subscription_count() > 0)
    count = len(conversation.diagnostics)
    assert peer.wait_until(
        lambda: any(said in one.status[0].message for one in conversation.diagnostics[count:])
    )
    strange = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    dialogue.ask(hand_frames[0])
    # At once after an image of the first camera: after a second of silence another may take over.
    dialogue.send(hand_frames[0])
    header = dialogue.next_header()
    header.frame_id = "another_camera"
    second.publish(rgb_to_image(strange, header))
    for rgb in hand_frames[:3]:
        dialogue.ask(rgb)
    assert {message.header.frame_id for message in dialogue.hands[-3:]} == {FRAME_ID}
    assert stamp_from_message(header.stamp) not in dialogue.stamps()
    peer.node.destroy_publisher(second)
    assert peer.wait_until(lambda: peer.node.count_publishers("/image") <= publishers)


def test_a_subscriber_that_vanishes(conversation, hand_frames):
    dialogue, peer = conversation.dialogue, conversation.peer
    other = Dialogue(peer)
    assert peer.wait_until(lambda: peer.node.count_subscribers("/hand_mesh_node/hands") == 2)
    dialogue.send_info(WIDTH, HEIGHT)
    dialogue.ask(hand_frames[0])
    other.stop_camera()
    peer.node.destroy_subscription(other.subscription)
    dialogue.ask(hand_frames[1])


def test_an_image_in_8k(conversation, hand_frames):
    dialogue, peer = conversation.dialogue, conversation.peer
    assert peer.set(compressed=True)[0].successful
    compressed = peer.node.create_publisher(CompressedImage, "image/compressed", 10)
    try:
        assert peer.wait_until(lambda: compressed.get_subscription_count() > 0)
        large = np.zeros((4320, 7680, 3), np.uint8)
        large[:1440, :2560] = np.repeat(np.repeat(hand_frames[0], 4, 0), 4, 1)
        message = rgb_to_compressed(large, dialogue.next_header(), quality=80)
        dialogue.send_info(7680, 4320)
        count = len(dialogue.hands)

        def is_answered() -> bool:
            message.header = dialogue.next_header()
            compressed.publish(message)
            peer.wait_until(lambda: len(dialogue.hands) > count, 5.0)
            return len(dialogue.hands) > count

        assert peer.wait_until(is_answered)
        assert (dialogue.hands[-1].image_width, dialogue.hands[-1].image_height) == (7680, 4320)

        # While this topic is open: what is no JPEG, or the first half of one.
        broken = [message.data[: len(message.data) // 2], message.data[:100], b"\xff\xd8\xff\xe0", b""]
        bad = []
        for data in broken:
            bad.append(dialogue.next_header())
            compressed.publish(CompressedImage(format="jpeg", data=data, header=bad[-1]))
        conversation.process.wait_for_line("JPEG or PNG")
    finally:
        assert peer.set(compressed=False)[0].successful
        peer.node.destroy_publisher(compressed)
    assert peer.wait_until(lambda: dialogue.images.get_subscription_count() > 0)
    dialogue.send_info(WIDTH, HEIGHT)
    assert dialogue.ask(hand_frames[0]).image_width == WIDTH
    assert not {stamp_from_message(header.stamp) for header in bad} & set(dialogue.stamps())


def test_malformed_messages_in_numbers(conversation, hand_frames):
    """The function behind is fed 10,000 in `test_image_fuzz.py`; here the way through the node."""
    dialogue = conversation.dialogue
    dialogue.send_info(WIDTH, HEIGHT)
    random = np.random.default_rng(1)
    encodings = ["rgb8", "bgr8", "mono8", "yuyv", "bayer_rggb8", "mono16", "", "x" * 300, "16UC1"]
    for _ in range(300):
        width, height, step = (int(random.choice([0, 1, 3, 64, 2**31])) for _ in range(3))
        size = int(random.choice([0, 1, 100]))
        encoding = str(random.choice(encodings))
        dialogue.send_message(
            Image(width=width, height=height, step=step, encoding=encoding, data=random.bytes(size))
        )
    assert dialogue.ask(hand_frames[0]).image_width == WIDTH


def test_faults_are_counted_in_the_diagnostics(conversation, told):
    _, before = conversation.diagnosis()
    count = len(conversation.diagnostics)
    told("expected an image with pixels", *[image(width=0) for _ in range(4)])
    _, after = conversation.diagnosis()
    assert int(after["images dropped"]) - int(before["images dropped"]) == 4
    assert int(after["faults: image"]) - int(before.get("faults: image", 0)) == 4
    assert "expected an image with pixels" in after["latest fault"]
    # "Lately" may be over on a busy machine, but it was said meanwhile.
    since = [message.status[0] for message in conversation.diagnostics[count:]]
    told_of = [status for status in since if "unusable images" in status.message]
    assert told_of and all(status.level > status.OK for status in told_of)
