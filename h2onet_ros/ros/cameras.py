"""Which camera belongs to an image: the calibrated one of camera_info, or an assumed one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import CameraInfo

from h2onet_ros.perception.camera import Camera, CameraError
from h2onet_ros.perception.camera_info import camera_from_info, is_calibrated


class CameraSource:
    """Remembers the newest camera_info and makes the camera of each image from it.

    Args:
        rectified: whether the images are undistorted.
        assumed_field_of_view: radians, for a camera without calibration.
        wait: seconds to wait once for a first camera_info.
        warn: called, once, with the reason why a camera had to be assumed.
    """

    def __init__(
        self, rectified: bool, assumed_field_of_view: float, wait: float, warn: Callable[[str], object]
    ) -> None:
        self._rectified = rectified
        self._field_of_view = assumed_field_of_view
        self._wait = wait
        self._warn = warn
        self._has_warned = False
        self._arrived = threading.Event()
        self._info: CameraInfo | None = None
        self._camera: Camera | None = None
        self._made_from: tuple[CameraInfo | None, int, int] | None = None

    def update(self, info: CameraInfo) -> None:
        """Take a camera_info message; cheap where it repeats the last one."""
        if self._info is None or _intrinsics(info) != _intrinsics(self._info):
            self._info = info
            self._arrived.set()

    def change(self, rectified: bool, assumed_field_of_view: float, wait: float) -> None:
        """Make the cameras of further images with other settings."""
        if self._wait:
            self._wait = wait
        if (rectified, assumed_field_of_view) != (self._rectified, self._field_of_view):
            self._rectified, self._field_of_view = rectified, assumed_field_of_view
            self._made_from = None

    def conditions(self) -> tuple[str, ...]:
        """Sentences on what is wrong for as long as it is."""
        camera = self._camera
        if camera is None or not camera.is_assumed:
            return ()
        return ("the camera is not calibrated: distances are a guess",)

    def release(self) -> None:
        """End a wait in `camera`, now and later."""
        self._wait = 0.0
        self._arrived.set()

    def camera(self, width: int, height: int) -> Camera:
        """The camera of an image of `width` x `height` pixels; the first call may wait for camera_info.

        Raises:
            CameraError: if camera_info does not fit the image.
        """
        if self._info is None and self._wait:
            self._arrived.wait(self._wait)
            self._wait = 0.0
        info = self._info
        camera = self._camera
        if camera is None or self._made_from != (info, width, height):
            # Noted first: what another thread changes meanwhile counts for the next image.
            self._made_from = (info, width, height)
            try:
                camera = self._camera = self._make(info, width, height)
            except CameraError:
                self._made_from = None
                raise
        return camera

    def _make(self, info: CameraInfo | None, width: int, height: int) -> Camera:
        if info is not None and is_calibrated(info, self._rectified):
            return camera_from_info(info, width, height, self._rectified)
        if not self._has_warned:
            self._has_warned = True
            self._warn(
                ("no camera_info arrived" if info is None else "camera_info holds no calibration")
                + f"; assuming a field of view of {np.degrees(self._field_of_view):.0f} degrees, so "
                "distances are a guess. Calibrate the camera or set assumed_field_of_view_deg"
            )
        return Camera.assumed(width, height, self._field_of_view)


def _intrinsics(info: CameraInfo) -> tuple[object, ...]:
    """All of a camera_info but its header, comparable."""
    roi = info.roi
    return (
        (info.width, info.height, info.distortion_model, info.binning_x, info.binning_y),
        (info.k.tobytes(), info.p.tobytes(), tuple(info.d)),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )
