"""How far found hands are from true ones: errors of pairs, detection, identity and occlusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.evaluation.matching import IdentityMatcher
from h2onet_ros.bag.evaluation.scores import classification_scores, detection_scores, ratio
from h2onet_ros.hand.joints import FINGER_NAMES, OCCLUSION_NAMES
from h2onet_ros.hand.metrics import (
    auc_of_curve,
    distances,
    f_scores,
    mean_distance,
    pck_counts,
    procrustes_align,
)
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import Hand

OCCLUSION_LEVELS = {"none": (0, 0), "some": (1, 2), "many": (3, 5)}
"""Levels by the number of hidden fingers, first and last."""

ERROR_NAMES = (
    "mpjpe",
    "pa_mpjpe",
    "mpvpe",
    "pa_mpvpe",
    "wrist_error",
    "depth_error",
    "absolute_mpjpe",
    "error_2d",
    "f_5mm",
    "f_15mm",
    "pa_f_5mm",
    "pa_f_15mm",
)
"""Errors of a pair; metres, `error_2d` pixels, the F-scores 0 to 1."""


@dataclass(frozen=True, eq=False)
class PairErrors:
    """Errors of one found hand.

    Attributes:
        values: by `ERROR_NAMES`; NaN where it cannot be told, as of meshes of different topology.
        joint_distances, aligned_distances: `(21,)` metres, wrist on wrist and Procrustes-aligned.
    """

    values: dict[str, float]
    joint_distances: NDArray[np.float64]
    aligned_distances: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Match:
    """A found hand, a true one, or both; `errors` where both.

    Attributes:
        kind: "pair", "missed" (true, not found), "false" (found, not true), "empty" (an image with neither),
            "unknown" (the truth says nothing of the image).
    """

    kind: str
    found: Hand | None = None
    true: Hand | None = None
    errors: PairErrors | None = None


def true_points(hand: Hand, camera: Camera) -> NDArray[np.floating]:
    """Pixels `(21, 2)` of a true hand: as it says, or, where it does not, as its joints project."""
    points = hand.image_points
    if np.isfinite(points).all() and points.any():
        return points
    return camera.project(hand.joints)


def hidden_fingers(hand: Hand) -> int | None:
    """How many fingers of a true hand are hidden; None where that is not known."""
    fingers = hand.occlusion[: len(FINGER_NAMES)]
    return None if np.isnan(fingers).any() else int((fingers > 0.5).sum())


def pair_errors(found: Hand, true: Hand, points: NDArray[np.floating]) -> PairErrors:
    """The errors of a found hand, whose true pixels are `points (21, 2)`.

    MPJPE and MPVPE with the wrists laid on each other, "pa_" after Procrustes alignment (rotation, scale,
    translation), F-scores of the vertices likewise.
    """
    joints, true_joints = found.joints.astype(np.float64), true.joints.astype(np.float64)
    apart = distances(joints - joints[0], true_joints - true_joints[0])
    aligned = distances(procrustes_align(joints, true_joints), true_joints)
    values = dict.fromkeys(ERROR_NAMES, np.nan) | {
        "mpjpe": apart.mean(),
        "pa_mpjpe": aligned.mean(),
        "wrist_error": np.linalg.norm(joints[0] - true_joints[0]),
        "depth_error": abs(joints[0, 2] - true_joints[0, 2]),
        "absolute_mpjpe": mean_distance(joints, true_joints),
        "error_2d": np.linalg.norm(found.image_points - points, axis=-1).mean(),
    }
    if len(found.vertices) and len(true.vertices):
        vertices = found.vertices.astype(np.float64) - joints[0]
        true_vertices = true.vertices.astype(np.float64) - true_joints[0]
        values["f_5mm"], values["f_15mm"] = f_scores(vertices, true_vertices)
        # Another number of vertices is another mesh: its points have no counterparts.
        if len(vertices) == len(true_vertices):
            moved = procrustes_align(vertices, true_vertices)
            values["mpvpe"] = mean_distance(vertices, true_vertices)
            values["pa_mpvpe"] = mean_distance(moved, true_vertices)
            values["pa_f_5mm"], values["pa_f_15mm"] = f_scores(moved, true_vertices)
    return PairErrors({name: float(value) for name, value in values.items()}, apart, aligned)


class AccuracyMetrics:
    """Collects found and true hands image by image; its size does not grow with the recording."""

    def __init__(self) -> None:
        self._matcher = IdentityMatcher()
        self._images = 0
        self._images_without_truth = 0
        self._hands = self._found = self._false = self._same_side = 0
        self._errors = {name: _Errors() for name in ("all", *OCCLUSION_LEVELS)}
        self._occlusion = np.zeros((len(OCCLUSION_NAMES), 2, 2), np.int64)

    def add(self, found: Sequence[Hand], true: Sequence[Hand] | None, camera: Camera) -> list[Match]:
        """Take in the next image; None for `true` where the truth says nothing of it."""
        if true is None:
            self._images_without_truth += 1
            return [Match("unknown", hand) for hand in found] or [Match("unknown")]
        points = [true_points(hand, camera) for hand in true]
        pairs = {j: i for i, j in self._matcher.match(found, true, points)}
        self._images += 1
        self._hands += len(true)
        self._found += len(pairs)
        self._false += len(found) - len(pairs)
        matches = []
        for j, hand in enumerate(true):
            if j not in pairs:
                matches.append(Match("missed", None, hand))
                continue
            hit = found[pairs[j]]
            match = Match("pair", hit, hand, pair_errors(hit, hand, points[j]))
            self._count(match)
            matches.append(match)
        matches += [Match("false", hand) for i, hand in enumerate(found) if i not in pairs.values()]
        return matches or [Match("empty")]

    def summary(self) -> dict:
        """Everything as plain values; see `docs/architecture.md`."""
        return {
            "images": self._images,
            "images_without_truth": self._images_without_truth,
            "hands": self._hands,
            "detection": detection_scores(
                self._images,
                self._hands,
                self._found,
                self._false,
                self._same_side,
                self._matcher.id_switches,
            ),
            "errors": {name: errors.summary() for name, errors in self._errors.items()},
            "occlusion": self._occlusion_summary(),
        }

    def _count(self, match: Match) -> None:
        assert match.found and match.true and match.errors
        self._same_side += match.found.handedness == match.true.handedness
        self._errors["all"].add(match.errors)
        hidden = hidden_fingers(match.true)
        for name, (low, high) in OCCLUSION_LEVELS.items():
            if hidden is not None and low <= hidden <= high:
                self._errors[name].add(match.errors)
        known = ~np.isnan(match.found.occlusion) & ~np.isnan(match.true.occlusion)
        for part in np.flatnonzero(known):
            said, is_so = match.found.occlusion[part] > 0.5, match.true.occlusion[part] > 0.5
            self._occlusion[part, int(is_so), int(said)] += 1

    def _occlusion_summary(self) -> dict:
        counts = dict(zip(OCCLUSION_NAMES, self._occlusion, strict=True))
        counts["fingers"] = self._occlusion[: len(FINGER_NAMES)].sum(0)
        return {name: classification_scores(*np.ravel(table).tolist()) for name, table in counts.items()}


class _Errors:
    """Sums of the errors of pairs."""

    def __init__(self) -> None:
        self._hands = 0
        self._sums = np.zeros(len(ERROR_NAMES))
        self._counts = np.zeros(len(ERROR_NAMES), np.int64)
        self._pck = np.zeros((2, len(pck_counts(np.zeros(1)))), np.int64)
        self._joints = 0

    def add(self, errors: PairErrors) -> None:
        values = np.array([errors.values[name] for name in ERROR_NAMES])
        self._hands += 1
        self._sums += np.nan_to_num(values)
        self._counts += ~np.isnan(values)
        self._pck += np.stack([pck_counts(errors.joint_distances), pck_counts(errors.aligned_distances)])
        self._joints += len(errors.joint_distances)

    def summary(self) -> dict:
        means = {
            name: ratio(float(total), int(count))
            for name, total, count in zip(ERROR_NAMES, self._sums, self._counts, strict=True)
        }
        areas = [auc_of_curve(row / self._joints) if self._joints else None for row in self._pck]
        return {"hands": self._hands, **means, "auc": areas[0], "pa_auc": areas[1]}
