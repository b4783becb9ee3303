"""The same images and the same hands in two evaluations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from h2onet_ros.bag.comparison.runs import Run
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.matching import LARGEST_DISTANCE, relative_distance
from h2onet_ros.bag.evaluation.plots import Table
from h2onet_ros.hand.joints import JOINT_NAMES

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Pairing:
    """Images by their stamps, hands by their true identity or, without truth, by their place in the image.

    Attributes:
        stamps: `(N,)` nanoseconds, of the images in both evaluations.
        times: `(N,)` seconds since the first image.
        image_a, image_b: for each row of the tables the index into `stamps`, -1 for other images.
        rows_a, rows_b: `(P,)` rows of the hands found in both.
        only_a, only_b: images in one evaluation alone.
        has_truth: hands were paired by it.
    """

    stamps: NDArray[np.int64]
    times: NDArray[np.float64]
    image_a: Rows
    image_b: Rows
    rows_a: Rows
    rows_b: Rows
    only_a: int
    only_b: int
    has_truth: bool

    @property
    def images(self) -> NDArray[np.int64]:
        """`(P,)` the image of each pair."""
        return self.image_a[self.rows_a]


def pair(a: Run, b: Run) -> Pairing:
    """Find what belongs together.

    Raises:
        BagError: where no image is in both.
    """
    stamps_a, stamps_b = np.unique(a.table["stamp"]), np.unique(b.table["stamp"])
    stamps = np.intersect1d(stamps_a, stamps_b)
    if not len(stamps):
        raise BagError(
            f"No image is in both evaluations: {_range(stamps_a)} in {a.folder}, {_range(stamps_b)} in "
            f"{b.folder}. Evaluate the same part of the recording."
        )
    image_a, image_b = _places(a.table["stamp"], stamps), _places(b.table["stamp"], stamps)
    has_truth = a.has_truth and b.has_truth
    find = _by_truth if has_truth else pair_by_place
    rows_a, rows_b = find(a.table, b.table, image_a, image_b)
    times = np.zeros(len(stamps))
    times[image_a[image_a >= 0]] = a.table["time"][image_a >= 0]
    only = (len(stamps_a) - len(stamps), len(stamps_b) - len(stamps))
    return Pairing(stamps, times, image_a, image_b, rows_a, rows_b, *only, has_truth)


def joints(table: Table, rows: Rows) -> NDArray[np.float64]:
    """`(P, 21, 3)` metres."""
    columns = [table[f"joint_{name}_{axis}"][rows] for name in JOINT_NAMES for axis in "xyz"]
    return np.stack(columns, -1).reshape(-1, len(JOINT_NAMES), 3).astype(np.float64)


def image_points(table: Table, rows: Rows) -> NDArray[np.float64]:
    """`(P, 21, 2)` pixels."""
    columns = [table[f"point_{name}_{axis}"][rows] for name in JOINT_NAMES for axis in "xy"]
    return np.stack(columns, -1).reshape(-1, len(JOINT_NAMES), 2).astype(np.float64)


def _by_truth(a: Table, b: Table, image_a: Rows, image_b: Rows) -> tuple[Rows, Rows]:
    rows = []
    for table, image in ((a, image_a), (b, image_b)):
        found = np.flatnonzero((image >= 0) & (table["match"] == "pair"))
        rows.append({(int(image[row]), int(table["truth_id"][row])): int(row) for row in found})
    both = sorted(rows[0].keys() & rows[1].keys())
    return np.array([rows[0][key] for key in both], np.int64), np.array(
        [rows[1][key] for key in both], np.int64
    )


def pair_by_place(a: Table, b: Table, image_a: Rows, image_b: Rows) -> tuple[Rows, Rows]:
    """Rows `(P,)` and `(P,)` of the hands at the same place of the same image.

    At least distance in all, image by image; hands too far apart are not the same. `image_a` and `image_b`
    are those of a `Pairing`.
    """
    groups = [_groups(table, image) for table, image in ((a, image_a), (b, image_b))]
    pairs: list[tuple[int, int]] = []
    for image in sorted(groups[0].keys() & groups[1].keys()):
        rows_a, rows_b = groups[0][image], groups[1][image]
        points_a, points_b = image_points(a, rows_a), image_points(b, rows_b)
        cost = np.array([[relative_distance(p, q) for q in points_b] for p in points_a])
        chosen = zip(*linear_sum_assignment(np.where(cost <= LARGEST_DISTANCE, cost, 1e6)), strict=True)
        pairs += [(int(rows_a[i]), int(rows_b[j])) for i, j in chosen if cost[i, j] <= LARGEST_DISTANCE]
    array = np.array(pairs, np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _groups(table: Table, image: Rows) -> dict[int, Rows]:
    rows = np.flatnonzero((image >= 0) & (table["track_id"] >= 0))
    rows = rows[np.argsort(image[rows], kind="stable")]
    images, starts = np.unique(image[rows], return_index=True)
    return dict(zip(images.tolist(), np.split(rows, starts[1:]), strict=True)) if len(rows) else {}


def _places(values: NDArray[np.int64], among: NDArray[np.int64]) -> Rows:
    place = np.minimum(np.searchsorted(among, values), len(among) - 1)
    return np.where(among[place] == values, place, -1)


def _range(stamps: NDArray[np.int64]) -> str:
    if not len(stamps):
        return "none"
    return f"{len(stamps)} with the stamps {stamps[0] * 1e-9:.3f} to {stamps[-1] * 1e-9:.3f} s"
