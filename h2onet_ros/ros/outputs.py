"""What the node publishes of each frame. Nothing is computed that nobody has subscribed to."""

from __future__ import annotations

from typing import TypeGuard

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.types import Frame, FrameResult
from h2onet_ros.ros.image import rgb_to_image
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

LATCHED_QOS = QoSProfile(
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
    history=QoSHistoryPolicy.KEEP_LAST,
    depth=1,
)
OUTPUT_QOS = QoSProfile(
    reliability=QoSReliabilityPolicy.RELIABLE, history=QoSHistoryPolicy.KEEP_LAST, depth=10
)


class HandOutputs:
    """The node's publishers.

    Args:
        node: the node that owns them.
        parameters: which of them to offer.
        topology: faces and parts of the mesh.
    """

    def __init__(self, node: Node, parameters: NodeParameters, topology: Topology) -> None:
        self._node = node
        self._with_vertices = parameters.publish_vertices
        self._topology = topology
        self._marker_maker = HandMarkers(topology)

        def publisher(kind: type, name: str, is_offered: bool = True) -> Publisher | None:
            if not is_offered:
                return None
            return node.create_publisher(
                kind, name, OUTPUT_QOS, qos_overriding_options=QoSOverridingOptions.with_default_policies()
            )

        self._hands = publisher(HandArray, "~/hands")
        self._markers = publisher(MarkerArray, "~/markers", parameters.publish_markers)
        self._points = publisher(PointCloud2, "~/points", parameters.publish_points)
        self._overlay = publisher(Image, "~/overlay", parameters.publish_overlay)
        self._topology_publisher = node.create_publisher(MeshTopology, "~/topology", LATCHED_QOS)

    def announce(self) -> None:
        """Publish the latched topology: the node is ready."""
        now = self._node.get_clock().now().nanoseconds
        self._topology_publisher.publish(topology_to_message(self._topology, now))

    def are_wanted(self) -> bool:
        """Whether anybody has subscribed to anything that comes from images."""
        return any(map(_is_wanted, (self._hands, self._markers, self._points, self._overlay)))

    def publish(self, frame: Frame, result: FrameResult, skipped_images: int) -> None:
        """Publish the hands of one frame, the message that others wait for first."""
        header = Header(stamp=stamp_to_message(result.stamp), frame_id=result.frame_id)
        if _is_wanted(self._hands):
            size = (frame.camera.width, frame.camera.height)
            message = hands_to_message(result, size, skipped_images, self._with_vertices)
            message.latency = (self._node.get_clock().now().nanoseconds - result.stamp) / NANOSECONDS
            self._hands.publish(message)
        if _is_wanted(self._markers):
            markers = self._marker_maker.build(result.hands, result.stamp, result.frame_id)
            if markers is not None:
                self._markers.publish(markers)
        if _is_wanted(self._points):
            self._points.publish(hands_to_points(result.hands, self._topology.vertex_part, header))
        if _is_wanted(self._overlay):
            drawn = draw_overlay(
                frame.rgb, result.hands, frame.camera, self._topology.faces, self._topology.face_part
            )
            self._overlay.publish(rgb_to_image(drawn, header))


def _is_wanted(publisher: Publisher | None) -> TypeGuard[Publisher]:
    return publisher is not None and publisher.get_subscription_count() > 0
