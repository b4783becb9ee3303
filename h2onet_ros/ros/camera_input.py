"""The node's subscriptions: images, calibration, depth, regions. Open only while somebody wants hands."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy, qos_policy_name_from_kind
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from h2onet_msgs.msg import HandRegionArray
from h2onet_ros.perception.depth import depth_from_message
from h2onet_ros.perception.image import ImageError
from h2onet_ros.perception.types import FloatArray, GivenRegion
from h2onet_ros.ros.cameras import CameraSource
from h2onet_ros.ros.faults import FaultLog
from h2onet_ros.ros.image_queue import ImageQueue
from h2onet_ros.ros.messages import stamp_from_message
from h2onet_ros.ros.parameters import NodeParameters
from h2onet_ros.ros.regions import RegionError, regions_from_detections, regions_from_message
from h2onet_ros.ros.stamped_buffer import StampedBuffer
from h2onet_ros.ros.statistics import NodeStatistics

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

T = TypeVar("T")

RELIABLE, BEST_EFFORT = QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT


class CameraInput:
    """What the node hears.

    Args:
        node: subscribes.
        parameters: of the node.
        images: filled with the images and the stamps they count for.
        cameras: told of calibrations.
        faults, statistics: told of what comes.

    Attributes:
        depth, regions: by stamp.
        publishers: of the image topic, when last looked at.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: NodeParameters,
        images: ImageQueue[tuple[Image | CompressedImage, int, int]],
        cameras: CameraSource,
        faults: FaultLog,
        statistics: NodeStatistics,
    ) -> None:
        self._node = node
        self._parameters = parameters
        self._images, self._cameras = images, cameras
        self._faults, self._statistics = faults, statistics
        self.depth: StampedBuffer[FloatArray] = StampedBuffer()
        self.regions: StampedBuffer[list[GivenRegion]] = StampedBuffer()
        self.publishers = 0
        self._incompatible: dict[str, str] = {}
        self._subscriptions: dict[str, tuple[Any, QoSReliabilityPolicy]] = {}

    @property
    def is_open(self) -> bool:
        return bool(self._subscriptions)

    @property
    def image_topic(self) -> str:
        """With the transport's ending, which hangs below the image also when that is remapped."""
        image = self._node.resolve_topic_name("image")
        return f"{image}/compressed" if self._parameters.compressed else image

    def conditions(self) -> tuple[str, ...]:
        """Sentences on what is wrong with the connection, for as long as it is."""
        found = list(self._incompatible.values())
        if self.publishers > 1:
            found.append(f"{self.publishers} publishers on {self.image_topic}, expected one camera")
        return tuple(found)

    def change(self, parameters: NodeParameters) -> None:
        """Take over other parameters; an open input is opened anew where they concern it."""
        names = ("compressed", "depth", "regions", "input_reliability", "input_depth")
        concerned = any(getattr(parameters, name) != getattr(self._parameters, name) for name in names)
        if concerned and self.is_open:
            self.close()
            self._parameters = parameters
            self.open()
        self._parameters = parameters

    def open(self) -> None:
        """Subscribe."""
        parameters = self._parameters
        self._statistics.restart()
        self.depth.open()
        self.regions.open()
        kind = CompressedImage if parameters.compressed else Image
        self._subscribe(kind, self.image_topic, self._on_image)
        self._subscribe(CameraInfo, "camera_info", self._cameras.update)
        if parameters.depth:
            self._subscribe(Image, "depth", self._on_depth)
        if parameters.regions == "topic":
            self._subscribe(HandRegionArray, "regions", self._on_regions)
        elif parameters.regions == "detections":
            detections = importlib.import_module("vision_msgs.msg").Detection2DArray
            self._subscribe(detections, "detections", self._on_detections)
        info = self._node.resolve_topic_name("camera_info")
        self._node.get_logger().info(f"waiting for images on {self.image_topic} and calibration on {info}")

    def close(self) -> None:
        """Give the camera free."""
        for subscription, _ in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self._incompatible.clear()
        self.publishers = 0
        self.depth.close()
        self.regions.close()

    def look_at_publishers(self) -> None:
        """Follow the publishers' QoS where they have come or changed; to be called now and then."""
        for topic, (subscription, reliability) in list(self._subscriptions.items()):
            publishers = self._node.get_publishers_info_by_topic(topic)
            if topic == self.image_topic:
                self._count(len(publishers))
            wanted = self._reliability(publishers)
            if publishers and wanted != reliability:
                self._incompatible.pop(topic, None)
                kind, callback = subscription.msg_type, subscription.callback
                self._node.destroy_subscription(subscription)
                self._subscribe(kind, topic, callback, wanted)
            elif not publishers:
                self._incompatible.pop(topic, None)

    def _count(self, publishers: int) -> None:
        if publishers > 1 and self.publishers <= 1:
            self._faults.report(
                "several cameras",
                f"expected one publisher on {self.image_topic}, found {publishers}; images of another frame "
                "or size than the first camera's are dropped. Give each camera its own topic and node (a "
                "camera that was killed counts for some seconds, too)",
                drops_image=False,
            )
        self.publishers = publishers

    def _reliability(self, publishers: list[Any]) -> QoSReliabilityPolicy:
        """What to ask for: reliable only where everybody offers it, since else nothing would come."""
        asked = self._parameters.input_reliability
        if asked != "auto":
            return RELIABLE if asked == "reliable" else BEST_EFFORT
        offers = [info.qos_profile.reliability for info in publishers]
        return RELIABLE if offers and all(offer == RELIABLE for offer in offers) else BEST_EFFORT

    def _subscribe(
        self,
        kind: type,
        name: str,
        callback: Callable[[Any], None],
        reliability: QoSReliabilityPolicy | None = None,
    ) -> None:
        topic = self._node.resolve_topic_name(name)
        if reliability is None:
            reliability = self._reliability(self._node.get_publishers_info_by_topic(topic))
        qos = QoSProfile(
            reliability=reliability,
            history=QoSHistoryPolicy.KEEP_LAST,
            depth=self._parameters.input_depth,
        )
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._on_incompatible(topic, event.last_policy_kind)
        )
        subscription = self._node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
        self._subscriptions[topic] = (subscription, reliability)

    def _on_incompatible(self, topic: str, policy: Any) -> None:
        if self._parameters.input_reliability == "auto":
            # A camera that came again with another offer; `look_at_publishers` follows it.
            return
        name = qos_policy_name_from_kind(policy)
        text = (
            f"a publisher on {topic} offers another {name} than this node asks for, so nothing comes from "
            "it. Leave input_reliability at auto, or set it to what the publisher offers"
        )
        self._incompatible[topic] = text
        self._faults.report("incompatible QoS", text, drops_image=False)

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._statistics.arrived()
        arrival = self._node.get_clock().now().nanoseconds
        self._images.put((message, self._stamp(message, arrival), arrival))

    def _on_depth(self, message: Image) -> None:
        self._keep(message, depth_from_message, self.depth, "depth")

    def _on_regions(self, message: HandRegionArray) -> None:
        self._keep(message, regions_from_message, self.regions, "regions")

    def _on_detections(self, message: Any) -> None:
        self._keep(message, regions_from_detections, self.regions, "regions")

    def _keep(self, message: Any, read: Callable[[Any], T], buffer: StampedBuffer[T], kind: str) -> None:
        try:
            item = read(message)
        except (ImageError, RegionError) as error:
            self._faults.report(kind, str(error), drops_image=False)
            return
        buffer.put(self._stamp(message), item)

    def _stamp(self, message: Any, arrival: int | None = None) -> int:
        """The header's stamp in nanoseconds, or the time of arrival where it has none."""
        stamp = stamp_from_message(message.header.stamp)
        if stamp:
            return stamp
        self._faults.report(
            "no stamp",
            "expected a stamp in the header, got zero; the time of arrival is used",
            drops_image=False,
        )
        return self._node.get_clock().now().nanoseconds if arrival is None else arrival
