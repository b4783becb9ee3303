"""The node's services: forget the hands, save a snapshot, learn the hand's size.

Two of them need images. They wait for those without blocking the executor: the callbacks are coroutines that
the executor takes up again when the worker's thread has what they asked for, or when their time is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.task import Future
from std_srvs.srv import Trigger

from h2onet_msgs.srv import CalibrateHandScale, SaveSnapshot
from h2onet_ros.perception.hand_files import write_hands
from h2onet_ros.perception.hand_size import CalibrationError, SizeCalibration, SizeEstimate
from h2onet_ros.perception.types import Frame, FrameResult
from h2onet_ros.ros.snapshot import default_folder, snapshot_folder

SNAPSHOT_PATIENCE_S = 5.0
CALIBRATION_PATIENCE_S = 15.0
CALIBRATION_IMAGES = 30
MOST_CALIBRATION_IMAGES = 1000
LONGEST_PATIENCE_S = 600.0


@dataclass(eq=False)
class _Job:
    """Something that waits for images.

    Attributes:
        take: gets each image with its hands, in the worker's thread; gives an answer once it has one.
        give_up: the answer when its time is over.
        deadline: monotonic seconds.
        future: gets the answer.
    """

    take: Callable[[Frame, FrameResult], Any]
    give_up: Callable[[], Any]
    deadline: float
    future: Future


class HandServices:
    """Args:
    node: offers the services.
    is_active: whether the node is.
    reset: forgets all hands.
    draw: draws the hands of a frame.
    faces: gives the mesh's faces `(F, 3)`.
    snapshot_folder: gives the parameter's value.
    """

    def __init__(
        self,
        node: LifecycleNode,
        is_active: Callable[[], bool],
        reset: Callable[[], None],
        draw: Callable[[Frame, FrameResult], Any],
        faces: Callable[[], Any],
        snapshot_folder: Callable[[], str],
    ) -> None:
        self._node = node
        self._is_active, self._reset, self._draw, self._faces = is_active, reset, draw, faces
        self._snapshot_folder = snapshot_folder
        self._lock = threading.Lock()
        self._jobs: list[_Job] = []
        node.create_service(Trigger, "~/reset", self._on_reset)
        # In the node's own group nothing else would be called while one of these waits.
        group = ReentrantCallbackGroup()
        node.create_service(SaveSnapshot, "~/save_snapshot", self._on_snapshot, callback_group=group)
        node.create_service(
            CalibrateHandScale, "~/calibrate_hand_scale", self._on_calibrate, callback_group=group
        )

    @property
    def are_waiting(self) -> bool:
        """Whether images are wanted."""
        return bool(self._jobs)

    def take(self, frame: Frame, result: FrameResult) -> None:
        """Serve those who wait for images; called in the worker's thread."""
        for job in list(self._jobs):
            self._answer(job, lambda job=job: job.take(frame, result))  # type: ignore[misc]

    def look_at_clock(self) -> None:
        """Answer those whose time is over; to be called now and then."""
        now = time.monotonic()
        for job in [job for job in self._jobs if now > job.deadline]:
            self._answer(job, job.give_up)

    def cancel(self) -> None:
        """Answer all that wait: the node is being deactivated."""
        for job in list(self._jobs):
            self._answer(job, lambda: "the node is not active any more: it was deactivated meanwhile")

    def _answer(self, job: _Job, make: Callable[[], Any]) -> None:
        try:
            answer = make()
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        if answer is None:
            return
        with self._lock:
            if job not in self._jobs:
                return
            self._jobs.remove(job)
        job.future.set_result(answer)

    async def _wait(
        self, take: Callable[[Frame, FrameResult], Any], give_up: Callable[[], Any], patience: float
    ) -> Any:
        if not self._is_active():
            return "the node is not active: configure and activate it first (ros2 lifecycle set <node> ...)"
        job = _Job(take, give_up, time.monotonic() + patience, Future(executor=self._node.executor))
        with self._lock:
            self._jobs.append(job)
        return await job.future

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._is_active():
            response.message = "there was nothing to forget: the node is not active"
            response.success = True
            return response
        self._reset()
        response.success, response.message = True, "all hands are forgotten at the next image"
        return response

    async def _on_snapshot(
        self, request: SaveSnapshot.Request, response: SaveSnapshot.Response
    ) -> SaveSnapshot.Response:
        given = request.folder or self._snapshot_folder()
        written: list[Path] = []
        hands = 0

        def take(frame: Frame, result: FrameResult) -> str:
            nonlocal hands
            try:
                folder = Path(given).expanduser() if given else default_folder()
                new = snapshot_folder(folder, frame.stamp)
                written.extend(write_hands(new, frame, result, self._draw(frame, result), self._faces()))
            except (OSError, RuntimeError) as error:  # pathlib's, for a home folder that is not known
                reason = getattr(error, "strerror", None) or error
                return f"expected a folder to write to, not {given or 'the default'}: {reason}"
            hands = len(result.hands)
            return ""

        def give_up() -> str:
            return f"no image came within {SNAPSHOT_PATIENCE_S:.0f} s; is the camera running?"

        problem = await self._wait(take, give_up, SNAPSHOT_PATIENCE_S)
        response.success = not problem
        response.message = problem or f"saved an image with {hands} hands in {written[0].parent}"
        response.files = [str(path) for path in written]
        return response

    async def _on_calibrate(
        self, request: CalibrateHandScale.Request, response: CalibrateHandScale.Response
    ) -> CalibrateHandScale.Response:
        images = request.images or CALIBRATION_IMAGES
        patience = request.timeout or CALIBRATION_PATIENCE_S
        if not 0 < patience <= LONGEST_PATIENCE_S or images > MOST_CALIBRATION_IMAGES:
            response.message = (
                f"expected at most {MOST_CALIBRATION_IMAGES} images and a timeout of at most "
                f"{LONGEST_PATIENCE_S:.0f} s, got {images} and {patience}"
            )
            return response
        try:
            calibration = SizeCalibration(images, request.hand_length or None)
        except ValueError as error:
            response.message = str(error)
            return response

        def give_up() -> SizeEstimate | str:
            try:
                return calibration.estimate()
            except CalibrationError as error:
                return str(error)

        def take(frame: Frame, result: FrameResult) -> SizeEstimate | str | None:
            calibration.add(result)
            return give_up() if calibration.is_done else None

        answer = await self._wait(take, give_up, patience)
        if isinstance(answer, SizeEstimate):
            self._use(answer, response)
        else:
            response.message = answer
        return response

    def _use(self, estimate: SizeEstimate, response: CalibrateHandScale.Response) -> None:
        """Set the parameter, as if somebody had done it by hand: a scale out of range is refused."""
        changes = [
            Parameter("hand_length", value=0.0),
            Parameter("hand_scale", value=float(estimate.scale)),
        ]
        result = self._node.set_parameters_atomically(changes)
        response.success = result.successful
        response.hand_scale, response.spread = float(estimate.scale), float(estimate.spread)
        response.message = (
            f"hand_scale is {estimate.scale:.3f} now, from {estimate.frames} images"
            if result.successful
            else result.reason
        )
