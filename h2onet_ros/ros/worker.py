"""The thread that turns images into published hands: the executor's never waits for a network."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable

import rclpy
from rclpy.clock import Clock
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CompressedImage, Image

from h2onet_ros.perception.camera import Camera, CameraError
from h2onet_ros.perception.image import ImageError, RgbImage, compressed_to_rgb, image_to_rgb
from h2onet_ros.perception.pipeline import HandPipeline
from h2onet_ros.perception.types import FloatArray, Frame, FrameResult
from h2onet_ros.ros.camera_input import CameraInput
from h2onet_ros.ros.cameras import CameraSource
from h2onet_ros.ros.faults import FaultLog
from h2onet_ros.ros.image_queue import ImageQueue
from h2onet_ros.ros.messages import NANOSECONDS
from h2onet_ros.ros.outputs import HandOutputs
from h2onet_ros.ros.parameters import NodeParameters
from h2onet_ros.ros.statistics import NodeStatistics

Listener = Callable[[Frame, FrameResult], None]

_CAMERA_MEMORY_S = 1.0
"""Seconds of silence after which another camera on the same topic may take over."""
_STOP_PATIENCE_S = 5.0


class HandWorker:
    """Takes images from the queue until it is stopped.

    Args:
        pipeline: from images to hands.
        parameters: of the node; replaced by `change`.
        images: messages with the stamp they count for and the time they arrived, both in nanoseconds.
        camera_input: gives depth and regions.
        cameras: gives intrinsics.
        outputs: publishes.
        faults, statistics: told of what happens.
        clock, logger: the node's.

    Attributes:
        listener: called with each frame and its hands after they were published; or None.
        frame_id: the latest image's.
    """

    def __init__(
        self,
        pipeline: HandPipeline,
        parameters: NodeParameters,
        images: ImageQueue[tuple[Image | CompressedImage, int, int]],
        camera_input: CameraInput,
        cameras: CameraSource,
        outputs: HandOutputs,
        faults: FaultLog,
        statistics: NodeStatistics,
        clock: Clock,
        logger: RcutilsLogger,
    ) -> None:
        self._pipeline, self._parameters = pipeline, parameters
        self._images, self._input, self._cameras = images, camera_input, cameras
        self._outputs, self._faults, self._statistics = outputs, faults, statistics
        self._clock, self._logger = clock, logger
        self.listener: Listener | None = None
        self.frame_id = ""
        self._camera: tuple[str, int, int] | None = None
        self._camera_seen = 0.0
        self._thread = threading.Thread(target=self._work, name="hands", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> bool:
        """End with the image under way; whether it ended."""
        self._images.close()
        self._cameras.release()
        self._input.depth.close()
        if self._thread.ident is not None:
            self._thread.join(_STOP_PATIENCE_S)
        return not self._thread.is_alive()

    def change(self, parameters: NodeParameters) -> None:
        """Work with other parameters from the next image on."""
        self._parameters = parameters

    def _work(self) -> None:
        while (taken := self._images.take()) is not None:
            (message, stamp, arrival), skipped = taken
            if skipped:
                self._statistics.skipped(skipped)
            try:
                if self.listener is not None or self._outputs.are_wanted():
                    self._process(message, stamp, arrival, skipped)
            except (ImageError, CameraError) as error:
                self._drop("calibration" if isinstance(error, CameraError) else "image", str(error))
            except Exception as error:
                if self._images.is_closed or not rclpy.ok():
                    # A signal takes the context away first, and nothing can be published or asked: no fault.
                    return
                # One image must not end the node; what it left behind may be broken.
                self._drop("internal error", f"{type(error).__name__}: {error}")
                self._logger.debug(traceback.format_exc())
                self._pipeline.reset()

    def _process(self, message: Image | CompressedImage, stamp: int, arrival: int, skipped: int) -> None:
        rgb = image_to_rgb(message) if isinstance(message, Image) else compressed_to_rgb(message)
        height, width = rgb.shape[:2]
        frame_id = message.header.frame_id
        if self._is_other_camera((frame_id, width, height)):
            self._drop(
                "several cameras",
                f"got an image of frame '{frame_id}' and {width} x {height} pixels beside those of frame "
                f"'{self._camera[0] if self._camera else ''}'; it is dropped",
            )
            return
        camera = self._cameras.camera(width, height)
        parameters = self._parameters
        depth = regions = None
        if parameters.depth:
            depth = self._input.depth.nearest(stamp, parameters.depth_tolerance_s, parameters.depth_wait_s)
        if parameters.regions != "detector":
            regions = self._input.regions.take_latest(stamp, parameters.region_age_s) or []
        frame = self._frame(rgb, stamp, camera, frame_id, depth)
        result = self._pipeline.process(frame, regions)
        latency = self._outputs.publish(frame, result, skipped)
        delay = (self._clock.now().nanoseconds - arrival) / NANOSECONDS
        self._statistics.processed(
            delay, latency, result.timings["total"], len(result.hands), frame.depth is not None
        )
        self.frame_id = frame_id
        for warning in result.warnings:
            self._faults.report("note", warning, drops_image=False)
        self._faults.good()
        if self.listener is not None:
            self.listener(frame, result)

    def _frame(
        self, rgb: RgbImage, stamp: int, camera: Camera, frame_id: str, depth: FloatArray | None
    ) -> Frame:
        """The frame, without depth that does not fit."""
        try:
            return Frame(rgb, stamp, camera, frame_id, depth)
        except ValueError as error:
            self._faults.report("depth", str(error), drops_image=False)
            return Frame(rgb, stamp, camera, frame_id)

    def _is_other_camera(self, camera: tuple[str, int, int]) -> bool:
        """Whether an image comes from another of several publishers than the first one did."""
        now = time.monotonic()
        is_other = (
            self._input.publishers > 1
            and self._camera is not None
            and camera != self._camera
            and now - self._camera_seen < _CAMERA_MEMORY_S
        )
        if not is_other:
            self._camera, self._camera_seen = camera, now
        return is_other

    def _drop(self, kind: str, text: str) -> None:
        self._statistics.dropped()
        self._faults.report(kind, text)
