"""The camera: pinhole intrinsics with the lens distortions of `sensor_msgs/CameraInfo` (REP 104)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

DISTORTION_LENGTHS = {
    "none": (0,),
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}
"""Distortion models by their `sensor_msgs/distortion_models` name, with the coefficient counts each takes."""


_UNDISTORTION_ROUNDS = 20


class CameraError(ValueError):
    """Intrinsics that cannot be those of a camera."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of one image size.

    Attributes:
        width, height: the image size in pixels.
        k: `(3, 3)` float64, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels; pixel centres are integers.
        distortion: coefficients of `distortion_model` in OpenCV's order; empty or None for a rectified image.
        distortion_model: "none", "plumb_bob", "rational_polynomial" or "equidistant".
        is_assumed: the intrinsics are a guess, so absolute positions are one too.

    Raises:
        CameraError: for a size, matrix or distortion that is not finite or not a camera's.
    """

    width: int
    height: int
    k: NDArray[np.float64]
    distortion: NDArray[np.float64] | None = None
    distortion_model: str = "none"
    is_assumed: bool = False
    _has_distortion: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise CameraError(f"Camera: expected a positive image size, got {self.width} x {self.height}")
        k = np.asarray(self.k, np.float64)
        if k.shape != (3, 3) or not np.isfinite(k).all():
            raise CameraError(f"Camera.k: expected a finite 3 x 3 matrix, got {k.tolist()}")
        if k[0, 0] <= 0 or k[1, 1] <= 0:
            raise CameraError(
                f"Camera.k: expected positive focal lengths, got fx={k[0, 0]:g}, fy={k[1, 1]:g}; the camera "
                "is not calibrated: calibrate it or use Camera.assumed"
            )
        if not np.array_equal(k[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], [0, 0, 0, 0, 1]):
            raise CameraError(f"Camera.k: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {k.tolist()}")
        distortion = (
            np.zeros(0) if self.distortion is None else np.asarray(self.distortion, np.float64).ravel()
        )
        if self.distortion_model not in DISTORTION_LENGTHS:
            raise CameraError(
                f"Camera.distortion_model: expected one of {', '.join(DISTORTION_LENGTHS)}, got "
                f"{self.distortion_model!r}; rectify the images"
            )
        expects_all = distortion.any() or self.distortion_model == "equidistant"
        if expects_all and len(distortion) not in DISTORTION_LENGTHS[self.distortion_model]:
            raise CameraError(
                f"Camera.distortion: expected {DISTORTION_LENGTHS[self.distortion_model]} coefficients for "
                f"{self.distortion_model}, got {len(distortion)}"
            )
        if not np.isfinite(distortion).all():
            raise CameraError(f"Camera.distortion: expected finite coefficients, got {distortion.tolist()}")
        object.__setattr__(self, "k", k)
        object.__setattr__(self, "distortion", distortion)
        # An equidistant lens without coefficients is no pinhole: the image's radius grows with the angle.
        bends = bool(distortion.any()) or self.distortion_model == "equidistant"
        object.__setattr__(self, "_has_distortion", bends)

    @classmethod
    def assumed(cls, width: int, height: int, field_of_view: float = np.radians(60.0)) -> Camera:
        """An undistorted camera with the given field of view (radians) across the longer side, centred."""
        if width <= 0 or height <= 0:
            raise CameraError(f"Camera: expected a positive image size, got {width} x {height}")
        focal = max(width, height) / 2 / np.tan(field_of_view / 2)
        k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        return cls(width, height, k, is_assumed=True)

    @property
    def focal(self) -> NDArray[np.float64]:
        """`(2,)` fx and fy in pixels."""
        return self.k[[0, 1], [0, 1]]

    @property
    def principal_point(self) -> NDArray[np.float64]:
        """`(2,)` cx and cy in pixels."""
        return self.k[:2, 2]

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera after its image was resized to `width` x `height`."""
        ratio = np.array([width / self.width, height / self.height])
        k = self.k.copy()
        k[[0, 1], [0, 1]] *= ratio
        # Edges, not pixel centres, keep their place under resizing.
        k[:2, 2] = (k[:2, 2] + 0.5) * ratio - 0.5
        return replace(self, width=width, height=height, k=k)

    def mirrored(self) -> Camera:
        """The camera that sees the left-right mirrored image; only for an undistorted camera."""
        if self._has_distortion:
            raise CameraError("Camera.mirrored: expected an undistorted camera; rectify the image first")
        k = self.k.copy()
        k[0, 2] = self.width - 1 - k[0, 2]
        return replace(self, k=k)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pixels `(..., 2)` of points `(..., 3)` in metres; NaN for points not in front of the camera."""
        points = np.asarray(points, np.float64)
        depth = np.where(points[..., 2:] > 1e-9, points[..., 2:], np.nan)
        normalised = points[..., :2] / depth
        if self._has_distortion:
            normalised = self._distort(normalised)
        return normalised * self.focal + self.principal_point

    def normalise(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Undistorted directions (x / z, y / z), `(..., 2)`, of pixels `(..., 2)`."""
        pixels = np.asarray(pixels, np.float64)
        if not self._has_distortion:
            return (pixels - self.principal_point) / self.focal
        flat = pixels.reshape(-1, 1, 2)
        assert self.distortion is not None
        if self.distortion_model == "equidistant":
            directions = cv2.fisheye.undistortPoints(flat, self.k, self.distortion)
            return np.asarray(directions, np.float64).reshape(pixels.shape)
        first = cv2.undistortPoints(flat, self.k, self.distortion)
        result: NDArray[np.float64] = np.asarray(first, np.float64).reshape(pixels.shape)
        # OpenCV stops after a few rounds of the same iteration, too early near the image's corners.
        seen = (pixels - self.principal_point) / self.focal
        for _ in range(_UNDISTORTION_ROUNDS):
            step = seen - self._distort(result)
            result = result + step
            if np.abs(step).max(initial=0) < 1e-9:
                break
        return result

    def view_rotation(self, pixel: NDArray[np.floating]) -> NDArray[np.float64]:
        """`(3, 3)` the smallest rotation that turns the optical axis into the ray of `pixel` `(2,)`.

        A hand seen there from this camera looks as it would in the image centre of a camera turned that way.
        """
        x, y = self.normalise(np.asarray(pixel, np.float64))
        ray = np.array([x, y, 1.0]) / np.sqrt(x * x + y * y + 1)
        axis = np.array([-ray[1], ray[0], 0.0])  # z cross ray
        return cv2.Rodrigues(axis * (np.arccos(ray[2]) / max(np.hypot(ray[0], ray[1]), 1e-12)))[0]

    def _distort(self, normalised: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = normalised.reshape(-1, 1, 2)
        assert self.distortion is not None
        if self.distortion_model == "equidistant":
            distorted = cv2.fisheye.distortPoints(flat, np.eye(3), self.distortion)
        else:
            points = np.concatenate([flat, np.ones_like(flat[..., :1])], -1)
            distorted = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), self.distortion)[0]
        return np.asarray(distorted, np.float64).reshape(normalised.shape)
