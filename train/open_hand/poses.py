"""Named poses and pose limits of the open hand, as angles about its anatomical axes."""

from __future__ import annotations

import numpy as np

from h2onet_ros.hand.joints import FINGER_NAMES, MANO_JOINT_NAMES

# Degrees from the relaxed rest pose, found by eye on renderings: (flexion, abduction, twist), smallest and
# largest.
_FINGER_LIMITS = (
    ((-10, 85), (-15, 15), (-5, 5)),
    ((-3, 100), (0, 0), (0, 0)),
    ((-3, 60), (0, 0), (0, 0)),
)
_THUMB_LIMITS = (
    ((-30, 45), (-20, 30), (-40, 30)),
    ((-10, 55), (0, 0), (0, 0)),
    ((-15, 75), (0, 0), (0, 0)),
)
_LITTLE_ABDUCTION = (-20, 15)

# Per finger: flexion of its three joints, then abduction of the first. The thumb: (flexion, abduction,
# twist) of its base, then flexion of the other two. In "fist" the thumb stands off, in "clench" it lies on
# the fingers.
_POSES: dict[str, dict[str, tuple[float, ...]]] = {
    "rest": {},
    "fist": {
        "thumb": (25, 10, 0, 35, 45),
        "index": (80, 95, 45, 0),
        "middle": (80, 95, 45, 0),
        "ring": (80, 95, 45, 0),
        "little": (80, 95, 45, 0),
    },
    "clench": {
        "thumb": (30, -15, 0, 45, 40),
        "index": (80, 95, 45, 0),
        "middle": (80, 95, 45, 0),
        "ring": (80, 95, 45, 0),
        "little": (80, 95, 45, 0),
    },
    "spread": {
        "thumb": (-25, 20, 0, -5, -10),
        "index": (-8, 0, 0, 14),
        "middle": (-8, 0, 0, 2),
        "ring": (-8, 0, 0, -10),
        "little": (-8, 0, 0, -18),
    },
    "pinch": {
        "thumb": (20, 15, 5, 15, 30),
        "index": (50, 45, 25, 0),
        "middle": (20, 25, 10, 0),
        "ring": (12, 20, 8, 0),
        "little": (5, 15, 5, 0),
    },
    "point": {
        "thumb": (25, 10, 0, 30, 40),
        "index": (0, 0, 0, 0),
        "middle": (75, 92, 40, 0),
        "ring": (78, 95, 42, 0),
        "little": (80, 95, 45, 0),
    },
    "grasp": {
        "thumb": (5, 25, 5, 10, 20),
        "index": (40, 45, 25, 6),
        "middle": (42, 48, 25, 2),
        "ring": (44, 50, 25, -3),
        "little": (46, 50, 25, -8),
    },
}

POSE_NAMES = tuple(_POSES)


def named_angles(name: str) -> np.ndarray:
    """Anatomical angles `(16, 3)` in radians of one of `POSE_NAMES`; see `HandModel.pose_from_angles`."""
    angles = np.zeros((len(MANO_JOINT_NAMES), 3))
    for finger, degrees in _POSES[name].items():
        rows = [MANO_JOINT_NAMES.index(f"{finger}_{i}") for i in (1, 2, 3)]
        if finger == "thumb":
            angles[rows[0]] = degrees[:3]
            angles[rows[1:], 0] = degrees[3:]
        else:
            angles[rows, 0] = degrees[:3]
            angles[rows[0], 1] = degrees[3]
    return np.radians(angles)


def pose_limits() -> np.ndarray:
    """Limits `(16, 3, 2)` in radians; the wrist may turn freely."""
    limits = np.zeros((len(MANO_JOINT_NAMES), 3, 2))
    limits[0] = (-180, 180)
    for finger in FINGER_NAMES:
        table = _THUMB_LIMITS if finger == "thumb" else _FINGER_LIMITS
        for i in range(3):
            limits[MANO_JOINT_NAMES.index(f"{finger}_{i + 1}")] = table[i]
    limits[MANO_JOINT_NAMES.index("little_1"), 1] = _LITTLE_ABDUCTION
    return np.radians(limits)


def random_angles(rng: np.random.Generator, count: int) -> np.ndarray:
    """Angles `(count, 16, 3)` within the limits, each joint on its own; the wrist stays."""
    limits = pose_limits()
    angles = rng.uniform(limits[..., 0], limits[..., 1], (count, *limits.shape[:2]))
    angles[:, 0] = 0
    return angles
