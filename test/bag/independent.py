"""Errors computed by other means than the product's."""

import numpy as np
from scipy.integrate import trapezoid
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation


def aligned(source, target):
    """The best similarity by SciPy's Kabsch algorithm, and the scale in closed form."""
    a, b = source - source.mean(0), target - target.mean(0)
    turn, _ = Rotation.align_vectors(b, a)
    turned = turn.apply(a)
    return turned * (turned * b).sum() / (a * a).sum() + target.mean(0)


def f_score(a, b, limit):
    precision = (cKDTree(b).query(a)[0] < limit).mean()
    recall = (cKDTree(a).query(b)[0] < limit).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def area(errors):
    """Area under the share of errors up to a limit, by the trapezoid rule on the challenges' 100 limits."""
    limits = np.linspace(0, 0.05, 100)
    shares = [(np.ravel(errors) <= limit).mean() for limit in limits]
    return trapezoid(shares, limits) / 0.05
