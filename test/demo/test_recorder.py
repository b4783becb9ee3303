"""The recorder as a process, fed by a publisher of the test over DDS."""

import signal
from array import array

import cv2
import numpy as np
import pytest
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from h2onet_msgs.msg import Hand, HandArray, MeshTopology
from h2onet_ros.ros.messages import stamp_to_message

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
IMAGES = 30


class HandNode:
    """Publishes on the topics of a hand node, from the test's own node."""

    def __init__(self, node, name="/hand_mesh_node"):
        self.node = node
        self.hands = node.create_publisher(HandArray, f"{name}/hands", 10)
        self.overlay = node.create_publisher(Image, f"{name}/overlay", 10)
        self.markers = node.create_publisher(MarkerArray, f"{name}/markers", 10)
        self.topology = node.create_publisher(MeshTopology, f"{name}/topology", LATCHED)
        self.topology.publish(MeshTopology(weights="test weights"))
        self.sent = []

    def publish(self, index):
        """The answer to image `index` of 30 a second: hand 7 in the first two thirds."""
        stamp = 1_700_000_000_000_000_000 + round(index / 30 * 1e9)
        header = Header(stamp=stamp_to_message(stamp), frame_id="camera")
        hands = [Hand(track_id=7, vertices=array("f", [0.1 * index] * 2334))] if index < 20 else []
        message = HandArray(
            header=header, hands=hands, latency=0.001 * (index + 1), skipped_images=index == 5
        )
        # First: the recorder does not tell of markers, but takes what came before that which it tells of.
        self.markers.publish(MarkerArray())
        self.hands.publish(message)
        # As it arrives: numbers of 32 bits.
        self.sent.append(deserialize_message(serialize_message(message), HandArray))
        image = Image(header=header, width=64, height=48, step=192, encoding="rgb8")
        image.data = array("B", np.full((48, 64, 3), 8 * index, np.uint8).tobytes())
        self.overlay.publish(image)


def record(start, ros, out, arguments=()):
    """A recorder that has received everything of 30 images."""
    recorder = start("recorder", ["--out", out, "--events", *arguments])
    node = HandNode(ros)
    assert recorder.event("ready")["weights"] == "test weights"
    for index in range(IMAGES):
        node.publish(index)
        # One by one: what is tested is what the recorder does, not how much fits into the queues.
        recorder.event("hands")
        if "--no-video" not in arguments:
            recorder.event("overlay")
    return recorder, node


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_the_node_publishes_is_on_the_disk_after_a_signal(start, ros, tmp_path, number):
    recorder, node = record(start, ros, tmp_path / "new" / "out", ["--markers"])
    recorder.popen.send_signal(number)
    end = recorder.event("end")
    assert recorder.finish() == (0, "")
    with Reader(tmp_path / "new" / "out" / "hands.mcap") as reader:
        counts = {name: topic.msgcount for name, topic in reader.topics.items()}
        hands = [
            deserialize_message(bytes(data), HandArray)
            for found, _, data in reader.messages()
            if found.topic == "/hand_mesh_node/hands"
        ]
    assert hands == node.sent
    assert counts["/hand_mesh_node/topology"] == 1 and counts["/hand_mesh_node/markers"] == IMAGES
    capture = cv2.VideoCapture(str(tmp_path / "new" / "out" / "overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == IMAGES
    summary = end["summary"]
    assert (summary["answers"], summary["hands"], summary["skipped"]) == (IMAGES, 20, 1)
    assert summary["tracks"] == [{"track_id": 7, "images": 20}]
    assert summary["latency_median"] == pytest.approx(0.0155)
    assert summary["answers_per_second"] == pytest.approx(30.0)
    assert (end["video_images"], end["video_dropped"]) == (IMAGES, 0)


def test_a_killed_recorder_leaves_readable_hands(start, ros, tmp_path):
    recorder, _ = record(start, ros, tmp_path, ["--no-video"])
    assert not (tmp_path / "overlay.mp4").exists()
    recorder.popen.kill()
    recorder.finish()
    with Reader(tmp_path / "hands.mcap"):  # rosbags opens complete files only.
        pass


def test_a_recorder_that_never_saw_the_node_ends_cleanly(start, tmp_path):
    recorder = start("recorder", ["--out", tmp_path])
    recorder.line("waiting for /hand_mesh_node")
    recorder.popen.send_signal(signal.SIGINT)
    assert recorder.finish() == (0, "")
    assert b"recorded 0 answers with 0 hands" in recorder.output
    with Reader(tmp_path / "hands.mcap") as reader:
        assert reader.message_count == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--out", "FILE"], "Expected a folder to write to, cannot make"),
        (["--fps", "0"], "argument --fps: expected 1 to 1000, got 0"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_bad_arguments_are_refused_with_one_message(start, tmp_path, arguments, complaint):
    (tmp_path / "file").touch()
    recorder = start("recorder", [tmp_path / "file" if part == "FILE" else part for part in arguments])
    code, errors = recorder.finish()
    assert code == 2 and complaint in errors and "Traceback" not in errors
