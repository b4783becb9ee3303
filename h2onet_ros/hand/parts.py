"""Which finger, or the palm, each vertex and face of a hand belongs to."""

from __future__ import annotations

import numpy as np

from h2onet_ros.hand.joints import FINGER_NAMES, MANO_JOINT_NAMES, PART_NAMES


def parts_from_weights(weights: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parts by skin weight.

    Args:
        weights: `(V, 16)` skin weights of MANO's joints.
        faces: `(F, 3)` vertex indices.

    Returns:
        `vertex_part (V,)`, what moves the vertex most, and `face_part (F,)`, the majority of its corners
        (the palm where all three differ); int8 indices into `PART_NAMES`.
    """
    fingers = [
        weights[:, [MANO_JOINT_NAMES.index(f"{finger}_{i}") for i in (1, 2, 3)]].sum(axis=1)
        for finger in FINGER_NAMES
    ]
    vertex_part = np.argmax(np.stack([*fingers, weights[:, 0]], axis=1), axis=1).astype(np.int8)
    a, b, c = vertex_part[faces].T
    palm = np.int8(PART_NAMES.index("palm"))
    return vertex_part, np.where((a == b) | (a == c), a, np.where(b == c, b, palm))
