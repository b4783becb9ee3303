"""What the node publishes of each frame. Nothing is computed that nobody has subscribed to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.types import Frame, FrameResult
from h2onet_ros.ros.image import rgb_to_compressed, rgb_to_image
from h2onet_ros.ros.markers import HandMarkers
from h2onet_ros.ros.messages import (
    NANOSECONDS,
    Topology,
    hands_to_message,
    stamp_to_message,
    topology_to_message,
)
from h2onet_ros.ros.parameters import NodeParameters
from h2onet_ros.ros.points import hands_to_points
from h2onet_ros.ros.qos import LATCHED_QOS
from h2onet_ros.ros.transforms import TF_QOS, TF_TOPIC, hands_to_transforms, tf_message_type

OUTPUT_QOS = QoSProfile(
    reliability=QoSReliabilityPolicy.RELIABLE, history=QoSHistoryPolicy.KEEP_LAST, depth=10
)

_HANDS, _MARKERS, _POINTS = "~/hands", "~/markers", "~/points"
_OVERLAY, _COMPRESSED = "~/overlay", "~/overlay/compressed"


class HandOutputs:
    """The node's publishers. They publish only while the node is active.

    Args:
        node: the node that owns them.
        parameters: which of them to offer.
        topology: faces and parts of the mesh.
    """

    def __init__(self, node: LifecycleNode, parameters: NodeParameters, topology: Topology) -> None:
        self._node = node
        self._topology = topology
        self._tf_message = tf_message_type()
        # Replaced, never changed: the thread that publishes may be using the old one.
        self._publishers: dict[str, LifecyclePublisher] = {}
        self._marker_maker = HandMarkers(topology)
        self._topology_publisher = node.create_lifecycle_publisher(MeshTopology, "~/topology", LATCHED_QOS)
        self.change(parameters)

    @property
    def has_tf(self) -> bool:
        """Whether frames can be published on this machine."""
        return self._tf_message is not None

    def change(self, parameters: NodeParameters) -> None:
        """Offer what other parameters ask for."""
        self._parameters = parameters
        offered: dict[str, type] = {_HANDS: HandArray}
        if parameters.publish_markers:
            offered[_MARKERS] = MarkerArray
        if parameters.publish_points:
            offered[_POINTS] = PointCloud2
        if parameters.publish_overlay:
            offered |= {_OVERLAY: Image, _COMPRESSED: CompressedImage}
        if parameters.publish_tf != "none" and self._tf_message is not None:
            offered[TF_TOPIC] = self._tf_message
        old = self._publishers
        self._publishers = {name: old.get(name) or self._create(kind, name) for name, kind in offered.items()}
        for name in old.keys() - offered.keys():
            self._node.destroy_lifecycle_publisher(old[name])

    def close(self) -> None:
        """Take all publishers away."""
        publishers, self._publishers = self._publishers, {}
        for publisher in (*publishers.values(), self._topology_publisher):
            self._node.destroy_lifecycle_publisher(publisher)

    def announce(self) -> None:
        """Publish the latched topology: the node is ready."""
        now = self._node.get_clock().now().nanoseconds
        self._topology_publisher.publish(topology_to_message(self._topology, now))

    def are_wanted(self) -> bool:
        """Whether anybody has subscribed to anything that comes from images."""
        return any(map(_is_wanted, self._publishers.values()))

    def publish(self, frame: Frame, result: FrameResult, skipped_images: int) -> float:
        """Publish the hands of one frame, the message that others wait for first.

        Returns:
            Seconds from the frame's stamp to the first publication.
        """
        header = Header(stamp=stamp_to_message(result.stamp), frame_id=result.frame_id)
        parameters = self._parameters
        latency = self._since(result.stamp)

        def hands() -> HandArray:
            nonlocal latency
            size = (frame.camera.width, frame.camera.height)
            message = hands_to_message(result, size, skipped_images, parameters.publish_vertices)
            message.latency = latency = self._since(result.stamp)
            return message

        def transforms() -> Any:
            assert self._tf_message is not None
            with_joints = parameters.publish_tf == "joints"
            return self._tf_message(
                transforms=hands_to_transforms(result.hands, header, parameters.tf_prefix, with_joints)
            )

        self._send(_HANDS, hands)
        if result.hands:
            self._send(TF_TOPIC, transforms)
        self._send(_MARKERS, lambda: self._marker_maker.build(result.hands, result.stamp, result.frame_id))
        self._send(_POINTS, lambda: hands_to_points(result.hands, self._topology.vertex_part, header))
        if _is_wanted(self._publishers.get(_OVERLAY)) or _is_wanted(self._publishers.get(_COMPRESSED)):
            drawn = self.draw(frame, result)
            self._send(_OVERLAY, lambda: rgb_to_image(drawn, header))
            self._send(_COMPRESSED, lambda: rgb_to_compressed(drawn, header, parameters.jpeg_quality))
        return latency

    def draw(self, frame: Frame, result: FrameResult) -> Any:
        """The frame's image `(H, W, 3)` with its hands drawn into it."""
        return draw_overlay(
            frame.rgb, result.hands, frame.camera, self._topology.faces, self._topology.face_part
        )

    def _create(self, kind: type, name: str) -> LifecyclePublisher:
        is_tf = name == TF_TOPIC
        publisher = self._node.create_lifecycle_publisher(
            kind,
            name,
            TF_QOS if is_tf else OUTPUT_QOS,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        if self._topology_publisher.is_activated:
            publisher.on_activate(None)
        return publisher

    def _send(self, name: str, make: Callable[[], Any]) -> None:
        publisher = self._publishers.get(name)
        # Another thread may take the publisher away meanwhile, where a parameter says so.
        with suppress(InvalidHandle):
            if _is_wanted(publisher):
                message = make()
                if message is not None:
                    publisher.publish(message)

    def _since(self, stamp: int) -> float:
        return float((self._node.get_clock().now().nanoseconds - stamp) / NANOSECONDS)


def _is_wanted(publisher: LifecyclePublisher | None) -> bool:
    if publisher is None:
        return False
    try:
        return bool(publisher.get_subscription_count())
    except InvalidHandle:
        return False
