"""What changes between the frames of a triplet, so that the past shows what the present hides.

Fusion of three frames can only learn from hands that were seen better a moment ago. Left to chance, hardly a
hand is: what hides it moves with it, and fingers hide behind the palm for longer than a third of a second. So
in a share of the triplets something crosses the view of the hand, the hand crosses the picture's edge, or it
turns, while its fingers hardly move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

CHANGING = 0.55
"""Share of the triplets in which something changes on purpose."""

Change = Literal["", "thing", "other_hand", "edge", "turn"]
_ODDS: dict[Change, float] = {"thing": 0.44, "other_hand": 0.20, "edge": 0.16, "turn": 0.20}

STILL_FINGERS = 0.2
"""How far the fingers of such a hand go towards another pose in the time of a triplet, at most."""


@dataclass(frozen=True)
class Crossing:
    """Something passes over the hand: it is there at `moment` (seconds, 0 or negative), then goes on.

    `velocity` `(3,)` is relative to the hand, across the line of sight, m/s.
    """

    moment: float
    velocity: np.ndarray

    @property
    def away(self) -> np.ndarray:
        """Where it is now, from the place over the hand `(3,)`."""
        return -self.velocity * self.moment


def draw_change(rng: np.random.Generator, times: tuple[float, ...]) -> Change:
    """What changes; "" for single frames and for the other triplets."""
    if len(times) == 1 or rng.random() >= CHANGING:
        return ""
    kinds = list(_ODDS)
    return kinds[int(rng.choice(len(kinds), p=list(_ODDS.values())))]


def draw_crossing(rng: np.random.Generator, times: tuple[float, ...], sight: np.ndarray) -> Crossing:
    """A crossing of the line of `sight` `(3,)`: mostly it hides the hand now, in a few it has just left.

    Fast enough to be beside the hand in at least one of the frames.
    """
    now, short, long = times
    kind = rng.random()
    if kind < 0.6:
        moment, clear = now, short
    elif kind < 0.8:
        moment, clear = float(rng.uniform(0.6 * short, now)), long
    else:
        moment, clear = float(rng.uniform(long, short)), now
    across = np.cross(sight, rng.normal(0, 1, 3))
    across /= np.linalg.norm(across)
    return Crossing(moment, across * rng.uniform(0.10, 0.20) / abs(moment - clear))


def leave_picture(rng: np.random.Generator, half: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """A hand that the picture's edge cuts now and did not a moment ago, or the other way round.

    Args:
        half: `(2,)` half the picture's size, pixels.
        reach: about half the hand's size, pixels.

    Returns:
        The hand's middle from the picture's, pixels, and its velocity across the picture, m/s.
    """
    axis, side = int(rng.integers(2)), float(rng.choice((-1, 1)))
    pixel = rng.uniform(-1, 1, 2) * np.maximum(half - reach, 0)
    pixel[axis] = side * (half[axis] + reach * rng.uniform(-0.4, 0.5))
    velocity = rng.normal(0, 0.1, 2)
    velocity[axis] = side * rng.uniform(0.3, 0.8) * (1 if rng.random() < 0.8 else -1)
    return pixel, velocity
