"""How often each hand is drawn: rare views and states of the fingers more often than they come."""

from __future__ import annotations

import numpy as np

from h2onet_ros.hand.joints import FINGER_CHAINS
from train.views import views

RARE = 0.005
"""Share of the samples below which a rare state of the fingers is drawn no more often."""

STRETCHED = 0.85
"""A finger is stretched if its tip is farther from its knuckle than this share of its length."""


def stretched(joints: np.ndarray) -> np.ndarray:
    """Masks (N, 5) of stretched fingers, thumb to little finger, from joints (N, 21, 3) in any frame."""
    chains = joints[:, FINGER_CHAINS]
    length = np.linalg.norm(np.diff(chains, axis=2), axis=-1).sum(-1)
    reach = np.linalg.norm(chains[:, :, -1] - chains[:, :, 0], axis=-1)
    return reach > STRETCHED * length


def evened(share: np.ndarray, rotation: np.ndarray, fingers: np.ndarray) -> np.ndarray:
    """How often each hand is drawn, so that what is common counts with the square root of its share.

    Palms, backs and edges of hands: people hold their palms to cameras, and a robot sees backs. And which
    fingers are stretched: with the open hand and "four" in a third of the photographs, a network takes one
    bent finger for "four", the thumb being the index finger. A state that hardly any hand shows may be a bad
    fit and counts less.

    Args:
        share: (N,) how often otherwise, in any unit.
        rotation: (N, 3, 3), canonical hand to camera.
        fingers: (N, 5), those that are stretched.

    Returns:
        (N,), the sum is 1.
    """
    share = share.astype(np.float64)
    for shown in views(rotation).values():
        share[shown] /= np.sqrt(share[shown].sum())
    _, state = np.unique(fingers @ (1 << np.arange(5)), return_inverse=True)
    common = np.bincount(state, share) / share.sum()
    share /= np.sqrt(np.maximum(common, RARE))[state]
    return share / share.sum()


def drawn(cumulative: np.ndarray, rng: np.random.Generator) -> int:
    """A row drawn by shares; `cumulative` are their sums up to each row, in any unit."""
    row = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(row, len(cumulative) - 1)
