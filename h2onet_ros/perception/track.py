"""One hand that is being followed: where, which side, how surely."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from h2onet_ros.perception.crop import calmed_region
from h2onet_ros.perception.types import FloatArray, Handedness, Region

# Evidence for left or right is summed as log-odds. Neighbouring frames err alike: one says at most 1.5,
# near-ties say nothing, and all together say at most 6. A hand that was clearly right for long changes sides
# after six clear frames, and changing needs more than a tie.
_FRAME_LOG_ODDS = 1.5
_TIE_LOG_ODDS = 0.4
_TOTAL_LOG_ODDS = 6.0
_SWITCH_LOG_ODDS = 2.0

_DOUBTFUL_SIZE = 1.6  # ratio to the usual size: the hand has made a fist, or the region is running away
_CUT = 0.9  # least visible part of a region that counts as inside the image
_UNUSUAL_SIZE = 1.3  # the same: somebody should look whether it is still a hand
_USUAL_GAIN = 0.1
_VELOCITY_TIME = 0.1  # seconds over which velocity is averaged
_LONGEST_PREDICTION = 0.25  # seconds
_CALM = 0.3  # share of small movements that the region follows
_SETTLING = 6  # good frames in which the region of a new hand finds its place, before it is calmed


@dataclass(eq=False)
class Track:
    """A hand that is being followed. Written by Tracker only.

    Attributes:
        track_id: positive, unique, increasing.
        region: where to look in the next frame.
        presence, right: the last frame's probabilities that the region shows a hand, and a right one.
        is_rough: the region comes from a palm, not from the hand's own points.
        points: the last `(21, 2)` image points, or None before the first.
        usual_size: average of the region's size in the last frames, pixels.
        age: good frames so far.
        misses: bad frames since the last good one.
        mismatches: palms of another size found here in a row.
        switched: the handedness changed in this frame, so what was computed with the other one is void.
        velocity: `(2,)` of the region's centre, pixels per second.
    """

    track_id: int
    region: Region
    presence: float
    right: float
    last_seen: int
    is_rough: bool = True
    points: FloatArray | None = None
    usual_size: float = 1.0
    age: int = 0
    misses: int = 0
    mismatches: int = 0
    switched: bool = False
    velocity: tuple[float, float] = (0.0, 0.0)
    _log_odds: float = 0.0
    _is_right: bool = field(default=True)

    @property
    def handedness(self) -> Handedness:
        return "right" if self._is_right else "left"

    @property
    def handedness_score(self) -> float:
        """Confidence in `handedness`, 0 to 1; below one half only while the evidence is turning."""
        towards = self._log_odds if self._is_right else -self._log_odds
        return float(1 / (1 + np.exp(-towards)))

    @property
    def is_new(self) -> bool:
        """No frame of this hand has been good yet."""
        return self.age == 0

    @property
    def is_doubtful(self) -> bool:
        """The hand was missed, or the region may be wrong, so that the palm detector should have a look."""
        return self._has_size_beyond(_DOUBTFUL_SIZE) or self.misses > 0 or self.mismatches > 0

    def is_suspicious(self, width: int, height: int) -> bool:
        """The region is at the border of the image of this size, or not as large as it was: what is in it
        may be no hand any more, whatever its points look like."""
        return self._has_size_beyond(_UNUSUAL_SIZE) or self.region.visible_fraction(width, height) < _CUT

    def _has_size_beyond(self, ratio: float) -> bool:
        return not self.is_new and size_ratio(self.region.size, self.usual_size) > ratio

    def predicted(self, stamp: int) -> Region:
        """Where the hand should be at `stamp` (ns) if it moves on as it did."""
        seconds = min(max(stamp - self.last_seen, 0) * 1e-9, _LONGEST_PREDICTION)
        x, y = self.velocity
        return replace(self.region, x=self.region.x + x * seconds, y=self.region.y + y * seconds)

    def follow(self, region: Region, points: FloatArray, stamp: int, is_among_others: bool) -> None:
        """The hand was seen at `stamp` (ns), with these points `(21, 2)` and the region about them.

        `is_among_others`: another hand is near, and the region may have strayed there, so that it says
        nothing about the hand's usual size and velocity.
        """
        before = self.region
        if self.is_rough:
            self.region, self.usual_size, self.is_rough = region, region.size, False
        else:
            self.region = calmed_region(before, region, 1.0 if self.age < _SETTLING else _CALM)
            seconds = (stamp - self.last_seen) * 1e-9
            if not is_among_others:
                self.usual_size *= (self.region.size / self.usual_size) ** _USUAL_GAIN
            if seconds > 0 and not is_among_others:
                gain = min(1.0, seconds / _VELOCITY_TIME)
                moved = (self.region.x - before.x) / seconds, (self.region.y - before.y) / seconds
                self.velocity = (
                    self.velocity[0] + gain * (moved[0] - self.velocity[0]),
                    self.velocity[1] + gain * (moved[1] - self.velocity[1]),
                )
        self.points = points
        self.misses = 0
        self.age += 1
        self.last_seen = stamp

    def move(self, region: Region) -> None:
        """Look for the hand somewhere else: where a palm was found."""
        self.region, self.is_rough, self.mismatches = region, True, 0

    def lean(self, log_odds: float) -> None:
        """Expect a right hand (positive) or a left one before anything is known."""
        self._log_odds, self._is_right = log_odds, log_odds >= 0

    def weigh_handedness(self, right: float) -> None:
        """Add one frame's probability of being a right hand."""
        evidence = np.log(max(right, 1e-6) / max(1 - right, 1e-6))
        evidence -= np.clip(evidence, -_TIE_LOG_ODDS, _TIE_LOG_ODDS)
        evidence = np.clip(evidence, -_FRAME_LOG_ODDS, _FRAME_LOG_ODDS)
        self._log_odds = float(np.clip(self._log_odds + evidence, -_TOTAL_LOG_ODDS, _TOTAL_LOG_ODDS))
        needed = 0.0 if self.is_new else _SWITCH_LOG_ODDS
        was_right = self._is_right
        if self._log_odds > needed:
            self._is_right = True
        elif self._log_odds < -needed:
            self._is_right = False
        self.switched = self._is_right != was_right and not self.is_new


def size_ratio(a: float, b: float) -> float:
    """How many times the larger of two sizes is the smaller."""
    return max(a, b) / min(a, b)
