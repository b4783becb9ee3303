"""How large a hand is: what one camera cannot see, since a hand twice as large and far looks the same.

The network answers with the size that hands usually have. A depth camera, or a ruler, tells better.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from h2onet_ros.perception.types import FloatArray, FrameResult

MIN_SCALE, MAX_SCALE = 0.3, 3.0
"""Factors on the network's hands that are believed: from a small child's to a giant's."""
MIN_LENGTH, MAX_LENGTH = 0.05, 0.4
"""Lengths of a hand that are believed, metres."""

_MIDDLE_FINGER = [0, 9, 10, 11, 12]
_LARGEST_SPREAD = 0.15  # of the middle half of a calibration's frames


class CalibrationError(ValueError):
    """What was seen does not give the size of a hand. The message says what to do."""


def hand_length(joints: FloatArray) -> float:
    """Metres from the wrist along the bones to the tip of the middle finger, of joints `(21, 3)`.

    It does not depend on how the fingers are bent. On a flat hand a ruler from the middle of the wrist's
    crease to the fingertip shows the same.
    """
    return float(np.linalg.norm(np.diff(joints[_MIDDLE_FINGER], axis=0), axis=1).sum())


@dataclass(frozen=True)
class SizeEstimate:
    """Attributes:
    scale: factor on the network's hands, for `PipelineConfig.hand_scale`.
    spread: half the range of the middle half of the frames, as a part of the scale: the error of one frame.
    frames: how many were used.
    """

    scale: float
    spread: float
    frames: int


class SizeCalibration:
    """Finds the factor between the network's hands and a person's.

    Args:
        frames: how many sightings of a hand are enough.
        length: the hand's measured length in metres (see `hand_length`); None: from depth images.
    """

    def __init__(self, frames: int = 30, length: float | None = None) -> None:
        if frames < 1:
            raise ValueError(f"SizeCalibration: expected at least one frame, got {frames}")
        if length is not None and not MIN_LENGTH <= length <= MAX_LENGTH:
            raise CalibrationError(
                f"expected a hand length of {MIN_LENGTH} to {MAX_LENGTH} m from the wrist's crease to the "
                f"tip of the middle finger, got {length:g}; give metres"
            )
        self._wanted, self._length = frames, length
        self._scales: list[float] = []
        self._seen = 0

    def add(self, result: FrameResult) -> None:
        """Take the hands of one frame: one person's, as both may count."""
        for hand in result.hands:
            self._seen += 1
            scale = hand.depth_scale if self._length is None else self._length / hand.raw_length
            if math.isfinite(scale):
                self._scales.append(scale)

    @property
    def progress(self) -> float:
        """0 to 1."""
        return min(1.0, len(self._scales) / self._wanted)

    @property
    def is_done(self) -> bool:
        """Whether enough was seen."""
        return len(self._scales) >= self._wanted

    def estimate(self) -> SizeEstimate:
        """The median of what was seen so far.

        Raises:
            CalibrationError: too few sightings, sightings that disagree, or a size that no hand has.
        """
        if not self.is_done:
            if self._length is None and self._seen and not self._scales:
                reason = (
                    "none with usable depth; check that the depth image is registered to the colour image"
                )
            else:
                reason = "hold a hand, flat and open, before the camera for longer"
            raise CalibrationError(
                f"expected {self._wanted} sightings of a hand, got {len(self._scales)}: {reason}"
            )
        low, scale, high = np.percentile(self._scales, [25, 50, 75])
        spread = float(high - low) / 2 / float(scale)
        if spread > _LARGEST_SPREAD:
            raise CalibrationError(
                f"expected sightings that agree within {100 * _LARGEST_SPREAD:.0f} %, got "
                f"{100 * spread:.0f} %: show one person's hand only, flat, open and unhidden"
            )
        if not MIN_SCALE <= scale <= MAX_SCALE:
            raise CalibrationError(
                f"expected a factor of {MIN_SCALE} to {MAX_SCALE} on the usual hand, got {scale:.2f}; check "
                "the camera's calibration"
            )
        return SizeEstimate(float(scale), spread, len(self._scales))


class LearntLength:
    """The length of one hand as depth has told so far: it does not change, so its frames are averaged."""

    _KEPT = 60
    _USUAL_FRAMES = 3  # how many frames of depth the usual size counts as

    def __init__(self) -> None:
        self._logs: deque[float] = deque(maxlen=self._KEPT)

    def add(self, length: float) -> None:
        """Take one frame's length, metres."""
        self._logs.append(math.log(length))

    @property
    def is_known(self) -> bool:
        """Whether depth has told enough to doubt what contradicts it."""
        return len(self._logs) > self._USUAL_FRAMES

    def expected(self, raw_length: float, hand_scale: float) -> float:
        """The length to expect of a hand that the network says is `raw_length` metres long."""
        usual = math.log(raw_length * hand_scale)
        if not self._logs:
            return math.exp(usual)
        count = len(self._logs)
        learnt = float(np.median(self._logs))
        return math.exp((count * learnt + self._USUAL_FRAMES * usual) / (count + self._USUAL_FRAMES))
