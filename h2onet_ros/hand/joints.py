"""Names and orders of joints, fingers and parts, shared by every piece of the project."""

from __future__ import annotations

import numpy as np

FINGER_NAMES = ("thumb", "index", "middle", "ring", "little")
"""Fingers in the order of every per-finger array."""

PART_NAMES = (*FINGER_NAMES, "palm")
"""Meaning of the part indices 0..5 of vertices and faces."""

OCCLUSION_NAMES = (*FINGER_NAMES, "whole_hand")
"""Columns of the six occlusion classes."""

JOINT_NAMES = ("wrist", *(f"{finger}_{i}" for finger in FINGER_NAMES for i in range(1, 5)))
"""The 21 joints in standard order: the wrist, then four per finger from its base (1) to its tip (4)."""

MANO_FINGER_ORDER = ("index", "middle", "little", "ring", "thumb")
"""Order of the fingers among MANO's joints (Romero et al., 2017)."""

MANO_JOINT_NAMES = ("wrist", *(f"{finger}_{i}" for finger in MANO_FINGER_ORDER for i in range(1, 4)))
"""The 16 posable joints in MANO's order: the wrist, then three per finger."""

MANO_PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14], dtype=np.int32)
"""Parent of each of the 16 posable joints; -1 for the wrist."""

_MANO_WITH_TIPS = (*MANO_JOINT_NAMES, *(f"{finger}_4" for finger in FINGER_NAMES))

MANO_TO_STANDARD = np.array([_MANO_WITH_TIPS.index(name) for name in JOINT_NAMES], dtype=np.int64)
"""Index array `(21,)`: `mano[MANO_TO_STANDARD]` puts MANO's 16 joints followed by the five fingertips
(thumb..little) into the standard order."""

FINGER_CHAINS = np.arange(1, 21).reshape(5, 4)
"""Joints of each finger, `(5, 4)`, from its base to its tip, in standard order."""

SKELETON = np.array(
    [(0 if i % 4 == 1 else i - 1, i) for i in range(1, len(JOINT_NAMES))],
    dtype=np.int32,
)
"""Bones as `(20, 2)` pairs (parent joint, child joint) in standard order; row `i` ends at joint `i + 1`."""
