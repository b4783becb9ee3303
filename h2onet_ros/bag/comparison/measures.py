"""What is compared: each measure as sums over images, so that images can be drawn again at will."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.comparison.pairing import Pairing, image_points, joints
from h2onet_ros.bag.comparison.runs import Run
from h2onet_ros.bag.evaluation.accuracy import ERROR_NAMES
from h2onet_ros.bag.evaluation.plots import Table
from h2onet_ros.bag.figures import FIGURES, Figure
from h2onet_ros.hand.joints import FINGER_NAMES, SKELETON

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measure:
    """A number of each run that sums over images give.

    Attributes:
        figure: title, unit, which way is better.
        sums_a, sums_b: `(N, k)` of each image.
        combine: from sums `(..., k)` to the number `(...)`.
        of: what it is a mean of, for people.
    """

    figure: Figure
    sums_a: Array
    sums_b: Array
    combine: Callable[[Array], Array]
    of: str


def measures(a: Run, b: Run, pairing: Pairing) -> list[Measure]:
    """All that can be told of the two runs."""
    found = _whole_images(a, b, pairing)
    return [*found, *_pairs(a, b, pairing)]


def disagreement(a: Run, b: Run, pairing: Pairing) -> dict[str, float | None]:
    """How far apart the two runs have the hands that both found: means over them, None without any.

    `joints` metres, wrist on wrist; `wrist` metres; `image_points` pixels; `sides` the share with another
    handedness.
    """
    if not len(pairing.rows_a):
        return dict.fromkeys(("joints", "wrist", "image_points", "sides"))
    joints_a, joints_b = joints(a.table, pairing.rows_a), joints(b.table, pairing.rows_b)
    shape = (joints_a - joints_a[:, :1]) - (joints_b - joints_b[:, :1])
    points = image_points(a.table, pairing.rows_a) - image_points(b.table, pairing.rows_b)
    sides = a.table["handedness"][pairing.rows_a] != b.table["handedness"][pairing.rows_b]
    return {
        "joints": float(np.linalg.norm(shape, axis=-1).mean()),
        "wrist": float(np.linalg.norm(joints_a[:, 0] - joints_b[:, 0], axis=-1).mean()),
        "image_points": float(np.linalg.norm(points, axis=-1).mean()),
        "sides": float(sides.mean()),
    }


def _ratio(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def _f1(sums: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


def _whole_images(a: Run, b: Run, pairing: Pairing) -> list[Measure]:
    tables = ((a.table, pairing.image_a), (b.table, pairing.image_b))
    count = len(pairing.stamps)
    by_name = {one.name: one for one in FIGURES}

    def per_image(select: Callable[[Table], NDArray[np.bool_]]) -> list[Array]:
        sums = []
        for table, image in tables:
            rows = (image >= 0) & select(table)
            sums.append(np.bincount(image[rows], minlength=count).astype(float))
        return sums

    def measure(name: str, parts: list[list[Array]], combine: Callable[[Array], Array], of: str) -> Measure:
        sums = [np.stack([part[run] for part in parts], -1) for run in (0, 1)]
        return Measure(by_name[name], sums[0], sums[1], combine, of)

    hands = per_image(lambda table: table["track_id"] >= 0)
    with_hand = [np.minimum(part, 1.0) for part in hands]
    every = [np.ones(count)] * 2
    result = [measure("coverage", [with_hand, every], _ratio, "images")]
    if not pairing.has_truth:
        return result
    pairs = per_image(lambda table: table["match"] == "pair")
    true = per_image(lambda table: (table["match"] == "pair") | (table["match"] == "missed"))
    false = per_image(lambda table: table["match"] == "false")
    known = [np.minimum(part, 1.0) for part in per_image(lambda table: table["match"] != "unknown")]
    detected = [p + f for p, f in zip(pairs, false)]
    switches = [_switches(table, image, count) for table, image in tables]
    same_side = per_image(
        lambda table: (table["match"] == "pair") & (table["handedness"] == table["truth_handedness"])
    )
    detection = "accuracy.detection"
    result += [
        measure(f"{detection}.recall", [pairs, true], _ratio, "true hands"),
        measure(f"{detection}.precision", [pairs, detected], _ratio, "found hands"),
        measure(f"{detection}.false_per_image", [false, known], _ratio, "images"),
        measure(f"{detection}.handedness_accuracy", [same_side, pairs], _ratio, "hands found"),
        measure(f"{detection}.id_switches", [switches], lambda sums: sums[..., 0], "all images"),
    ]
    counts = [_occlusion_counts(table, image, count) for table, image in tables]
    if any(part.any() for part in counts):
        of = "fingers of the hands found"
        result.append(Measure(by_name["accuracy.occlusion.fingers.f1"], counts[0], counts[1], _f1, of))
    return result


def _pairs(a: Run, b: Run, pairing: Pairing) -> list[Measure]:
    """Means over the hands that both runs found: others cannot be compared fairly."""
    count, images = len(pairing.stamps), pairing.images

    def mean(figure: Figure, values_a: Array, values_b: Array) -> list[Measure]:
        known = ~(np.isnan(values_a) | np.isnan(values_b))
        if not known.any():
            return []
        number = np.bincount(images[known], minlength=count).astype(float)
        sums = [
            np.stack([np.bincount(images[known], values[known], minlength=count).astype(float), number], -1)
            for values in (values_a, values_b)
        ]
        return [Measure(figure, sums[0], sums[1], _ratio, f"{int(number.sum())} hands found by both")]

    found: list[Measure] = []
    rows = ((a.table, pairing.rows_a), (b.table, pairing.rows_b))
    if pairing.has_truth:
        for figure in FIGURES:
            if figure.path[:3] == ("accuracy", "errors", "all") and figure.path[3] in ERROR_NAMES:
                found += mean(figure, *(table[figure.path[3]][of].astype(float) for table, of in rows))
        hard = a.table["truth_hidden_fingers"][pairing.rows_a] >= 3
        figure = next(one for one in FIGURES if one.path[2:] == ("many", "mpjpe"))
        found += mean(figure, *(np.where(hard, table["mpjpe"][of], np.nan) for table, of in rows))
    found += mean(_REPROJECTION, *(table["reprojection_error"][of].astype(float) for table, of in rows))
    found += mean(_JITTER, *(_unsteadiness(table)[of] for table, of in rows))
    found += mean(_BONES, *(_bone_deviation(table)[of] for table, of in rows))
    return found


_REPROJECTION = Figure(("reprojection_error",), "reprojection error", "px", 1.0, -1, 2)
_JITTER = Figure(("unsteadiness",), "unevenness of movement", "mm", 1000.0, -1, 2)
_BONES = Figure(("bone_deviation",), "bone lengths off their mean by", "%", 100.0, -1, 2)


def _switches(table: Table, image: NDArray[np.int64], count: int) -> Array:
    """How many true hands appear in each image under another track id than before."""
    found = np.zeros(count)
    last: dict[int, int] = {}
    rows = np.flatnonzero((image >= 0) & (table["match"] == "pair"))
    for row in rows[np.argsort(image[rows], kind="stable")]:
        identity, track = int(table["truth_id"][row]), int(table["track_id"][row])
        found[image[row]] += last.get(identity, track) != track
        last[identity] = track
    return found


def _occlusion_counts(table: Table, image: NDArray[np.int64], count: int) -> Array:
    """`(N, 3)` fingers rightly, wrongly and not said to be hidden."""
    counts = np.zeros((count, 3))
    for name in FINGER_NAMES:
        said, true = table[f"occlusion_{name}"], table[f"truth_occlusion_{name}"]
        known = (image >= 0) & (table["match"] == "pair") & ~np.isnan(said) & ~np.isnan(true)
        is_said, is_so = said > 0.5, true > 0.5
        for column, rows in enumerate((is_said & is_so, is_said & ~is_so, ~is_said & is_so)):
            counts[:, column] += np.bincount(image[rows & known], minlength=count)
    return counts


def _tracks(table: Table) -> list[NDArray[np.int64]]:
    """Rows of each track in order of time."""
    ids = [track for track in np.unique(table["track_id"]) if track >= 0]
    return [np.flatnonzero(table["track_id"] == track) for track in ids]


def _unsteadiness(table: Table) -> Array:
    """Metres, a number a row: how far joints are from the middle between the image before and the one after.

    NaN where one of these lacks the hand.
    """
    values = np.full(len(table["track_id"]), np.nan)
    step = np.diff(np.unique(table["image"])).min(initial=1 << 62)
    for rows in _tracks(table):
        where, numbers = joints(table, rows), table["image"][rows]
        if len(rows) < 3:
            continue
        deviation = np.linalg.norm(where[1:-1] - (where[:-2] + where[2:]) / 2, axis=-1).mean(-1)
        in_row = (np.diff(numbers)[:-1] == step) & (np.diff(numbers)[1:] == step)
        values[rows[1:-1]] = np.where(in_row, deviation, np.nan)
    return values


def _bone_deviation(table: Table) -> Array:
    """A number a row: mean distance of the bones' lengths from the track's mean length, over that."""
    values = np.full(len(table["track_id"]), np.nan)
    for rows in _tracks(table):
        where = joints(table, rows)
        lengths = np.linalg.norm(where[:, SKELETON[:, 0]] - where[:, SKELETON[:, 1]], axis=-1)
        mean = np.maximum(lengths.mean(0), 1e-9)
        values[rows] = (np.abs(lengths - mean) / mean).mean(-1)
    return values
