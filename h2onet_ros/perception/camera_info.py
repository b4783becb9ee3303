"""`sensor_msgs/CameraInfo` -> `perception.camera.Camera`.

The message is known by its fields, so that those of rclpy and of rosbags serve alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from h2onet_ros.perception.camera import Camera, CameraError


class CameraInfo(Protocol):
    """`sensor_msgs/CameraInfo`."""

    height: int
    width: int
    distortion_model: str
    d: Sequence[float]
    k: Sequence[float]
    p: Sequence[float]
    binning_x: int
    binning_y: int
    roi: Any


def is_calibrated(info: CameraInfo, rectified: bool = False) -> bool:
    """Whether the message holds intrinsics: an uncalibrated camera sends zeros (sensor_msgs/CameraInfo)."""
    return bool((info.p if rectified else info.k)[0])


def camera_from_info(info: CameraInfo, width: int, height: int, rectified: bool = False) -> Camera:
    """The camera of images of `width` x `height` pixels.

    Args:
        info: the calibration. Binning and region of interest are honoured, and so is a resize
            of the images to another size of the same proportions.
        width, height: the size of the images that come with it.
        rectified: the images are already undistorted (`image_rect`): the projection matrix holds for them.

    Raises:
        CameraError: for an uncalibrated camera, one that is not pinhole-like, or images of other proportions.
    """
    if not is_calibrated(info, rectified):
        raise CameraError("expected a calibrated camera, got intrinsics of zeros; calibrate the camera")
    k = np.array(info.p, np.float64).reshape(3, 4)[:, :3] if rectified else np.array(info.k).reshape(3, 3)
    binning = np.array([max(info.binning_x, 1), max(info.binning_y, 1)])
    roi = info.roi
    if roi.width and roi.height:
        corner, full = np.array([roi.x_offset, roi.y_offset]), np.array([roi.width, roi.height])
    else:
        corner, full = np.zeros(2, int), np.array([info.width, info.height])
    k[:2, 2] -= corner
    size = full // binning
    if not size.all():
        raise CameraError(
            f"expected the size of the calibrated images in camera_info, got {full[0]} x {full[1]}"
        )
    # A pixel of the binned image covers binning_x x binning_y pixels; Camera.scaled does the arithmetic.
    if rectified or not len(info.d):
        camera = Camera(int(full[0]), int(full[1]), k)
    else:
        camera = Camera(int(full[0]), int(full[1]), k, np.array(info.d), info.distortion_model or "plumb_bob")
    if abs(width * size[1] - height * size[0]) > max(width, height, *size):
        raise CameraError(
            f"expected images of {size[0]} x {size[1]} pixels as camera_info says, or of the same "
            f"proportions, got {width} x {height}; publish the camera_info that belongs to the images"
        )
    return camera if (width, height) == tuple(full) else camera.scaled(width, height)
