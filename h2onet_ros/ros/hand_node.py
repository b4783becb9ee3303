"""`hand_mesh_node`: camera images in, hands out.

Images are taken in the executor's thread and worked on in another one, so that the node answers while the
network runs; images that waited too long meanwhile make way for newer ones.
"""

from __future__ import annotations

import threading
import traceback
from pathlib import Path

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from h2onet_ros.engines import WeightsBundle, create_engine, default_bundle_path
from h2onet_ros.perception.camera import CameraError
from h2onet_ros.perception.image import ImageError, compressed_to_rgb, image_to_rgb
from h2onet_ros.perception.pipeline import HandPipeline
from h2onet_ros.perception.types import Frame
from h2onet_ros.ros.cameras import CameraSource
from h2onet_ros.ros.image_queue import ImageQueue
from h2onet_ros.ros.messages import Topology, stamp_from_message
from h2onet_ros.ros.outputs import HandOutputs
from h2onet_ros.ros.parameters import declare_parameters, pipeline_config

COMPLAINT_PERIOD_S = 5.0

# Best effort accepts every publisher's offer, and a late image is worthless.
SENSOR_QOS = QoSProfile(
    reliability=QoSReliabilityPolicy.BEST_EFFORT, history=QoSHistoryPolicy.KEEP_LAST, depth=10
)


class HandMeshNode(Node):
    """Finds hands in the images of one camera.

    Raises:
        ParameterError: for parameters it cannot run with.
        BundleError, EngineError, NetworkError: for weights, an engine or a detector that cannot be used.
    """

    def __init__(self) -> None:
        super().__init__("hand_mesh_node")
        self.failure: Exception | None = None
        self._processed = self._skipped = 0
        parameters = declare_parameters(self)
        path = Path(parameters.weights) if parameters.weights else default_bundle_path()
        bundle = WeightsBundle.load(path)
        engine = create_engine(bundle, parameters.engine, threads=parameters.threads)
        self.get_logger().info(f"weights {bundle.info.name} ({bundle.info.variant}) on {engine.description}")
        self._pipeline = HandPipeline(engine, pipeline_config(parameters))
        self._cameras = CameraSource(
            parameters.rectified,
            float(np.radians(parameters.assumed_field_of_view_deg)),
            parameters.camera_info_wait_s,
            self.get_logger().warning,
        )
        mesh = bundle.topology
        self._outputs = HandOutputs(
            self, parameters, Topology(bundle.info.name, mesh.faces, mesh.vertex_part, mesh.face_part)
        )
        self._images: ImageQueue[Image | CompressedImage] = ImageQueue(parameters.max_wait_s)
        self._subscribe(parameters.compressed)
        self._worker = threading.Thread(target=self._work, name="hands", daemon=True)
        self._worker.start()
        self._outputs.announce()

    def _subscribe(self, compressed: bool) -> None:
        overriding = QoSOverridingOptions.with_default_policies()
        image = self.resolve_topic_name("image")
        # The transport's topic hangs below the image's, also when that is remapped (image_transport).
        kind, topic = (CompressedImage, f"{image}/compressed") if compressed else (Image, image)
        self.create_subscription(kind, topic, self._images.put, SENSOR_QOS, qos_overriding_options=overriding)
        info = self.resolve_topic_name("camera_info")
        self.create_subscription(
            CameraInfo, "camera_info", self._cameras.update, SENSOR_QOS, qos_overriding_options=overriding
        )
        self.get_logger().info(f"waiting for images on {topic} and calibration on {info}")

    def _work(self) -> None:
        try:
            while (taken := self._images.take()) is not None:
                message, skipped = taken
                self._skipped += skipped
                if self._outputs.are_wanted():
                    self._process(message, skipped)
        except Exception as error:
            # Publishing fails when the process is told to stop in the middle of a frame: no error.
            if self.context.ok():
                # Nobody would notice a worker that died alone: the main thread ends the process.
                self.get_logger().debug(traceback.format_exc())
                self.failure = error
                self.context.try_shutdown()

    def _process(self, message: Image | CompressedImage, skipped: int) -> None:
        try:
            rgb = image_to_rgb(message) if isinstance(message, Image) else compressed_to_rgb(message)
            height, width = rgb.shape[:2]
            camera = self._cameras.camera(width, height)
        except (ImageError, CameraError) as error:
            self.get_logger().error(f"image dropped: {error}", throttle_duration_sec=COMPLAINT_PERIOD_S)
            return
        stamp = stamp_from_message(message.header.stamp)
        frame = Frame(rgb, stamp, camera, message.header.frame_id)
        self._outputs.publish(frame, self._pipeline.process(frame), skipped)
        self._processed += 1

    def close(self) -> str:
        """Stop working and release the node; a sentence on what was done."""
        self._images.close()
        self._cameras.release()
        self._worker.join(timeout=2.0)
        self.destroy_node()
        return f"processed {self._processed} images, skipped {self._skipped}"
