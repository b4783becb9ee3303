"""Depth images: where the wrist is and how the hand is turned, as a depth camera saw the hand's skin.

Depth images have holes, borders that mix near and far, things in front of the hand, and the background where
the mesh does not quite cover the hand. So every vertex that faces the camera votes for a distance of the
wrist, the distance most of them agree on wins, and only those that agree take part in the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.image import ImageError, ImageMessage, image_values
from h2onet_ros.perception.placement import Placement, View, believable, step
from h2onet_ros.perception.types import FloatArray

Array = NDArray[np.floating]

_KINDS = {"16UC1": ("u2", 1e-3), "mono16": ("u2", 1e-3), "32FC1": ("f4", 1.0)}

_SKIN = 0.006  # metres: noise of a depth image and of the mesh at the wrist
_BEND = 0.25  # metres more for every metre from the wrist: the turn and the fingers are uncertain
_SIZE_DOUBT = 0.25  # standard deviation of the logarithm of an unknown hand's size, with the network's errors
_KNOWN_SIZE_DOUBT = 0.10  # the same once depth has told it
_LEAST_VOTES, _LEAST_SHARE = 12, 0.2  # of those that have depth, to agree on one distance
_VOTERS = 120
_CELLS = 24  # across the hand, in each of which the nearest skin is seen
_LAYER = 0.012  # metres behind the nearest skin of a cell that may still be seen beside it
_ROUNDS = 3
_PIXEL_ERROR = 0.06  # of an image point, as a part of the extent: what it weighs against depth


def depth_from_message(message: ImageMessage) -> FloatArray:
    """Metres `(H, W)` float32 of a depth image (REP 118): 16UC1 or mono16 in millimetres, 32FC1 in metres.

    Zeros, NaN and infinities stay as they are: nothing is known there.

    Raises:
        ImageError: for another encoding, or sizes that contradict each other.
    """
    kind = _KINDS.get(message.encoding)
    if kind is None:
        raise ImageError(
            f"expected a depth image with one of the encodings {', '.join(_KINDS)}, got "
            f"{message.encoding!r}; publish depth as REP 118 has it"
        )
    values = image_values(message, kind[0], 1)[:, :, 0]
    return np.ascontiguousarray(values, np.float32) * np.float32(kind[1])


@dataclass(frozen=True, eq=False)
class DepthFit:
    """Attributes:
    placement: the hand where depth has it.
    scale: distance by depth over distance without it: factor on the hand's size that explains both.
    """

    placement: Placement
    scale: float


def fit_depth(
    vertices: Array,
    joints: Array,
    image_points: Array,
    camera: Camera,
    depth: FloatArray,
    start: Placement,
    turn_prior: float | None,
    expected_scale: float = 1.0,
    is_size_known: bool = False,
) -> DepthFit | None:
    """Put a hand where the depth image has it.

    Args:
        vertices: `(V, 3)` relative to the wrist, metres, along the camera's axes, as the network says.
        joints: `(21, 3)` likewise.
        image_points: `(21, 2)` pixels.
        camera: intrinsics of the colour image.
        depth: `(H', W')` metres, registered to the colour image.
        start: where `place` puts the hand.
        turn_prior: as for `place`; None leaves the rotation as `start` has it.
        expected_scale: factor on the hand's size that is expected.
        is_size_known: that was learnt from depth before.

    Returns:
        None where too little depth lies on the hand, or depth that no hand of a believable size explains.
    """
    relative, skin = np.asarray(joints, np.float64), np.asarray(vertices, np.float64)
    points = np.asarray(image_points, np.float64)
    view = View(camera.normalise(points), camera.focal, float(np.ptp(points, axis=0).max()))
    turn, scale = start.turn, 1.0
    position: Array = np.asarray(start.position, np.float64)
    doubt = _KNOWN_SIZE_DOUBT if is_size_known else _SIZE_DOUBT
    expected = expected_scale * position[2]
    for round_number in range(_ROUNDS):
        if round_number < 2:  # by then the hand has all but found its place
            facing = _facing(scale * skin @ turn.T, position)
        seen = scale * skin[facing] @ turn.T
        known, measured = _read(depth, camera, seen + position)
        if len(known) < _LEAST_VOTES:
            return None
        seen = seen[known]
        doubts = _SKIN + _BEND * np.linalg.norm(seen, axis=1)
        wrist = _agreed(measured - seen[:, 2], doubts, expected, doubt)
        if wrist is None:
            return None
        # A hand that is as much nearer as it is smaller looks the same.
        change = wrist / position[2]
        position, scale = position * change, scale * change
        evidence = _Evidence(change * seen, measured, doubts)
        moved = _fit(scale * relative @ turn.T, evidence, view, turn, position, turn_prior)
        if moved is None:
            return None
        turn, position = moved
    placement = believable(position, turn, scale * relative @ turn.T, view)
    return None if placement is None else DepthFit(placement, scale)


def _read(depth: FloatArray, camera: Camera, points: Array) -> tuple[NDArray[np.intp], Array]:
    """Which of the points `(n, 3)` have depth in the image where they project to, and how much."""
    rows, columns = depth.shape
    cells = np.floor((camera.project(points) + 0.5) * (columns / camera.width, rows / camera.height))
    inside = np.flatnonzero((cells >= 0).all(1) & (cells < (columns, rows)).all(1))  # not where NaN
    x, y = cells[inside].astype(int).T
    measured = depth[y, x].astype(np.float64)
    with np.errstate(invalid="ignore"):
        known = (measured > 0) & (measured < np.inf)
    return inside[known], measured[known]


def _facing(skin: Array, position: Array) -> NDArray[np.intp]:
    """Rows of `skin` `(V, 3)` that the camera sees: the nearest in its part of the image, and those beside
    it; the nearer ones to the wrist, which say more about it, if they are many."""
    points = skin + position
    ratios = points[:, :2] / points[:, 2:]
    low = ratios.min(0)
    side = max(float((ratios.max(0) - low).max()), 1e-9) * 1.0001
    cells = ((ratios - low) * (_CELLS / side)).astype(int)
    cell = cells[:, 1] * _CELLS + cells[:, 0]
    nearest = np.full(_CELLS * _CELLS, np.inf)
    np.minimum.at(nearest, cell, skin[:, 2])
    front = np.flatnonzero(skin[:, 2] < nearest[cell] + _LAYER)
    if len(front) > _VOTERS:
        reach = np.linalg.norm(skin[front], axis=1)
        front = front[np.argpartition(reach, _VOTERS)[:_VOTERS]]
    return front


def _agreed(distances: Array, doubts: Array, expected: float, doubt: float) -> float | None:
    """The distance of the wrist on which most votes agree, near the one that its size makes us expect."""
    candidates = distances[:: max(1, len(distances) // 40)]
    apart = (distances[None] - candidates[:, None]) / doubts
    support = (np.exp(-0.5 * apart**2) / doubts).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        surprise = np.log(np.maximum(candidates, 1e-3) / expected) / doubt
    best = int(np.argmax(np.log(support) - 0.5 * surprise**2))
    wrist = float(candidates[best])
    if wrist <= 0 or abs(surprise[best]) > 3:
        return None
    for _ in range(2):
        weight = 1 / (1 + ((distances - wrist) / (2 * doubts)) ** 2) ** 2 / doubts**2
        wrist = float((weight * distances).sum() / weight.sum())
    agreeing = np.count_nonzero(np.abs(distances - wrist) < 2 * doubts)
    return wrist if agreeing >= max(_LEAST_VOTES, _LEAST_SHARE * len(distances)) else None


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Points of the skin `(n, 3)` relative to the wrist, metres measured there and doubts `(n,)`."""

    skin: Array
    measured: Array
    doubts: Array


def _fit(
    joints: Array, evidence: _Evidence, view: View, turn: Array, position: Array, turn_prior: float | None
) -> tuple[Array, Array] | None:
    """One step of turn and position towards the image points and the agreeing depth together."""
    matrix, right = view.equations(joints, position, 0.5)
    skin, doubts = evidence.skin, evidence.doubts
    residuals = position[2] + skin[:, 2] - evidence.measured
    # What is left of the doubt once the turn is fitted, too.
    noise = _SKIN + 0.2 * (doubts - _SKIN)
    weight = (_PIXEL_ERROR * view.extent / noise) ** 2 / (1 + (residuals / (2 * doubts)) ** 2) ** 2
    # Many neighbouring vertices are no more than the few independent things that may be wrong.
    weight *= min(1.0, len(joints) / len(skin))
    rows = np.zeros((len(skin), 6))
    rows[:, 0], rows[:, 1], rows[:, 5] = skin[:, 1], -skin[:, 0], 1
    weighted = rows * weight[:, None]
    matrix, right = matrix + weighted.T @ rows, right + weighted.T @ residuals
    if turn_prior is None:
        matrix[:3, :] = matrix[:, :3] = 0
        matrix[[0, 1, 2], [0, 1, 2]] = 1
        right[:3] = 0
    return step(matrix, right, turn, position, (turn_prior or 0.0) * view.extent)
