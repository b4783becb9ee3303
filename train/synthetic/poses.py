"""Random hand poses that a person could make.

Poses are made as anatomical angles, an array `(16, 3)` in radians: for each of MANO's joints its flexion,
abduction and twist about `HandModel.joint_axes`, kept within `HandModel.pose_limits`. Working in angles
rather than in rotations lets fingers be coupled as they are in life and two poses be blended linearly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from h2onet_ros.hand.model import HandModel
from train.synthetic.flesh import (
    INDEX,
    LITTLE,
    MIDDLE,
    RING,
    SOFTNESS,
    THUMB,
    forward_kinematics,
    penetration,
    thumb_gap,
)

FINGERS = (INDEX, MIDDLE, RING, LITTLE)

# How the thumb is drawn: for the five angles of `place_thumb` a distribution and its two numbers, degrees.
_THUMBS = {
    "any": (("uniform", -28, 35), ("uniform", -18, 28), ("uniform", -25, 25), ("uniform", -8, 40),
            ("uniform", -15, 60)),
    "relaxed": (("normal", 5, 12), ("normal", 8, 10), ("normal", 5, 10), ("normal", 10, 10),
                ("normal", 15, 15)),
    "spread": (("uniform", -28, 10), ("uniform", -15, 28), ("normal", 0, 10), ("normal", 0, 7),
               ("normal", 0, 10)),
    "beside a fist": (("uniform", -15, 15), ("uniform", -12, 12), ("normal", 0, 8), ("normal", 0, 8),
                      ("normal", 10, 12)),
    "counting": (("uniform", -28, 5), ("uniform", -15, 25), ("normal", 0, 10), ("normal", 0, 8),
                 ("normal", 0, 12)),
    "up": (("uniform", -29, -12), ("uniform", -15, 10), ("normal", 0, 8), ("normal", -5, 5),
           ("normal", -5, 8)),
    "opposed": (("normal", 8, 10), ("normal", 20, 6), ("normal", 15, 8), ("normal", 10, 8),
                ("normal", 22, 10)),
}  # fmt: skip


def _degrees(*angles: float) -> np.ndarray:
    return np.radians(np.asarray(angles, dtype=np.float64))


FAMILIES = {
    "relaxed": 0.12,
    "open": 0.10,
    "fist": 0.15,
    "counting": 0.20,
    "one_bent": 0.08,
    "pinch": 0.09,
    "grasp": 0.11,
    "thumb_up": 0.05,
    "hook": 0.05,
    "blend": 0.10,
    "loose": 0.05,
}
"""Kinds of poses, and how often each is drawn."""


@dataclass
class PoseSampler:
    """Draws poses of `hand`; every draw comes from the generator it is given, so a seed repeats it.

    Attributes:
        families: how often each of `FAMILIES` is drawn, in proportion; those left out never.
    """

    hand: HandModel
    families: Mapping[str, float] = field(default_factory=lambda: FAMILIES)
    _resting_thumbs: dict[tuple[int, ...], np.ndarray] = field(init=False, repr=False, default_factory=dict)

    def draw(self, rng: np.random.Generator, family: str | None = None) -> np.ndarray:
        """One pose as anatomical angles `(16, 3)`, without fingers passing through each other."""
        # The family is settled first: else the ones that need more attempts, such as fists, would be rare.
        family = family or self._any_family(rng)
        for _ in range(20):
            candidates = np.stack([self._candidate(rng, family) for _ in range(4)])
            depth = self._depth(candidates)
            good = np.nonzero(depth < SOFTNESS)[0]
            if len(good):
                return candidates[good[0]]
        return candidates[int(np.argmin(depth))]

    def _any_family(self, rng: np.random.Generator) -> str:
        weights = np.array(list(self.families.values()))
        return str(rng.choice(list(self.families), p=weights / weights.sum()))

    def clip(self, angles: np.ndarray) -> np.ndarray:
        """`angles` within the hand's limits and short of the fingertips entering the palm."""
        limits = np.asarray(self.hand.pose_limits, np.float64)
        angles = np.clip(angles, limits[..., 0], limits[..., 1])
        for finger in FINGERS:
            # Both fully bent is not reachable with the knuckle bent too: the tip would enter the palm.
            tight = np.clip((angles[..., finger, 0] - np.radians(60)) / np.radians(25), 0, 1)
            middle = np.minimum(angles[..., finger + 1, 0], np.radians(100) - tight * np.radians(5))
            angles[..., finger + 1, 0] = middle
            angles[..., finger + 2, 0] = np.minimum(
                angles[..., finger + 2, 0], np.radians(60) - tight * np.radians(15)
            )
        angles[..., 0, :] = 0.0
        return angles

    def _depth(self, angles: np.ndarray) -> np.ndarray:
        return penetration(forward_kinematics(self.hand, self.hand.pose_from_angles(angles)))

    def _candidate(self, rng: np.random.Generator, family: str) -> np.ndarray:
        makers: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
            "relaxed": self._relaxed,
            "open": self._open,
            "fist": self._fist,
            "counting": self._counting,
            "one_bent": self._one_bent,
            "pinch": self._pinch,
            "grasp": self._grasp,
            "thumb_up": self._thumb_up,
            "hook": self._hook,
            "blend": self._blend,
            "loose": self._loose,
        }
        angles = makers[family](rng)
        jitter = np.radians(rng.normal(0, 2.5, (16, 3)))
        jitter[[i for i in range(16) if i % 3 != 1], 1:] = 0.0
        return self.clip(angles + jitter)

    @staticmethod
    def bend(angles: np.ndarray, finger: int, mcp: float, pip: float, dip: float | None = None) -> None:
        """Bend a finger: degrees at its three joints; the outer joint follows the middle one."""
        angles[finger, 0], angles[finger + 1, 0] = _degrees(mcp, pip)
        angles[finger + 2, 0] = _degrees(0.5 * pip if dip is None else dip)[0]

    @staticmethod
    def fan(angles: np.ndarray, amount: float, rng: np.random.Generator) -> None:
        """Fan the fingers, by `amount` degrees at the index finger; positive is towards the thumb."""
        for finger, share in ((INDEX, 1.0), (MIDDLE, 0.15), (RING, -0.55), (LITTLE, -1.25)):
            angles[finger, 1] = _degrees(amount * share + rng.normal(0, 1.5))[0]

    @staticmethod
    def place_thumb(
        angles: np.ndarray, flexion: float, abduction: float, twist: float, mcp: float, ip: float
    ) -> None:
        """Thumb in degrees; `abduction` lifts it away from the palm, `twist` turns its pad to the fingers."""
        angles[THUMB] = _degrees(flexion, abduction, twist)
        angles[THUMB + 1, 0], angles[THUMB + 2, 0] = _degrees(mcp, ip)

    def _draw_thumb(self, angles: np.ndarray, how: str, rng: np.random.Generator) -> None:
        """Place the thumb at random as `_THUMBS` says."""
        self.place_thumb(angles, *(getattr(rng, kind)(a, b) for kind, a, b in _THUMBS[how]))

    def _relaxed(self, rng: np.random.Generator) -> np.ndarray:
        angles = np.zeros((16, 3))
        mcp, pip = rng.uniform(0, 65), rng.uniform(5, 75)
        slope = rng.normal(2, 8)
        for k, finger in enumerate(FINGERS):
            self.bend(angles, finger, mcp + slope * k + rng.normal(0, 6), pip + slope * k + rng.normal(0, 8))
        self.fan(angles, rng.normal(2, 5), rng)
        self._draw_thumb(angles, "relaxed", rng)
        return angles

    def _open(self, rng: np.random.Generator) -> np.ndarray:
        angles = np.zeros((16, 3))
        for finger in FINGERS:
            self.bend(angles, finger, rng.normal(0, 6), rng.normal(3, 5), rng.normal(2, 4))
        self.fan(angles, rng.uniform(-3, 17), rng)
        self._draw_thumb(angles, "spread", rng)
        return angles

    def _fist(self, rng: np.random.Generator) -> np.ndarray:
        angles = np.zeros((16, 3))
        tightness = rng.uniform(0.93, 1.03) if rng.random() < 0.7 else rng.uniform(0.72, 0.93)
        for finger in FINGERS:
            self.bend(
                angles,
                finger,
                80 * tightness + rng.normal(0, 4),
                95 * tightness + rng.normal(0, 4),
                45 * tightness + rng.normal(0, 5),
            )
        self.fan(angles, rng.normal(0, 2), rng)
        if rng.random() < 0.75:
            self._rest_thumb(angles, (0, 0, 0, 0), rng)
        else:
            self._draw_thumb(angles, "beside a fist", rng)
        return angles

    def _counting(self, rng: np.random.Generator) -> np.ndarray:
        """Each finger either stretched or bent: counting, pointing, victory, horns and all the others; or on
        the way from one to another."""
        angles = np.zeros((16, 3))
        patterns = (
            (1, 0, 0, 0),
            (1, 1, 0, 0),
            (1, 1, 1, 0),
            (0, 1, 1, 1),
            (1, 0, 0, 1),
            (0, 0, 0, 1),
            (1, 1, 1, 1),
        )
        stretched = tuple(
            patterns[rng.integers(len(patterns))] if rng.random() < 0.75 else rng.integers(0, 2, 4).tolist()
        )
        on_the_way = rng.random() < 0.4  # between two numbers each finger is somewhere else
        bent = rng.uniform(0.93, 1.03) if rng.random() < 0.75 else rng.uniform(0.78, 0.93)
        for finger, straight in zip(FINGERS, stretched):
            if straight:
                self.bend(angles, finger, rng.normal(2, 8), rng.normal(5, 6), rng.normal(3, 4))
            else:
                share = rng.uniform(0.2, 1.0) if on_the_way else bent
                mcp, pip = 78 * share + rng.normal(0, 5), 95 * share + rng.normal(0, 4)
                self.bend(angles, finger, mcp, pip, 45 * share)
        self.fan(angles, rng.uniform(-2, 14), rng)
        if not on_the_way and rng.random() < 0.6:
            self._rest_thumb(angles, stretched, rng)
        else:
            self._draw_thumb(angles, "counting", rng)
        return angles

    def _one_bent(self, rng: np.random.Generator) -> np.ndarray:
        """One finger bent, the others stretched and spread; its neighbours follow a part of the way, since
        fingers share muscles (Zatsiorsky et al., "Enslaving effects in multi-finger force production",
        Experimental Brain Research 2000)."""
        angles = np.zeros((16, 3))
        chosen = int(rng.integers(4))
        mcp, pip = rng.uniform(25, 85), rng.uniform(40, 100)
        follows = rng.uniform(0, 0.6)
        for k, finger in enumerate(FINGERS):
            share = follows ** abs(k - chosen) * rng.uniform(0.6, 1.0) if k != chosen else 1.0
            self.bend(angles, finger, mcp * share + rng.normal(0, 6), pip * share + rng.normal(0, 6))
        self.fan(angles, rng.uniform(0, 16), rng)
        self._draw_thumb(angles, "spread" if rng.random() < 0.6 else "any", rng)
        return angles

    def _rest_thumb(self, angles: np.ndarray, stretched: tuple[int, ...], rng: np.random.Generator) -> None:
        """Lay the thumb on the bent fingers, or on the palm where all are `stretched` (4 flags)."""
        if stretched not in self._resting_thumbs:
            self._resting_thumbs[stretched] = self._find_resting_thumbs(stretched)
        library = self._resting_thumbs[stretched]
        angles[THUMB : THUMB + 3] = library[rng.integers(len(library))]

    def _find_resting_thumbs(self, stretched: tuple[int, ...]) -> np.ndarray:
        """Thumb angles `(n, 3, 3)` that touch what is bent without passing through it; by trying many."""
        rng = np.random.default_rng([20230617, *stretched])
        count = 6_000
        angles = np.zeros((count, 16, 3))
        for finger, straight in zip(FINGERS, stretched):
            if not straight:
                angles[:, finger : finger + 3, 0] = _degrees(78, 95, 45)
        angles[:, THUMB] = np.radians(rng.uniform((-10, -20, -30), (45, 30, 30), (count, 3)))
        angles[:, THUMB + 1, 0] = np.radians(rng.uniform(0, 55, count))
        angles[:, THUMB + 2, 0] = np.radians(rng.uniform(0, 75, count))
        joints = forward_kinematics(self.hand, self.hand.pose_from_angles(self.clip(angles)))
        gap = np.concatenate([thumb_gap(part) for part in np.array_split(joints, 12)])
        bent = [tip for tip, straight in zip((7, 11, 15, 19), stretched) if not straight]
        # Beside touching it must lie across: the thumb's end near the middle of some bent finger.
        aim = joints[:, bent].mean(1) if bent else joints[:, [5, 9, 13, 17]].mean(1)
        near = np.linalg.norm(joints[:, 4] - aim, axis=1)
        touching = np.flatnonzero((gap > -0.6 * SOFTNESS) & (gap < 0.003))
        return angles[touching[np.argsort(near[touching])[: max(40, len(touching) // 3)]], THUMB : THUMB + 3]

    def _thumb_up(self, rng: np.random.Generator) -> np.ndarray:
        angles = self._fist(rng)
        self._draw_thumb(angles, "up", rng)
        return angles

    def _hook(self, rng: np.random.Generator) -> np.ndarray:
        """Claw (knuckles straight, fingers bent) or table top (knuckles bent, fingers straight)."""
        angles = np.zeros((16, 3))
        claw = rng.random() < 0.5
        mcp, pip = (
            (rng.uniform(-8, 25), rng.uniform(45, 98)) if claw else (rng.uniform(45, 83), rng.uniform(0, 25))
        )
        for finger in FINGERS:
            self.bend(angles, finger, mcp + rng.normal(0, 5), pip + rng.normal(0, 6))
        self.fan(angles, rng.uniform(-2, 12), rng)
        self._draw_thumb(angles, "any", rng)
        return angles

    def _grasp(self, rng: np.random.Generator) -> np.ndarray:
        """Around something: the fingers bent alike, the thumb opposite them."""
        angles = np.zeros((16, 3))
        width = rng.uniform(0.0, 1.0)  # 0: a stick, 1: a ball
        mcp, pip = 70 - 46 * width, 84 - 52 * width
        for k, finger in enumerate(FINGERS):
            self.bend(angles, finger, mcp + 2 * k + rng.normal(0, 4), pip + 2 * k + rng.normal(0, 5))
        self.fan(angles, 10 * width + rng.normal(0, 2), rng)
        self._draw_thumb(angles, "opposed", rng)
        return angles

    def _loose(self, rng: np.random.Generator) -> np.ndarray:
        """Every joint on its own, anywhere within its limits, neighbouring fingers alike."""
        angles = np.zeros((16, 3))
        mcp, pip = rng.uniform(-5, 80, 4), rng.uniform(0, 98, 4)
        mix = rng.uniform(0, 0.7)
        mcp, pip = (1 - mix) * mcp + mix * mcp.mean(), (1 - mix) * pip + mix * pip.mean()
        for k, finger in enumerate(FINGERS):
            self.bend(angles, finger, mcp[k], pip[k], 0.55 * pip[k] + rng.normal(0, 6))
        self.fan(angles, rng.uniform(-6, 14), rng)
        self._draw_thumb(angles, "any", rng)
        return angles

    def _blend(self, rng: np.random.Generator) -> np.ndarray:
        names = [name for name in FAMILIES if name != "blend"]
        first, second = (self._candidate(rng, str(rng.choice(names))) for _ in range(2))
        share = rng.uniform(0.2, 0.8)
        return share * first + (1 - share) * second

    def _pinch(self, rng: np.random.Generator) -> np.ndarray:
        library = self._pinches
        angles = library[rng.integers(len(library))].copy()
        index_only = rng.random() < 0.7
        curl = rng.uniform(0.0, 0.9)
        for finger in FINGERS[1:] if index_only else FINGERS[2:]:
            self.bend(angles, finger, 75 * curl + rng.normal(0, 6), 85 * curl + rng.normal(0, 6))
        if not index_only:
            angles[MIDDLE : MIDDLE + 3, 0] = angles[INDEX : INDEX + 3, 0] + np.radians(rng.normal(3, 3))
        self.fan(angles, rng.uniform(0, 8), rng)
        return angles

    @cached_property
    def _pinches(self) -> np.ndarray:
        """Angles `(n, 16, 3)` in which the pads of thumb and index finger meet, found by trying many."""
        rng = np.random.default_rng(20230617)
        count = 12_000
        angles = np.zeros((count, 16, 3))
        angles[:, INDEX, 0] = np.radians(rng.uniform(15, 75, count))
        angles[:, INDEX + 1, 0] = np.radians(rng.uniform(10, 80, count))
        angles[:, INDEX + 2, 0] = angles[:, INDEX + 1, 0] * rng.uniform(0.2, 0.8, count)
        angles[:, THUMB] = np.radians(rng.uniform((-25, -10, -20), (40, 30, 30), (count, 3)))
        angles[:, THUMB + 1, 0] = np.radians(rng.uniform(-5, 45, count))
        angles[:, THUMB + 2, 0] = np.radians(rng.uniform(-5, 65, count))
        angles = self.clip(angles)
        joints = forward_kinematics(self.hand, self.hand.pose_from_angles(angles))
        between = np.linalg.norm(joints[:, 4] - joints[:, 8], axis=1)
        near = between < 0.019
        return angles[near][penetration(joints[near]) < SOFTNESS]
