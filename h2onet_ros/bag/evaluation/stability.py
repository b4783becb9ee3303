"""How good a stream of hands is, told without ground truth: found, kept, steady, consistent."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.units import SECOND
from h2onet_ros.hand.joints import OCCLUSION_NAMES, SKELETON
from h2onet_ros.perception.types import FrameResult, Hand

REST_SHARE = 0.25
"""The share of a track's images, those with the slowest hand, that count as rest."""
_WINDOW = 5
"""Images over which speed is averaged, so that noise alone does not look like movement."""


@dataclass(frozen=True)
class TrackMetrics:
    """One hand that was followed; None where it was followed too shortly to tell.

    Attributes:
        track_id: its identity.
        handedness: what most images say.
        handedness_changes: how often that changed from one image to the next.
        images: images it was found in.
        missed: images between its first and last one in which it was not, in `gaps` gaps.
        gaps: how often it was lost and found again.
        longest_gap: seconds from the last image before to the first after the longest gap; 0 without one.
        seconds: from the first to the last.
        bone_length_variation: standard deviation over mean of a bone's length in time, mean of the bones.
        jitter_at_rest: metres; mean over joints of how far a joint is from the middle of where it was one
            image before and one after, median over the quarter of the images in which the hand moves least.
        reprojection_error_median, reprojection_error_p95: pixels.
        occluded: share of the images in which each finger, and the whole hand, is said to be hidden; None
            where the weights do not tell.
    """

    track_id: int
    handedness: str
    handedness_changes: int
    images: int
    missed: int
    gaps: int
    longest_gap: float
    seconds: float
    bone_length_variation: float | None
    jitter_at_rest: float | None
    reprojection_error_median: float
    reprojection_error_p95: float
    occluded: dict[str, float | None]


class StabilityMetrics:
    """Collects the results of a recording image by image: a few numbers a hand, no meshes.

    Attributes:
        images: how many so far.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self.images = 0
        self._with_hands = 0
        self._hands = 0

    def add(self, result: FrameResult) -> None:
        """Take in the result of the next image."""
        for hand in result.hands:
            if hand.track_id not in self._tracks:
                self._tracks[hand.track_id] = _Track(hand, self.images, result.stamp)
            self._tracks[hand.track_id].add(hand, self.images, result.stamp)
        self.images += 1
        self._hands += len(result.hands)
        self._with_hands += bool(result.hands)

    def summary(self) -> dict:
        """Everything as plain values, the same for the same results."""
        tracks = [track.metrics() for _, track in sorted(self._tracks.items())]
        return {
            "images": self.images,
            "images_with_hands": self._with_hands,
            "coverage": self._with_hands / self.images if self.images else None,
            "hands": self._hands,
            "tracks": [asdict(track) for track in tracks],
            "stability": {name: _mean(tracks, name) for name in _STABILITY},
        }


_STABILITY = (
    "bone_length_variation",
    "jitter_at_rest",
    "reprojection_error_median",
    "reprojection_error_p95",
)


def _mean(tracks: list[TrackMetrics], name: str) -> float | None:
    """Mean over the tracks that have the figure, weighted by their images."""
    known = [track for track in tracks if getattr(track, name) is not None]
    if not known:
        return None
    return float(
        np.average([getattr(track, name) for track in known], weights=[track.images for track in known])
    )


class _Track:
    """Running figures of one hand."""

    def __init__(self, hand: Hand, image: int, stamp: int) -> None:
        self._first = self._last = image
        self._first_stamp = self._last_stamp = stamp
        self._track_id = hand.track_id
        self._sides = {"left": 0, "right": 0}
        self._side = hand.handedness
        self._changes = self._images = self._gaps = 0
        self._longest_gap = 0
        self._bones = _BoneLengths()
        self._rest = _Rest()
        self._errors = array("f")
        self._hidden = np.zeros(len(OCCLUSION_NAMES), np.int64)
        self._is_known = np.ones(len(OCCLUSION_NAMES), bool)

    def add(self, hand: Hand, image: int, stamp: int) -> None:
        if image > self._last + 1:
            self._gaps += 1
            self._longest_gap = max(self._longest_gap, stamp - self._last_stamp)
        self._changes += hand.handedness != self._side
        self._sides[hand.handedness] += 1
        self._side, self._last, self._last_stamp = hand.handedness, image, stamp
        self._images += 1
        joints = hand.joints.astype(np.float64)
        self._bones.add(joints)
        self._rest.add(joints, image)
        self._errors.append(hand.reprojection_error)
        self._is_known &= ~np.isnan(hand.occlusion)
        self._hidden += np.nan_to_num(hand.occlusion) > 0.5

    def metrics(self) -> TrackMetrics:
        shares = self._hidden / self._images
        return TrackMetrics(
            track_id=self._track_id,
            handedness=max(("left", "right"), key=lambda side: self._sides[side]),
            handedness_changes=self._changes,
            images=self._images,
            missed=self._last - self._first + 1 - self._images,
            gaps=self._gaps,
            longest_gap=self._longest_gap / SECOND,
            seconds=(self._last_stamp - self._first_stamp) / SECOND,
            bone_length_variation=self._bones.variation(),
            jitter_at_rest=self._rest.jitter(),
            reprojection_error_median=float(np.median(self._errors)),
            reprojection_error_p95=float(np.percentile(self._errors, 95)),
            occluded={
                name: float(share) if is_known else None
                for name, share, is_known in zip(OCCLUSION_NAMES, shares, self._is_known, strict=True)
            },
        )


class _BoneLengths:
    """Mean and variance of each bone's length (Welford's sums)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = np.zeros(len(SKELETON))
        self._squares = np.zeros(len(SKELETON))

    def add(self, joints: NDArray[np.float64]) -> None:
        lengths = np.linalg.norm(joints[SKELETON[:, 0]] - joints[SKELETON[:, 1]], axis=-1)
        self._count += 1
        step = lengths - self._mean
        self._mean += step / self._count
        self._squares += step * (lengths - self._mean)

    def variation(self) -> float | None:
        if self._count < 2 or not (self._mean > 0).all():
            return None
        return float((np.sqrt(self._squares / self._count) / self._mean).mean())


class _Rest:
    """Deviation from even movement, and speed, of every image that has enough neighbours."""

    def __init__(self) -> None:
        self._joints: deque[NDArray[np.float64]] = deque(maxlen=_WINDOW + 2)
        self._last = -1
        self._deviations = array("d")
        self._speeds = array("d")

    def add(self, joints: NDArray[np.float64], image: int) -> None:
        if image != self._last + 1:
            self._joints.clear()
        self._last = image
        self._joints.append(joints)
        if len(self._joints) < _WINDOW + 2:
            return
        row, middle = self._joints, (_WINDOW + 1) // 2
        deviation = row[middle] - (row[middle - 1] + row[middle + 1]) / 2
        # Steps over several images: noise of single ones cancels out.
        speeds = [np.linalg.norm(row[i + _WINDOW] - row[i], axis=-1).mean() / _WINDOW for i in (0, 1)]
        self._deviations.append(np.linalg.norm(deviation, axis=-1).mean())
        self._speeds.append(max(speeds))

    def jitter(self) -> float | None:
        """Metres; see `TrackMetrics.jitter_at_rest`."""
        if len(self._speeds) < _WINDOW:
            return None
        slowest = np.argsort(self._speeds, kind="stable")[: max(1, round(REST_SHARE * len(self._speeds)))]
        return float(np.median(np.array(self._deviations)[slowest]))
