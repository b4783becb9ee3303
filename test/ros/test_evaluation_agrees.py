"""A recording made over DDS while the node worked gives the node's own hands when it is evaluated."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from sensor_msgs.msg import CameraInfo, CompressedImage
from talk import CHECKOUT, Dialogue

from h2onet_msgs.msg import HandArray
from h2onet_ros.bag.evaluation.run import evaluate
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.message_types import create_typestore

HANDS = "/hand_mesh_node/hands"
FIRST, COUNT = 58, 14
DEMO = CHECKOUT / "h2onet_ros" / "assets" / "demo" / "demo.mp4"


def two_hands() -> list[np.ndarray]:
    """Images of the demo recording with two hands in them, RGB."""
    capture = cv2.VideoCapture(str(DEMO))
    images = [capture.read()[1] for _ in range(FIRST + COUNT)][FIRST:]
    return [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images]


class Recording:
    """What goes over DDS, byte by byte, as a recorder would store it."""

    def __init__(self, peer) -> None:
        self.messages: list[tuple[str, str, int, bytes]] = []
        self._subscribe(peer, CompressedImage, "sensor_msgs/msg/CompressedImage", "/image/compressed")
        self._subscribe(peer, CameraInfo, "sensor_msgs/msg/CameraInfo", "/camera_info")
        self._subscribe(peer, HandArray, "h2onet_msgs/msg/HandArray", HANDS)

    def _subscribe(self, peer, kind: type, name: str, topic: str) -> None:
        def record(data: bytes) -> None:
            now = peer.node.get_clock().now().nanoseconds
            self.messages.append((topic, name, now, bytes(data)))

        peer.node.create_subscription(kind, topic, record, QoSProfile(depth=50), raw=True)

    def of(self, topic: str) -> list[bytes]:
        return [data for name, _, _, data in self.messages if name == topic]

    def write(self, folder: Path) -> Path:
        store, connections = create_typestore(), {}
        with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for topic, name, time, data in self.messages:
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, name, typestore=store)
                writer.write(connections[topic], time, data)
        return folder


def test_a_recording_from_dds_gives_the_hands_that_the_node_gave(start_node, peer, tmp_path):
    start_node("-p", "compressed:=true", "-p", "engine:=onnxruntime", "-p", "max_wait_s:=1.0",
               "-p", "camera_info_wait_s:=60.0")  # fmt: skip
    dialogue = Dialogue(peer, compressed=True, image="image/compressed")
    recording = Recording(peer)
    dialogue.wait_until_connected()
    # The recording and the node: both take the camera's images.
    dialogue.wait_until_settled(subscribers=2)
    images = two_hands()
    height, width = images[0].shape[:2]
    dialogue.send_info(width, height)
    assert peer.wait_until(lambda: len(recording.of("/camera_info")) == 1)
    for number, image in enumerate(images, 1):
        dialogue.send(image)
        # One after the other, so that the node skips none, as little as the evaluation does.
        assert peer.wait_until(lambda number=number: len(recording.of(HANDS)) == number), (
            f"no answer to {number}"
        )
    assert peer.wait_until(lambda: len(recording.of("/image/compressed")) == COUNT)
    bag = recording.write(tmp_path / "from_dds")

    # The node's own answers are the truth here: then there must be no error at all.
    settings = EvaluationSettings(engine="onnxruntime", truth=HANDS, report=False)
    result = evaluate(bag, tmp_path / "out", settings)
    assert result.problems == [] and result.metrics["images"] == COUNT
    accuracy = result.metrics["accuracy"]
    found = accuracy["detection"]
    assert accuracy["hands"] == found["found"] > COUNT
    assert (found["false"], found["id_switches"], found["handedness_accuracy"]) == (0, 0, 1.0)
    for name in ("absolute_mpjpe", "mpvpe", "wrist_error", "error_2d"):
        assert accuracy["errors"]["all"][name] == 0, name

    live = [deserialize_message(data, HandArray) for data in recording.of(HANDS)]
    with Reader(tmp_path / "out" / "hands.mcap") as reader:
        offline = [
            deserialize_message(bytes(data), HandArray)
            for connection, _, data in reader.messages()
            if connection.topic == HANDS
        ]
    for mine, nodes in zip(offline, live, strict=True):
        assert mine.header == nodes.header
        assert (mine.image_width, mine.image_height) == (nodes.image_width, nodes.image_height)
        assert mine.hands == nodes.hands
