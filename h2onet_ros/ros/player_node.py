"""The node of `camera_player`: waits for a subscriber, then publishes images at their pace."""

from __future__ import annotations

import argparse
import time
from array import array
from collections.abc import Iterator

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from h2onet_ros.bag.calibration import fit_camera
from h2onet_ros.bag.cdr import with_header_stamp
from h2onet_ros.bag.message_types import COMPRESSED_IMAGE
from h2onet_ros.bag.sources import Picture, Source, SourceError
from h2onet_ros.bag.units import SECOND
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.image import compressed_to_rgb, image_to_rgb
from h2onet_ros.ros.image import rgb_to_compressed
from h2onet_ros.ros.messages import stamp_to_message
from h2onet_ros.ros.process import Gate, Reporter, StopRequest

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

# As camera drivers publish: reliable, so that subscribers of either kind can be served.
CAMERA_QOS = QoSProfile(
    reliability=QoSReliabilityPolicy.RELIABLE, history=QoSHistoryPolicy.KEEP_LAST, depth=5
)
CAMERA_INFO_PATIENCE = 1.0
"""Seconds to wait for a subscriber to camera_info when the image has one."""
ACKNOWLEDGEMENT_PATIENCE = 5.0
"""Seconds that reliable subscribers get to confirm the last image."""


def play(
    source: Source,
    camera: Camera | None,
    options: argparse.Namespace,
    ros_args: list[str],
    reporter: Reporter,
    stop: StopRequest,
    gate: Gate | None,
) -> None:
    """Publish the source's images until it ends, `options.seconds` are over or `stop` is set.

    Raises:
        BagError, ImageError: for a source that fails, images of an encoding that nobody here understands, or
            a calibration that does not fit.
    """
    first = next(source.pictures(), None)
    if first is None:
        raise SourceError(f"Expected images, none came from the {source.description}.")
    (height, width), frame_id = _look_at(first, options.frame_id)
    fitted = fit_camera(camera, width, height) if camera else None
    is_compressed = source.is_compressed or (options.compressed and first.image is None)
    rclpy.init(args=ros_args, signal_handler_options=SignalHandlerOptions.NO)
    node = PlayerNode(is_compressed, _camera_info(width, height, fitted, frame_id), fitted is not None)
    try:
        reporter.tell("waiting", f"waiting for a subscriber to {node.topic}")
        if not node.wait_for_subscribers(stop):
            return
        count, late, stamp = _play_at_pace(node, source, options, reporter, stop)
        node.wait_until_received()
        reporter.tell("end", f"published {count} images", frames=count, late=late, last_stamp=stamp)
        if gate is not None:
            gate.wait_to_go()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


class PlayerNode(Node):
    """Publishes `image` (or `image/compressed`) and `camera_info`.

    Args:
        is_compressed: which of the two.
        info: the camera info, sent along where the picture brings none.
        overrules: sent along also where the picture brings one.
    """

    def __init__(self, is_compressed: bool, info: CameraInfo, overrules: bool) -> None:
        super().__init__("camera_player")
        self._is_compressed = is_compressed
        self._info = info
        self._overrules = overrules
        kind, name = (CompressedImage, "image/compressed") if is_compressed else (Image, "image")
        self._images = self._publisher(kind, name)
        self._infos = self._publisher(CameraInfo, "camera_info")
        self._message = Image(encoding="bgr8", data=array("B"))

    @property
    def topic(self) -> str:
        return self._images.topic_name

    def wait_for_subscribers(self, stop: StopRequest) -> bool:
        """Wait for a subscriber to the images, and shortly for one to camera_info; False if stopped."""
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        try:
            while not self._images.get_subscription_count():
                if stop.is_set():
                    return False
                executor.spin_once(timeout_sec=0.05)
            until = time.monotonic() + CAMERA_INFO_PATIENCE
            while not self._infos.get_subscription_count() and time.monotonic() < until:
                executor.spin_once(timeout_sec=0.05)
        finally:
            executor.remove_node(self)
        return not stop.is_set()

    def publish(self, picture: Picture) -> int:
        """Publish one image with its camera info, stamped with the present; the stamp in nanoseconds."""
        stamp = self.get_clock().now().nanoseconds
        self._info.header.stamp = stamp_to_message(stamp)
        if picture.camera_info is not None and not self._overrules:
            self._infos.publish(with_header_stamp(picture.camera_info.data, stamp))
        else:
            self._infos.publish(self._info)
        if picture.image is not None:
            self._images.publish(with_header_stamp(picture.image.data, stamp))
        elif self._is_compressed:
            rgb = np.asarray(cv2.cvtColor(picture.bgr, cv2.COLOR_BGR2RGB), np.uint8)
            self._images.publish(rgb_to_compressed(rgb, self._info.header))
        else:
            self._images.publish(self._fill(picture.bgr))
        return stamp

    def wait_until_received(self) -> None:
        """Wait until reliable subscribers have the last image."""
        self._images.wait_for_all_acked(Duration(seconds=ACKNOWLEDGEMENT_PATIENCE))

    def _fill(self, bgr: NDArray[np.uint8]) -> Image:
        message = self._message
        message.header = self._info.header
        message.height, message.width = bgr.shape[:2]
        message.step = 3 * message.width
        # In place: a new array costs an allocation of megabytes, any other way an object for every byte.
        del message.data[:]
        message.data.frombytes(np.ascontiguousarray(bgr).data)
        return message

    def _publisher(self, kind: type, name: str) -> Publisher:
        # Where rclpy can tell of subscribers (from Iron on), the event ends the wait for them at once.
        try:
            events = PublisherEventCallbacks(matched=lambda _: None)
        except TypeError:
            events = PublisherEventCallbacks()
        return self.create_publisher(kind, name, CAMERA_QOS, event_callbacks=events)


def _play_at_pace(
    node: PlayerNode, source: Source, options: argparse.Namespace, reporter: Reporter, stop: StopRequest
) -> tuple[int, int, int]:
    """How many images were published, how many of them late by more than a frame, and the last stamp."""
    count = late = stamp = 0
    start = time.monotonic()
    for elapsed, picture in _repeated(source, options.loop):
        if options.seconds and elapsed >= options.seconds * SECOND:
            break
        due = start + elapsed / SECOND / options.rate
        if not source.is_live:
            if stop.wait(due - time.monotonic()):
                break
            behind = time.monotonic() - due
            if behind > 1 / (source.frame_rate * options.rate):
                # Not hurrying after it: the images would come faster than from a real camera.
                late += 1
                start += behind
        if stop.is_set():
            break
        stamp = node.publish(picture)
        count += 1
        reporter.tell("frame", frames=count)
    return count, late, stamp


def _repeated(source: Source, is_endless: bool) -> Iterator[tuple[int, Picture]]:
    """Time since the start in nanoseconds and image; from the first image again after the last if endless."""
    offset = last = 0
    while True:
        for picture in source.pictures():
            last = offset + picture.time
            yield last, picture
        if not is_endless or last == offset:
            return
        offset = last + round(SECOND / source.frame_rate)


def _look_at(picture: Picture, frame_id: str) -> tuple[tuple[int, int], str]:
    """Height and width of an image and the frame it is in; `ImageError` where it cannot be read."""
    if picture.image is None:
        assert picture.bgr is not None
        return picture.bgr.shape[:2], frame_id
    if picture.image.message_type == COMPRESSED_IMAGE:
        message = deserialize_message(picture.image.data, CompressedImage)
        rgb = compressed_to_rgb(message)
    else:
        message = deserialize_message(picture.image.data, Image)
        rgb = image_to_rgb(message)
    return rgb.shape[:2], message.header.frame_id


def _camera_info(width: int, height: int, camera: Camera | None, frame_id: str) -> CameraInfo:
    """The message of a calibrated camera, or of an uncalibrated one: a matrix of zeros (sensor_msgs)."""
    info = CameraInfo(width=width, height=height)
    info.header.frame_id = frame_id
    if camera is not None:
        info.k = camera.k.ravel()
        info.r = np.eye(3).ravel()
        info.p = np.column_stack([camera.k, np.zeros(3)]).ravel()
        info.d = [] if camera.distortion is None else camera.distortion.tolist()
        info.distortion_model = "plumb_bob" if camera.distortion_model == "none" else camera.distortion_model
    return info
