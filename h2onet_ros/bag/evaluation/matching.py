"""Which found hand is which true hand, image by image: the matching of the CLEAR MOT metrics.

Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics", 2008: a
pair of the image before is kept as long as it is possible; the others are assigned at least cost in all
(Hungarian method).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from h2onet_ros.perception.types import Hand

LARGEST_DISTANCE = 0.5
"""Mean distance of the joints in the image, over the longer side of the true hand's box, up to which a found
hand may be a true one."""


def relative_distance(found: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """Mean distance of image points `(21, 2)` over the longer side of the true points' box; inf for NaN."""
    size = float(np.ptp(true, axis=0).max())
    distance = float(np.linalg.norm(found - true, axis=-1).mean())
    return distance / size if size > 0 and np.isfinite(distance) else np.inf


class IdentityMatcher:
    """Pairs found with true hands through a recording.

    Attributes:
        id_switches: how often a true hand was found under another track id than before.
    """

    def __init__(self) -> None:
        self.id_switches = 0
        self._last: dict[int, int] = {}

    def match(
        self, found: Sequence[Hand], true: Sequence[Hand], true_points: Sequence[NDArray[np.floating]]
    ) -> list[tuple[int, int]]:
        """Pairs (index in `found`, index in `true`) of one image, in the order of `true`.

        Args:
            found: what the pipeline found.
            true: the true hands; `track_id` is their identity.
            true_points: `(21, 2)` pixels of each true hand.
        """
        cost = np.full((len(found), len(true)), np.inf)
        for i, hand in enumerate(found):
            for j, points in enumerate(true_points):
                cost[i, j] = relative_distance(hand.image_points, points)
        possible = cost <= LARGEST_DISTANCE
        pairs = self._kept(found, true, possible)
        free_found = [i for i in range(len(found)) if i not in {pair[0] for pair in pairs}]
        free_true = [j for j in range(len(true)) if j not in {pair[1] for pair in pairs}]
        if free_found and free_true:
            part = np.ix_(free_found, free_true)
            # Dear rather than infinite: as many possible pairs as there can be, then the cheapest ones.
            rows, columns = linear_sum_assignment(np.where(possible[part], cost[part], 1e6))
            chosen = [(free_found[r], free_true[c]) for r, c in zip(rows, columns, strict=True)]
            pairs += [pair for pair in chosen if possible[pair]]
        for i, j in pairs:
            identity, track = true[j].track_id, found[i].track_id
            self.id_switches += self._last.get(identity, track) != track
            self._last[identity] = track
        return sorted(pairs, key=lambda pair: pair[1])

    def _kept(
        self, found: Sequence[Hand], true: Sequence[Hand], possible: NDArray[np.bool_]
    ) -> list[tuple[int, int]]:
        place = {hand.track_id: i for i, hand in enumerate(found)}
        pairs: list[tuple[int, int]] = []
        for j, hand in enumerate(true):
            i = place.get(self._last.get(hand.track_id, -1))
            if i is not None and possible[i, j] and i not in {pair[0] for pair in pairs}:
                pairs.append((i, j))
        return pairs
