"""Where the hand is and how it is turned: root-relative joints fitted to the points where a camera saw them.

The network gives the hand's shape and size, so three unknowns of position are missing for a perspective view
and forty-two measurements are there. The same measurements also say how the hand is turned, and often better
than the network's regressor, so the turn may be corrected along with the position, with the network's own
answer as the prior. A linear solution is refined by damped, robustly weighted Gauss-Newton steps; where the
network's rotation is far off, the turn starts from the image points alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import FloatArray, check_array

Array = NDArray[np.floating]

MIN_DEPTH = 0.03
"""Metres from the camera to the closest joint that are believed."""
MAX_DEPTH = 20.0
"""Metres from the camera to the wrist that are believed."""

TURN_PRIOR = 0.67
"""How firmly the network's rotation is held: an error of a radian counts as much as one image point that is
off by this part of the points' extent. From the median errors, about 17 degrees and a fifth; see
docs/placement.md."""

# Outliers lose their pull (Geman-McClure) beyond a distance that shrinks from step to step, since they bias
# the start; in parts of the extent of the image points.
_OUTLIER_FRACTIONS = (0.4, 0.2, 0.1, 0.1, 0.1)
# While the hand still turns, points far off are rather signs of a wrong turn than outliers.
_TURNING_FRACTIONS = (0.5, 0.5, 0.5, 0.5)
_LARGEST_SHRINKAGE = 1.1
_DISAGREEMENT = 0.06
"""Most image points do not fit if their median residual is more than this part of their extent. Least squares
then shrink the hand to its middle, that is, move it away: if the points spread wider than the projection by
more than the factor above, the hand is moved nearer."""
_OUTLIER_TURN = 0.55
"""Radians. The network's rotation has more and larger errors than such a prior allows for, so it never costs
more than for a turn of so much: where image points disagree as above, and a turn free of the prior pays for
that cost, the free one is taken. See docs/placement.md."""
_LARGEST_TURN = 0.5
"""Radians per step: beyond, the linearisation says nothing."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Attributes:
    position: `(3,)` the wrist in the camera's optical frame, metres.
    reprojection_error: root mean square distance between projected and given points, pixels.
    turn: `(3, 3)` what the joints were turned by about the wrist; the identity if they were not to be.
    """

    position: FloatArray
    reprojection_error: float
    turn: Array


def place(
    joints: NDArray[np.floating],
    image_points: NDArray[np.floating],
    camera: Camera,
    turn_prior: float | None = None,
) -> Placement | None:
    """The position, and on request the turn, that make `joints` project to `image_points`.

    Args:
        joints: `(21, 3)` relative to the wrist, metres, along the camera's axes.
        image_points: `(21, 2)` pixels of the (possibly distorted) image.
        camera: its intrinsics; points are undistorted with them. Errors are counted in undistorted pixels.
        turn_prior: correct the rotation too, as firmly held as said for `TURN_PRIOR`. None: leave it.

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
    view = View(camera.normalise(image_points), camera.focal, extent)

    held = _held(relative, view, turn_prior)
    if turn_prior is None:
        return held
    cost = (turn_prior * _OUTLIER_TURN * extent) ** 2 / len(relative)
    if held is not None and (held.reprojection_error**2 <= cost or _fits(held, relative, view)):
        return held
    free = _turned_freely(relative, view)
    if free is None:
        return held
    if held is None:
        return free if _fits(free, relative, view) else None
    return free if free.reprojection_error**2 + cost < held.reprojection_error**2 else held


@dataclass(frozen=True, eq=False)
class View:
    """What the camera saw of a hand.

    Attributes:
        directions: `(21, 2)` x / z and y / z of the joints.
        focal: `(2,)` pixels.
        extent: the longer side of the image points' box, pixels.
    """

    directions: Array
    focal: Array
    extent: float

    def residuals(self, points: Array) -> Array:
        """`(21, 2)` pixels from where the joints were seen to where points `(21, 3)` would be."""
        residuals: Array = (points[:, :2] / points[:, 2:] - self.directions) * self.focal
        return residuals

    def equations(self, turned: Array, position: Array, fraction: float) -> tuple[Array, Array]:
        """Normal equations `(6, 6)`, `(6,)` of a small turn about the wrist and a shift, that lessen the
        residuals of joints `turned` `(21, 3)` at `position`, weighted down beyond `fraction` of the extent.
        """
        points = turned + position
        inverse = 1 / points[:, 2]
        ratios = points[:, :2] * inverse[:, None]
        residuals = (ratios - self.directions) * self.focal
        # The image moves by (1, 0, -x / z) fx / z for a shift of the point, and so on.
        rows = np.zeros((2, len(points), 6))
        for axis in (0, 1):
            rate = self.focal[axis] * inverse
            rows[axis, :, 3 + axis] = rate
            rows[axis, :, 5] = -rate * ratios[:, axis]
        # A turn by w moves it by w x P; the image moves by g . (w x P) = w . (P x g).
        x, y, z = turned.T
        along = rows[:, :, 3:]
        rows[:, :, 0] = y * along[:, :, 2] - z * along[:, :, 1]
        rows[:, :, 1] = z * along[:, :, 0] - x * along[:, :, 2]
        rows[:, :, 2] = x * along[:, :, 1] - y * along[:, :, 0]
        weight = 1 / (1 + (residuals**2).sum(-1) / (fraction * self.extent) ** 2)
        weighted = (rows * weight[:, None]).reshape(-1, 6)
        return weighted.T @ rows.reshape(-1, 6), weighted.T @ residuals.T.reshape(-1)


def step(
    matrix: Array, right: Array, turn: Array, position: Array, prior: float
) -> tuple[Array, Array] | None:
    """Solve `View.equations` (and what was added to them) for the next turn `(3, 3)` and position `(3,)`.

    Args:
        turn: the turn so far, held by `prior` (pixels per radian).
    """
    matrix, right = matrix.copy(), right.copy()
    matrix[[0, 1, 2], [0, 1, 2]] += prior**2
    right[:3] += prior**2 * cv2.Rodrigues(turn)[0][:, 0]
    solution = _solve(matrix, right)
    if solution is None:
        return None
    angle = float(np.linalg.norm(solution[:3]))
    if angle > _LARGEST_TURN:
        solution[:3] *= _LARGEST_TURN / angle
    return cv2.Rodrigues(-solution[:3])[0] @ turn, position - solution[3:]


def believable(position: Array, turn: Array, joints: Array, view: View) -> Placement | None:
    """The placement of (turned) `joints` at `position`, or None where no hand can be."""
    nearest = float((joints[:, 2] + position[2]).min())
    if not (nearest >= MIN_DEPTH and position[2] <= MAX_DEPTH):
        return None
    error = float(np.sqrt((view.residuals(joints + position) ** 2).sum(-1).mean()))
    return Placement(position.astype(np.float32), error, turn)


def _held(joints: Array, view: View, turn_prior: float | None) -> Placement | None:
    """The placement with the turn held by the prior, or with none."""
    position = _linear(joints, view)
    if position is None:
        return None
    turn: Array = np.eye(3)
    fractions: tuple[float, ...] = _OUTLIER_FRACTIONS
    if turn_prior is not None:
        turned = _turn_too(position, joints, view, turn_prior)
        if turned is not None:
            position, turn = turned
            joints = joints @ turn.T
            fractions = _OUTLIER_FRACTIONS[2:]
    for fraction in fractions:
        position = _shift(position, joints, view, fraction)
        if position is None:
            return None
    return believable(_unshrunk(position, joints, view), turn, joints, view)


def _turn_too(position: Array, joints: Array, view: View, prior: float) -> tuple[Array, Array] | None:
    """Position and turn after some steps in both; None where they lead nowhere."""
    turn: Array = np.eye(3)
    turned = joints
    for fraction in _TURNING_FRACTIONS:
        if (turned[:, 2] + position[2]).min() < MIN_DEPTH / 2:
            return None
        equations = view.equations(turned, position, fraction)
        moved = step(*equations, turn, position, prior * view.extent)
        if moved is None:
            return None
        turn, position = moved
        turned = joints @ turn.T
    return position, turn


def _turned_freely(joints: Array, view: View) -> Placement | None:
    """The placement with the turn that fits the image points best, whatever it is."""
    try:
        found, turn, position = cv2.solvePnP(
            joints, view.directions[:, None], np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP
        )
    except cv2.error:  # all but one point
        return None
    if not (found and np.isfinite(turn).all() and np.isfinite(position).all()):
        return None
    matrix = np.asarray(cv2.Rodrigues(turn)[0], np.float64)
    return believable(np.asarray(position[:, 0], np.float64), matrix, joints @ matrix.T, view)


def _linear(joints: Array, view: View) -> Array | None:
    """Least squares of (X + t) - u (Z + t_z) = 0, times the focal length: exact for exact points."""
    rows = np.zeros((2, len(joints), 3))
    rows[0, :, 0] = view.focal[0]
    rows[1, :, 1] = view.focal[1]
    rows[:, :, 2] = -(view.directions * view.focal).T
    right = ((view.directions * joints[:, 2:] - joints[:, :2]) * view.focal).T.reshape(-1)
    flat = rows.reshape(-1, 3)
    return _solve(flat.T @ flat, flat.T @ right)


def _shift(position: Array, joints: Array, view: View, fraction: float) -> Array | None:
    """The next position, the turn left as it is."""
    points = joints + position
    if points[:, 2].min() < MIN_DEPTH / 2:
        return None
    residuals = view.residuals(points)
    weight = 1 / (1 + (residuals**2).sum(-1) / (fraction * view.extent) ** 2)
    inverse = weight / points[:, 2]
    rows = np.zeros((2, len(points), 3))
    rows[0, :, 0] = view.focal[0] * inverse
    rows[1, :, 1] = view.focal[1] * inverse
    rows[:, :, 2] = -(points[:, :2] * view.focal).T * (inverse / points[:, 2])
    flat = rows.reshape(-1, 3)
    solution = _solve(flat.T @ flat, flat.T @ (residuals * weight[:, None]).T.reshape(-1))
    return None if solution is None else position - solution


def _unshrunk(position: Array, joints: Array, view: View) -> Array:
    """The position, moved nearer if the projection is too small for image points that hardly fit it."""
    points = joints + position
    if not _disagree(points, view):
        return position
    for _ in range(3):  # perspective makes the size not quite proportional to the distance
        if points[:, 2].min() < MIN_DEPTH:
            break
        shrinkage = _spread(view.directions) / _spread(points[:, :2] / points[:, 2:]) / _LARGEST_SHRINKAGE
        if not 1.001 < shrinkage < np.inf:
            break
        position = position / shrinkage
        points = joints + position
        position[:2] += (view.directions - points[:, :2] / points[:, 2:]).mean(0) * position[2]
        points = joints + position
    return position


def _fits(placement: Placement, joints: Array, view: View) -> bool:
    return not _disagree(joints @ placement.turn.T + placement.position, view)


def _disagree(points: Array, view: View) -> bool:
    """Whether most image points are off."""
    return bool(np.median(np.linalg.norm(view.residuals(points), axis=1)) > _DISAGREEMENT * view.extent)


def _spread(points: Array) -> float:
    return float(np.linalg.norm(points - points.mean(0)))


def _solve(matrix: Array, right: Array) -> Array | None:
    """The solution of a few well scaled linear equations; None where there is none."""
    try:
        solution: Array = np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        return None
    return solution if np.isfinite(solution).all() else None
