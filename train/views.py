"""The side of the hand that a picture shows, by which figures are split and samples are drawn."""

from __future__ import annotations

import numpy as np

EDGE_ON = 0.3
"""A hand is seen from the side if its palm's normal is within asin(0.3), 17 degrees, of the image plane."""


def views(rotation: np.ndarray) -> dict[str, np.ndarray]:
    """Which hands show the palm, the back or the edge; views that none shows are left out.

    Args:
        rotation: (N, 3, 3), canonical hand to camera.

    Returns:
        Masks (N,) by name; every hand is in one of them.
    """
    away = rotation[:, 2, 2]
    masks = {"palm": away > EDGE_ON, "back": away < -EDGE_ON, "edge": np.abs(away) <= EDGE_ON}
    return {name: mask for name, mask in masks.items() if mask.any()}
