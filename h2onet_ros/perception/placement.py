"""Where the hand is: the wrist's position from root-relative joints and the points where the camera saw them.

With the shape and size of the hand given by the network, position is all that is missing for a perspective
view: three unknowns, forty-two measurements. A linear solution is refined by weighted Gauss-Newton steps on
pixel distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import FloatArray, check_array

Array = NDArray[np.floating]

MIN_DEPTH = 0.03
"""Metres from the camera to the closest joint that are believed."""
MAX_DEPTH = 20.0
"""Metres from the camera to the wrist that are believed."""

# Outliers lose their pull (Geman-McClure) beyond a distance that shrinks from step to step, since they bias
# the start; in parts of the extent of the image points.
_OUTLIER_FRACTIONS = (0.4, 0.2, 0.1, 0.1, 0.1)


@dataclass(frozen=True, eq=False)
class Placement:
    """Attributes:
    position: `(3,)` the wrist in the camera's optical frame, metres.
    reprojection_error: root mean square distance between projected and given points, pixels.
    """

    position: FloatArray
    reprojection_error: float


def place(
    joints: NDArray[np.floating], image_points: NDArray[np.floating], camera: Camera
) -> Placement | None:
    """The position that makes `joints` project to `image_points`.

    Args:
        joints: `(21, 3)` relative to the wrist, metres, along the camera's axes.
        image_points: `(21, 2)` pixels of the (possibly distorted) image.
        camera: its intrinsics; points are undistorted with them. Errors are counted in undistorted pixels.

    Returns:
        None where no believable position exists: values that are not finite, points that all but coincide, or
        a hand behind, inside or very far from the camera.
    """
    check_array("place", "joints", joints, (21, 3))
    check_array("place", "image_points", image_points, (21, 2))
    relative: Array = np.asarray(joints, np.float64)
    image_points = np.asarray(image_points, np.float64)
    if not (np.isfinite(relative).all() and np.isfinite(image_points).all()):
        return None
    extent = float(np.ptp(image_points, axis=0).max())
    if extent < 1.0:
        return None
    directions = camera.normalise(image_points)
    focal = camera.focal

    position = _linear(relative, directions, focal)
    if position is None:
        return None
    for fraction in _OUTLIER_FRACTIONS:
        position = _gauss_newton_step(position, relative, directions, focal, fraction * extent)
        if position is None:
            return None
    if position[2] > MAX_DEPTH or (relative[:, 2] + position[2]).min() < MIN_DEPTH:
        return None
    error = float(np.sqrt((_residuals(relative + position, directions, focal) ** 2).sum(-1).mean()))
    return Placement(position.astype(np.float32), error)


def _linear(joints: Array, directions: Array, focal: Array) -> Array | None:
    """Least squares of (X + t) - u (Z + t_z) = 0, times the focal length: exact for exact points."""
    rows = np.zeros((2, len(joints), 3))
    rows[0, :, 0] = focal[0]
    rows[1, :, 1] = focal[1]
    rows[:, :, 2] = -(directions * focal).T
    right = ((directions * joints[:, 2:] - joints[:, :2]) * focal).T
    return _solve(rows.reshape(-1, 3), right.reshape(-1))


def _gauss_newton_step(
    position: Array,
    joints: Array,
    directions: Array,
    focal: Array,
    limit: float,
) -> Array | None:
    points = joints + position
    if points[:, 2].min() < MIN_DEPTH / 2:
        return None
    residuals = _residuals(points, directions, focal)
    weight = 1 / (1 + (residuals**2).sum(-1) / limit**2)
    inverse = weight / points[:, 2]
    jacobian = np.zeros((2, len(points), 3))
    jacobian[0, :, 0] = focal[0] * inverse
    jacobian[1, :, 1] = focal[1] * inverse
    jacobian[:, :, 2] = -(points[:, :2] * focal).T * (inverse / points[:, 2])
    step = _solve(jacobian.reshape(-1, 3), (residuals * weight[:, None]).T.reshape(-1))
    return None if step is None else position - step


def _residuals(points: Array, directions: Array, focal: Array) -> Array:
    return (points[:, :2] / points[:, 2:] - directions) * focal


def _solve(rows: Array, right: Array) -> Array | None:
    """Least squares by the normal equations: three unknowns, well scaled."""
    try:
        solution: Array = np.linalg.solve(rows.T @ rows, rows.T @ right)
    except np.linalg.LinAlgError:
        return None
    return solution if np.isfinite(solution).all() else None
