"""How good a stream of hands is, told without ground truth: found, kept, steady, consistent."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.units import SECOND
from h2onet_ros.hand.joints import OCCLUSION_NAMES, SKELETON
from h2onet_ros.perception.types import FrameResult

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
        missed: images between its first and last one in which it was not.
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
    seconds: float
    bone_length_variation: float | None
    jitter_at_rest: float | None
    reprojection_error_median: float
    reprojection_error_p95: float
    occluded: dict[str, float | None]


@dataclass
class _Track:
    stamps: list[int] = field(default_factory=list)
    image_numbers: list[int] = field(default_factory=list)
    handedness: list[str] = field(default_factory=list)
    joints: list[NDArray[np.float32]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    occlusion: list[NDArray[np.float32]] = field(default_factory=list)


class StabilityMetrics:
    """Collects the results of a recording image by image.

    Attributes:
        images: how many so far.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = defaultdict(_Track)
        self.images = 0
        self._with_hands = 0
        self._hands = 0

    def add(self, result: FrameResult) -> None:
        """Take in the result of the next image."""
        for hand in result.hands:
            track = self._tracks[hand.track_id]
            track.stamps.append(result.stamp)
            track.image_numbers.append(self.images)
            track.handedness.append(hand.handedness)
            track.joints.append(hand.joints)
            track.errors.append(float(hand.reprojection_error))
            track.occlusion.append(hand.occlusion)
        self.images += 1
        self._hands += len(result.hands)
        self._with_hands += bool(result.hands)

    def summary(self) -> dict:
        """Everything as plain values, the same for the same results."""
        tracks = [_measure(identity, track) for identity, track in sorted(self._tracks.items())]
        return {
            "images": self.images,
            "images_with_hands": self._with_hands,
            "coverage": self._with_hands / self.images if self.images else None,
            "hands": self._hands,
            "tracks": [asdict(track) for track in tracks],
        }


def bone_length_variation(joints: NDArray[np.floating]) -> float | None:
    """Standard deviation over mean of a bone's length in `(T, 21, 3)`, mean of all bones; None for T < 2."""
    if len(joints) < 2:
        return None
    lengths = np.linalg.norm(joints[:, SKELETON[:, 0]] - joints[:, SKELETON[:, 1]], axis=-1)
    mean = lengths.mean(0)
    if not (mean > 0).all():
        return None
    return float((lengths.std(0) / mean).mean())


def jitter_at_rest(joints: NDArray[np.floating], image_numbers: NDArray[np.integer]) -> float | None:
    """Metres; see `TrackMetrics.jitter_at_rest`.

    Args:
        joints: `(T, 21, 3)` metres.
        image_numbers: `(T,)`; only three images in a row say something.
    """
    steps = np.diff(joints, axis=0)
    in_row = np.diff(image_numbers) == 1
    if len(steps) < _WINDOW + 1:
        return None
    deviation = np.linalg.norm(np.diff(steps, axis=0), axis=-1).mean(-1) / 2
    # Movement over several images: noise of single ones cancels out.
    kernel = np.ones(_WINDOW) / _WINDOW
    smooth = np.apply_along_axis(np.convolve, 0, steps, kernel, "same")
    speed = np.linalg.norm(smooth, axis=-1).mean(-1)
    speed = np.maximum(speed[:-1], speed[1:])
    is_valid = in_row[:-1] & in_row[1:]
    if is_valid.sum() < _WINDOW:
        return None
    deviation, speed = deviation[is_valid], speed[is_valid]
    slowest = np.argsort(speed, kind="stable")[: max(1, round(REST_SHARE * len(speed)))]
    return float(np.median(deviation[slowest]))


def _measure(identity: int, track: _Track) -> TrackMetrics:
    joints = np.stack(track.joints).astype(np.float64)
    numbers = np.array(track.image_numbers)
    occlusion = np.stack(track.occlusion)
    occluded = np.mean(occlusion > 0.5, axis=0)
    changes = sum(a != b for a, b in zip(track.handedness, track.handedness[1:]))
    return TrackMetrics(
        track_id=identity,
        handedness=max(("left", "right"), key=track.handedness.count),
        handedness_changes=changes,
        images=len(numbers),
        missed=int(numbers[-1] - numbers[0] + 1 - len(numbers)),
        seconds=(track.stamps[-1] - track.stamps[0]) / SECOND,
        bone_length_variation=bone_length_variation(joints),
        jitter_at_rest=jitter_at_rest(joints, numbers),
        reprojection_error_median=float(np.median(track.errors)),
        reprojection_error_p95=float(np.percentile(track.errors, 95)),
        occluded={
            name: None if np.isnan(column).any() else float(share)
            for name, share, column in zip(OCCLUSION_NAMES, occluded, occlusion.T)
        },
    )
