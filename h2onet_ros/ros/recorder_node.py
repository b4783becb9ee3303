"""The node of `hand_recorder`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.message_types import HAND_ARRAY, MARKER_ARRAY, MESH_TOPOLOGY
from h2onet_ros.bag.statistics import StreamStatistics
from h2onet_ros.bag.video import VideoWriter
from h2onet_ros.bag.writer import BagWriter
from h2onet_ros.perception.image import image_to_rgb
from h2onet_ros.ros.messages import stamp_from_message
from h2onet_ros.ros.process import Reporter, StopRequest
from h2onet_ros.ros.qos import LATCHED_QOS

# A second and more of hands may wait here while a chunk goes to a slow disk.
HANDS_QOS = QoSProfile(
    reliability=QoSReliabilityPolicy.RELIABLE, history=QoSHistoryPolicy.KEEP_LAST, depth=100
)
# A lost image of the video is a blemish; making the node wait for the video would spoil what is measured.
OVERLAY_QOS = QoSProfile(
    reliability=QoSReliabilityPolicy.BEST_EFFORT, history=QoSHistoryPolicy.KEEP_LAST, depth=10
)

_IDLE_ROUNDS = 3
_REST_PATIENCE_S = 1.0
"""A node that works on sends more all the time."""


def record(options: argparse.Namespace, ros_args: list[str], reporter: Reporter, stop: StopRequest) -> None:
    """Record until `stop` is set. Raises `BagError` where the files cannot be written (any longer)."""
    with ExitStack() as stack:
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BagError(
                f"Expected a folder to write to, cannot make {options.out}: {error.strerror}. Name another."
            ) from error
        bag = stack.enter_context(BagWriter(options.out / "hands.mcap"))
        video = None
        if not options.no_video:
            video = stack.enter_context(VideoWriter(options.out / "overlay.mp4", options.fps))
        rclpy.init(args=ros_args, signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        node = RecorderNode(options.node, bag, video, options.markers, reporter)
        stack.callback(node.destroy_node)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        reporter.tell("waiting", f"waiting for {options.node}")
        failure: BagError | None = None
        try:
            while not stop.is_set():
                executor.spin_once(timeout_sec=0.1)
                node.tell_when_ready()
            _take_rest(node, executor)
        except BagError as error:
            failure = error
        executor.remove_node(node)
        for part in filter(None, (bag, video)):
            try:
                part.close()
            except BagError as error:
                failure = failure or error
        _tell_end(node, bag, video, reporter)
        if failure:
            raise failure


class RecorderNode(Node):
    """Writes the messages of a hand node to a recording and its overlay to a video.

    Attributes:
        statistics: of the hands so far.
        taken: messages of all topics so far.
    """

    def __init__(
        self, name: str, bag: BagWriter, video: VideoWriter | None, with_markers: bool, reporter: Reporter
    ) -> None:
        super().__init__("hand_recorder")
        self.statistics = StreamStatistics()
        self.taken = 0
        self._bag = bag
        self._video = video
        self._reporter = reporter
        self._weights: str | None = None
        self._is_ready = False
        bag.add_topic(f"{name}/topology", MESH_TOPOLOGY, latched=True)
        bag.add_topic(f"{name}/hands", HAND_ARRAY)
        self._record(HandArray, f"{name}/hands", HANDS_QOS, self._on_hands)
        if with_markers:
            bag.add_topic(f"{name}/markers", MARKER_ARRAY)
            self._record(MarkerArray, f"{name}/markers", HANDS_QOS)
        if video:
            self.create_subscription(Image, f"{name}/overlay", self._on_overlay, OVERLAY_QOS)
        # Last: the node learns of subscriptions in this order, so once its latched topology has come,
        # it has learnt of all of them.
        self._record(MeshTopology, f"{name}/topology", LATCHED_QOS, self._on_topology)

    def tell_when_ready(self) -> None:
        """Tell, once, that the node and this recorder know of each other: nothing is missed from now on."""
        if self._is_ready or self._weights is None:
            return
        if all(self.count_publishers(subscription.topic_name) for subscription in self.subscriptions):
            self._is_ready = True
            sentence = f"recording; the node's weights are {self._weights}"
            self._reporter.tell("ready", sentence, weights=self._weights)

    def _record(
        self, kind: type, topic: str, qos: QoSProfile, also: Callable[[bytes, int], None] | None = None
    ) -> None:
        def on_message(data: bytes) -> None:
            self.taken += 1
            now = self.get_clock().now().nanoseconds
            self._bag.write(topic, now, data)
            if also:
                also(data, now)

        self.create_subscription(kind, topic, on_message, qos, raw=True)

    def _on_topology(self, data: bytes, now: int) -> None:
        self._weights = deserialize_message(data, MeshTopology).weights

    def _on_hands(self, data: bytes, now: int) -> None:
        message = deserialize_message(data, HandArray)
        stamp = stamp_from_message(message.header.stamp)
        self.statistics.add(
            stamp,
            now,
            message.latency,
            message.processing_time,
            message.skipped_images,
            [hand.track_id for hand in message.hands],
        )
        self._reporter.tell("hands", stamp=stamp, hands=len(message.hands), latency=message.latency)

    def _on_overlay(self, message: Image) -> None:
        assert self._video is not None
        self.taken += 1
        rgb = image_to_rgb(message)
        bgr = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8)
        stamp = stamp_from_message(message.header.stamp)
        self._video.write(bgr, stamp)
        self._reporter.tell("overlay", stamp=stamp)


def _take_rest(node: RecorderNode, executor: SingleThreadedExecutor) -> None:
    """Record what had arrived when the signal came."""
    idle, until = 0, time.monotonic() + _REST_PATIENCE_S
    # A round may also serve something else than a subscription, which does not mean that there are no more.
    while idle < _IDLE_ROUNDS and time.monotonic() < until:
        taken = node.taken
        executor.spin_once(timeout_sec=0.0)
        idle = 0 if node.taken > taken else idle + 1


def _tell_end(node: RecorderNode, bag: BagWriter, video: VideoWriter | None, reporter: Reporter) -> None:
    summary = node.statistics.summary()
    sentence = f"recorded {summary.answers} answers with {summary.hands} hands in {bag.path}"
    if video and video.images:
        sentence += f", {video.images} images in {video.path}"
    reporter.tell(
        "end",
        sentence,
        summary=summary.as_dict(),
        video_images=video.images if video else 0,
        video_dropped=video.dropped if video else 0,
    )
