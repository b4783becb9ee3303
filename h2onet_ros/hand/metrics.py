"""Errors of predicted hands: MPJPE, Procrustes-aligned errors, PCK and its AUC, F-score.

Points are `(..., N, 3)`; distances come out in the unit of the points. The definitions follow the FreiHAND
and HO3D challenges.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

AUC_RANGE = (0.0, 0.05)
"""Metres over which the challenges integrate the PCK curve."""

AUC_STEPS = 100
F_THRESHOLDS = (0.005, 0.015)
"""Metres."""


def procrustes_align(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Move `source` onto `target` by the best similarity (rotation, translation, scale), least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.

    Args:
        source, target: (..., N, 3), corresponding points.

    Returns:
        (..., N, 3) float64. Never mirrored. A source whose points coincide lands on the target's mean.
    """
    source, target = _paired(source, target)
    source_mean, target_mean = source.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    a, b = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd(np.swapaxes(a, -1, -2) @ b)
    sign = np.where(np.linalg.det(u @ vt) < 0, -1.0, 1.0)
    u[..., :, -1] *= sign[..., None]
    s[..., -1] *= sign
    spread = np.square(a).sum((-2, -1))
    scale = np.divide(s.sum(-1), spread, out=np.zeros_like(spread), where=spread > 0)
    return scale[..., None, None] * (a @ (u @ vt)) + target_mean


def distances(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance (..., N) of each point to its true place, float64."""
    predicted, truth = _paired(predicted, truth)
    return np.linalg.norm(predicted - truth, axis=-1)


def mean_distance(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean over the points, (...): MPJPE on joints, MPVPE on vertices. Align the wrists first."""
    return distances(predicted, truth).mean(-1)


def pa_mean_distance(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean distance (...) after Procrustes alignment: PA-MPJPE, PA-MPVPE."""
    return mean_distance(procrustes_align(predicted, truth), truth)


def pck_curve(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentage (0..1) of correct key-points over the threshold.

    Args:
        errors: (samples, N) distances, metres.

    Returns:
        thresholds (100,), metres, and the share (100,) of errors at most that large.
    """
    thresholds = pck_thresholds()
    errors = np.asarray(errors)
    if errors.size == 0:
        raise ValueError("the PCK curve needs at least one error")
    return thresholds, pck_counts(errors) / errors.size


def pck_thresholds() -> np.ndarray:
    """The thresholds (100,) of the PCK curve, metres."""
    return np.linspace(*AUC_RANGE, AUC_STEPS)


def pck_counts(errors: np.ndarray) -> np.ndarray:
    """How many of the distances (any shape, metres) are at most each threshold: (100,), to be summed up."""
    ordered = np.sort(np.asarray(errors, dtype=np.float64).reshape(-1))
    return np.searchsorted(ordered, pck_thresholds(), side="right")


def auc(errors: np.ndarray) -> float:
    """Area under the PCK curve from 0 to 50 mm, 0..1, of distances (samples, N) in metres."""
    return auc_of_curve(pck_curve(errors)[1])


def auc_of_curve(share: np.ndarray) -> float:
    """Area 0..1 under a PCK curve that is given by its values (100,) at `pck_thresholds`."""
    widths = np.diff(pck_thresholds())
    return float((widths * (share[1:] + share[:-1]) / 2).sum() / widths.sum())


def f_score(predicted: np.ndarray, truth: np.ndarray, threshold: float) -> float:
    """Harmonic mean of precision and recall of one point set (N, 3) against another (M, 3).

    A point counts when the nearest point of the other set is closer than `threshold`; no correspondence is
    used. Knapitsch et al., "Tanks and Temples", SIGGRAPH 2017.
    """
    return f_scores(predicted, truth, (threshold,))[0]


def f_scores(
    predicted: np.ndarray, truth: np.ndarray, thresholds: Sequence[float] = F_THRESHOLDS
) -> tuple[float, ...]:
    """`f_score` for several thresholds at the price of one."""
    predicted = np.asarray(predicted, dtype=np.float64)
    truth = np.asarray(truth, dtype=np.float64)
    squared = (
        np.square(predicted).sum(-1)[:, None] + np.square(truth).sum(-1)[None] - 2.0 * predicted @ truth.T
    )
    to_truth, to_predicted = squared.min(1), squared.min(0)
    scores = []
    for threshold in thresholds:
        precision = float((to_truth < threshold * threshold).mean())
        recall = float((to_predicted < threshold * threshold).mean())
        scores.append(2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0)
    return tuple(scores)


def _paired(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted = np.asarray(predicted, dtype=np.float64)
    truth = np.asarray(truth, dtype=np.float64)
    if predicted.shape != truth.shape or predicted.ndim < 2 or predicted.shape[-1] != 3:
        raise ValueError(
            f"expected two arrays of one shape (..., N, 3), got {predicted.shape} and {truth.shape}"
        )
    return predicted, truth
