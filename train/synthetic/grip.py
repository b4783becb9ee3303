"""Hands that close around a thing: the thing lies in the palm, the fingers bend until they touch it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synthetic.flesh import SOFTNESS, THUMB, forward_kinematics, penetration
from train.synthetic.poses import FINGERS, PoseSampler

# Flesh (metres) between bone and thing.
_PALM_FLESH, _FINGER_FLESH, _THUMB_FLESH = 0.012, 0.0075, 0.0085
# Bends of the knuckles and of the middle joints that are tried, degrees.
_KNUCKLE, _MIDDLE = np.linspace(0, 84, 13), np.linspace(0, 100, 13)
_THUMBS = 160


@dataclass(frozen=True)
class Grip:
    """A closed hand `angles` `(16, 3)` and where the thing lies, in the frame of the mean hand.

    `centre` `(3,)` is the thing's middle relative to the wrist, metres; `axis` `(3,)` its long axis.
    """

    angles: np.ndarray
    centre: np.ndarray
    axis: np.ndarray


def close_around(poses: PoseSampler, rng: np.random.Generator, radius: float, ball: bool) -> Grip:
    """Close the hand around a long thing, or a `ball`, of `radius` metres, held against the palm.

    Each finger takes the bends at which its phalanges touch the thing best without entering it; the thumb
    is one of many tried that touches the thing and passes through no finger.
    """
    rest = _joints(poses, np.zeros((1, 16, 3)))[0]
    knuckles = rest[[5, 9, 13, 17]]
    across = (knuckles[0] - knuckles[3]) * (1, 1, 0)
    slant = np.arctan2(across[1], across[0]) + rng.normal(0, 0.2)
    axis = np.array([np.cos(slant), np.sin(slant), rng.normal(0, 0.08)])
    axis /= np.linalg.norm(axis)
    # Thin things lie in the crook of the fingers, thick ones reach down to the middle of the palm.
    forward = rng.normal(0.014 - 0.6 * radius, 0.005)
    centre = knuckles.mean(0) * (1, 1, 0) + (0, -forward, -(_PALM_FLESH + radius))

    def room(angles: np.ndarray) -> np.ndarray:
        """Distance `(n, 5, 3)` from the thing's surface to each phalanx's bone, thumb first."""
        chain = _joints(poses, angles)[:, 1:].reshape(-1, 5, 4, 3)
        share = np.array([0.3, 0.65, 1.0])[:, None]
        away = chain[:, :, :3, None] * (1 - share) + chain[:, :, 1:, None] * share - centre
        if not ball:
            away = away - (away @ axis)[..., None] * axis
        return np.linalg.norm(away, axis=-1).min(-1) - radius

    angles = np.zeros((16, 3))
    poses.fan(angles, rng.normal(3, 3) + (8 if ball else 0), rng)
    knuckle, middle = (v.reshape(-1) for v in np.meshgrid(_KNUCKLE, _MIDDLE))
    trial = np.tile(angles, (len(knuckle), 1, 1))
    outer = rng.uniform(0.4, 0.7)
    for finger in FINGERS:
        for joint, bend in enumerate((knuckle, middle, outer * middle)):
            trial[:, finger + joint, 0] = np.radians(bend)
    trial = poses.clip(trial)
    gap = room(trial) - (_FINGER_FLESH - rng.uniform(-0.0005, 0.002))
    cost = (np.maximum(gap, 0) - 4 * np.minimum(gap, 0)) @ (0.3, 1.0, 1.0)
    # `room` has the fingers in the standard order, the angles in MANO's.
    for column, finger in enumerate(FINGERS, 1):
        angles[finger : finger + 3] = trial[np.argmin(cost[:, column]), finger : finger + 3]
    if rng.random() < 0.15:  # a finger or two not needed
        for finger in FINGERS[rng.integers(2, 4) :]:
            angles[finger : finger + 3, 0] *= rng.uniform(0.1, 0.7)
    angles += np.radians(rng.normal(0, 1.5, (16, 3))) * (np.arange(3) == 0)

    trial = np.tile(angles, (_THUMBS, 1, 1))
    trial[:, THUMB] = np.radians(rng.uniform((-25, -20, -25), (40, 30, 30), (_THUMBS, 3)))
    trial[:, THUMB + 1, 0] = np.radians(rng.uniform(-5, 50, _THUMBS))
    trial[:, THUMB + 2, 0] = np.radians(rng.uniform(-5, 65, _THUMBS))
    trial = poses.clip(trial)
    gap = room(trial)[:, 0]
    beside = np.minimum(gap.min(1) - _THUMB_FLESH, 0.0)
    cost = -beside * 2 + np.abs(gap[:, 2] - _THUMB_FLESH)
    cost += 3 * np.maximum(penetration(_joints(poses, trial)) - SOFTNESS, 0)
    return Grip(trial[rng.choice(np.argsort(cost)[:4])], centre, axis)


def _joints(poses: PoseSampler, angles: np.ndarray) -> np.ndarray:
    """Joints `(n, 21, 3)` of the mean hand, relative to the wrist."""
    joints = forward_kinematics(poses.hand, poses.hand.pose_from_angles(angles))
    return joints - joints[:, :1]
