"""Which fingers are stretched, by which photographs are drawn."""

from __future__ import annotations

import numpy as np

from h2onet_ros.hand.joints import FINGER_CHAINS

STRETCHED = 0.85
"""A finger is stretched if its tip is farther from its knuckle than this share of its length."""


def stretched(joints: np.ndarray) -> np.ndarray:
    """Masks (N, 5) of stretched fingers, thumb to little finger, from joints (N, 21, 3) in any frame."""
    chains = joints[:, FINGER_CHAINS]
    length = np.linalg.norm(np.diff(chains, axis=2), axis=-1).sum(-1)
    reach = np.linalg.norm(chains[:, :, -1] - chains[:, :, 0], axis=-1)
    return reach > STRETCHED * length
