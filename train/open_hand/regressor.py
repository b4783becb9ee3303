"""Joint regressor by non-negative least squares."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

SUM_WEIGHT = 10.0
"""Weight, in metres, of the equation that makes a row sum to 1."""


def fit_regressor(vertices: np.ndarray, joints: np.ndarray, candidates: list[np.ndarray]) -> np.ndarray:
    """Weights that give each joint as a convex combination of vertices.

    Args:
        vertices: `(N, V, 3)` hands, metres; different people, some of them posed.
        joints: `(N, J, 3)` their joints.
        candidates: for each joint the vertices that may take part.

    Returns:
        `(J, V)`, rows sum to 1, no negative weights.
    """
    regressor = np.zeros((joints.shape[1], vertices.shape[1]))
    for row, (joint, allowed) in enumerate(zip(joints.transpose(1, 0, 2), candidates)):
        # Seen from the candidates' own centre the equations are well conditioned.
        centre = vertices[:, allowed].mean(axis=1, keepdims=True)
        matrix = (vertices[:, allowed] - centre).transpose(0, 2, 1).reshape(-1, len(allowed))
        target = (joint - centre[:, 0]).reshape(-1)
        weights, _ = nnls(
            np.concatenate([matrix, np.full((1, len(allowed)), SUM_WEIGHT)]),
            np.concatenate([target, [SUM_WEIGHT]]),
        )
        regressor[row, allowed] = weights / weights.sum()
    return regressor
