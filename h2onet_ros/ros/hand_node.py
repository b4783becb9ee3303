"""`hand_mesh_node`: camera images in, hands out. A managed (lifecycle) node.

Images are taken in the executor's thread and worked on in another one, so that the node answers while the
network runs; images that waited too long meanwhile make way for newer ones.
"""

from __future__ import annotations

import ctypes
import gc
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import InvalidHandle
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from h2onet_ros.engines import WeightsBundle, engine_for
from h2onet_ros.perception.pipeline import HandPipeline
from h2onet_ros.perception.types import Frame, FrameResult
from h2onet_ros.ros.camera_input import CameraInput
from h2onet_ros.ros.cameras import CameraSource
from h2onet_ros.ros.diagnostics import Health, status
from h2onet_ros.ros.faults import FaultLog
from h2onet_ros.ros.image_queue import ImageQueue
from h2onet_ros.ros.messages import Topology
from h2onet_ros.ros.outputs import HandOutputs
from h2onet_ros.ros.parameters import (
    NodeParameters,
    ParameterError,
    changed_parameters,
    declare_parameters,
    pipeline_config,
)
from h2onet_ros.ros.regions import check_region_source
from h2onet_ros.ros.services import HandServices
from h2onet_ros.ros.statistics import NodeStatistics
from h2onet_ros.ros.worker import HandWorker

HOUSEKEEPING_PERIOD_S = 0.2
"""Seconds from one look at subscribers and publishers to the next."""
DIAGNOSTICS_PERIOD_S = 1.0


@dataclass
class _Loaded:
    """What configuring makes and cleaning up takes away."""

    bundle: WeightsBundle
    engine: str
    pipeline: HandPipeline
    topology: Topology
    outputs: HandOutputs


@dataclass
class _Running:
    """What activating makes and deactivating takes away."""

    images: ImageQueue[tuple[Image | CompressedImage, int, int]]
    cameras: CameraSource
    camera_input: CameraInput
    worker: HandWorker


class HandMeshNode(LifecycleNode):
    """Finds hands in the images of one camera.

    Raises:
        ParameterError: for parameters it cannot run with.
    """

    def __init__(self) -> None:
        super().__init__("hand_mesh_node")
        self._failure: Exception | None = None
        self._is_starting = False
        self._settings = declare_parameters(self)
        check_region_source(self._settings.regions)
        self._loaded: _Loaded | None = None
        self._running: _Running | None = None
        self._statistics = NodeStatistics()
        logger = self.get_logger()
        self._faults = FaultLog(logger.error, logger.info)
        self._hand_services = HandServices(
            self,
            is_active=lambda: self._running is not None,
            reset=self._reset,
            draw=self._draw,
            faces=lambda: self._loaded.topology.faces if self._loaded else np.zeros((0, 3), int),
            snapshot_folder=lambda: self._settings.snapshot_folder,
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_timer(HOUSEKEEPING_PERIOD_S, self._keep_house)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)

    @property
    def parameters(self) -> NodeParameters:
        """As they are now."""
        return self._settings

    def start(self) -> None:
        """Configure and activate, as a node does that is run alone. Raises what hinders it."""
        self._is_starting = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise self._failure or RuntimeError("the node could not be activated")
        self._is_starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and offer the outputs."""
        return self._attempt(lambda: self._load(state), undo=self._unload)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to work."""

        def undo() -> None:
            self._stop()
            super(HandMeshNode, self).on_deactivate(state)

        return self._attempt(lambda: self._start(state), undo)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the camera free."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the memory free."""
        self._unload()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything free; the process goes on until it is told to end."""
        self._stop()
        self._unload()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to where nothing is loaded."""
        return self.on_shutdown(state)

    def close(self) -> str:
        """Stop working and release the node; a sentence on what was done."""
        self._stop()
        # Where a signal has taken the context away, there are no publishers to take away any more.
        with suppress(Exception):
            self._unload()
        # rclpy leaves it, and with it the node and its publisher of log messages.
        self._state_machine.destroy_when_not_in_use()
        self.destroy_node()
        totals = self._statistics.totals
        sentence = f"processed {totals.processed} images, skipped {totals.skipped}"
        return sentence + (f", dropped {totals.dropped}" if totals.dropped else "")

    def _attempt(self, action: Callable[[], None], undo: Callable[[], None]) -> TransitionCallbackReturn:
        """Do a transition's work, or none of it; rclpy would swallow what it raises."""
        self._failure = None
        try:
            action()
        except Exception as error:
            self._failure = error
            # A signal takes the context away in the middle of it: no error. At the start, the caller tells.
            if self.context.ok() and not self._is_starting:
                self.get_logger().error(str(error) or repr(error))
                self.get_logger().debug(traceback.format_exc())
            with suppress(Exception):
                undo()
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    @property
    def state(self) -> str:
        """Of the life cycle: unconfigured, inactive, active, finalized or a transition's name."""
        label: str = self._state_machine.current_state[1]
        return label

    def _load(self, state: LifecycleState) -> None:
        parameters = self._settings
        engine = engine_for(parameters.weights, parameters.engine, parameters.threads, parameters.precision)
        bundle = engine.bundle
        self.get_logger().info(f"weights {bundle.info.name} ({bundle.info.variant}) on {engine.description}")
        pipeline = HandPipeline(engine, pipeline_config(parameters))
        mesh = bundle.topology
        topology = Topology(bundle.info.name, mesh.faces, mesh.vertex_part, mesh.face_part)
        outputs = HandOutputs(self, parameters, topology)
        if parameters.publish_tf != "none" and not outputs.has_tf:
            self.get_logger().info("no frames on /tf: tf2_msgs is not installed")
        self._loaded = _Loaded(bundle, engine.description, pipeline, topology, outputs)
        super().on_configure(state)

    def _start(self, state: LifecycleState) -> None:
        loaded, parameters = self._loaded, self._settings
        assert loaded is not None
        super().on_activate(state)
        cameras = CameraSource(
            parameters.rectified,
            float(np.radians(parameters.assumed_field_of_view_deg)),
            parameters.camera_info_wait_s,
            self.get_logger().warning,
        )
        images: ImageQueue[tuple[Image | CompressedImage, int, int]] = ImageQueue(parameters.max_wait_s)
        camera_input = CameraInput(self, parameters, images, cameras, self._faults, self._statistics)
        loaded.pipeline.reset()
        worker = HandWorker(
            loaded.pipeline,
            parameters,
            images,
            camera_input,
            cameras,
            loaded.outputs,
            self._faults,
            self._statistics,
            self.get_clock(),
            self.get_logger(),
        )
        self._running = _Running(images, cameras, camera_input, worker)
        worker.start()
        loaded.outputs.announce()
        self._keep_house()

    def _stop(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        with suppress(InvalidHandle):
            running.camera_input.close()
        if not running.worker.stop():
            self.get_logger().error("the worker does not end: a network hangs")
        self._hand_services.cancel()

    def _unload(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.pipeline.close()
            loaded.outputs.close()
            del loaded
            # Networks and their threads hang in cycles; their memory is to go now, not some time.
            gc.collect()
            _return_memory()

    def _reset(self) -> None:
        if self._loaded is not None:
            self._loaded.pipeline.reset()

    def _draw(self, frame: Frame, result: FrameResult) -> np.ndarray:
        assert self._loaded is not None
        return np.asarray(self._loaded.outputs.draw(frame, result))

    def _is_wanted(self) -> bool:
        return self._hand_services.are_waiting or (
            self._loaded is not None and self._loaded.outputs.are_wanted()
        )

    def _keep_house(self) -> None:
        """Subscribe to the camera while somebody wants hands, as its publishers offer it."""
        running = self._running
        if running is None:
            return
        self._hand_services.look_at_clock()
        running.worker.listener = self._hand_services.take if self._hand_services.are_waiting else None
        is_wanted = self._is_wanted()
        if is_wanted and not running.camera_input.is_open:
            running.camera_input.open()
        elif not is_wanted and running.camera_input.is_open:
            running.camera_input.close()
        if running.camera_input.is_open:
            running.camera_input.look_at_publishers()

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            parameters = changed_parameters(self._settings, changes, self._loaded is not None)
            check_region_source(parameters.regions)
            config = pipeline_config(parameters)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._settings = parameters
        if self._loaded is not None:
            self._loaded.pipeline.reconfigure(config)
            self._loaded.outputs.change(parameters)
        if self._running is not None:
            self._running.worker.change(parameters)
            self._running.cameras.change(
                parameters.rectified,
                float(np.radians(parameters.assumed_field_of_view_deg)),
                parameters.camera_info_wait_s,
            )
            self._running.images.max_wait = parameters.max_wait_s
            self._running.camera_input.change(parameters)
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        loaded, running = self._loaded, self._running
        conditions: tuple[str, ...] = ()
        facts = {}
        if loaded is not None:
            facts = {"weights": loaded.bundle.info.name, "engine": loaded.engine}
        if running is not None:
            conditions = running.camera_input.conditions() + running.cameras.conditions()
            facts["image topic"] = running.camera_input.image_topic
            facts["hands in the latest image"] = str(self._statistics.hands)
        health = Health(
            state=self.state,
            is_wanted=running is not None and running.camera_input.is_open,
            camera_age=self._statistics.camera_age(),
            recent=self._statistics.recent(),
            totals=self._statistics.totals,
            faults=self._faults.counts(),
            latest_fault=self._faults.latest,
            conditions=conditions,
            facts=facts,
        )
        name = f"{self.get_fully_qualified_name().lstrip('/')}: hands"
        frame_id = running.worker.frame_id if running is not None else ""
        message = DiagnosticArray(status=[status(health, name, frame_id)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _return_memory() -> None:
    """Give freed memory back to the system, which glibc would keep for itself."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
