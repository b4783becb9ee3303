"""Labels that depend on what was drawn: which parts of the hand are hidden.

H2ONet's definition: the hand's mesh is drawn with one colour a part; of that drawing only pixels that show
the hand in the picture are kept. A vertex is visible where the kept drawing shows its own part's colour. A
part is occluded if fewer than 30 of MANO's vertices of it are visible, the whole hand if less than 0.40 of
its pixels are. Another mesh has more or fewer vertices a part, so the limit is the same *share* of each part.
"""

from __future__ import annotations

import numpy as np

# Vertices of each part of MANO's mesh: thumb, index, middle, ring, little, palm.
_MANO_PART_VERTICES = np.array([100, 122, 119, 124, 122, 191])
VISIBLE_SHARE_OF_PART = 30 / _MANO_PART_VERTICES
VISIBLE_SHARE_OF_HAND = 0.40


def visible_vertices(ids: np.ndarray, points: np.ndarray, vertex_part: np.ndarray) -> np.ndarray:
    """How many vertices of each part are visible, `(6,)`.

    `ids` `(N, N)`: 1..6 where that part of the hand is in front, anything else elsewhere; `points` `(V, 2)`:
    the vertices in pixels of `ids`. Points outside the image are not visible.
    """
    size = np.array(ids.shape[::-1])
    # Compared as floating point numbers: a vertex near the camera plane may lie anywhere.
    inside = ((points > -0.5) & (points < size - 0.5)).all(1)
    x, y = np.rint(points[inside]).astype(int).T
    seen = ids[y, x] == vertex_part[inside] + 1
    return np.bincount(vertex_part[inside][seen], minlength=6)


def hidden_parts(visible: np.ndarray, part_sizes: np.ndarray) -> np.ndarray:
    """Which parts `(6,)` bool count as occluded; `visible` and `part_sizes` `(6,)` count vertices."""
    return visible < VISIBLE_SHARE_OF_PART * part_sizes


def occlusion(visible: np.ndarray, part_sizes: np.ndarray, visible_share: float) -> np.ndarray:
    """The six occlusion classes `(6,)` bool: thumb, index, middle, ring, little, whole hand.

    `visible` and `part_sizes` `(6,)` count vertices of each part, `visible_share` is of the hand's pixels.
    """
    return np.append(hidden_parts(visible, part_sizes)[:5], visible_share < VISIBLE_SHARE_OF_HAND)
