"""Figures from predictions: 3D where truth exists, image points, and the occlusion of fingers."""

from __future__ import annotations

import numpy as np

from h2onet_ros.hand.joints import FINGER_NAMES, OCCLUSION_NAMES
from h2onet_ros.hand.metrics import (
    F_THRESHOLDS,
    auc,
    distances,
    f_score,
    mean_distance,
    pa_mean_distance,
    procrustes_align,
)
from train.evaluation.predictions import Predictions

FAILURE = 0.15
"""Image points farther off than this share of the hand's box, on average, count as a failure."""

OCCLUSION_LEVELS = (("visible", 0, 0), ("partly_occluded", 1, 2), ("occluded", 3, 5))
"""Name, fewest and most hidden fingers: what results are split by."""


def metrics_3d(p: Predictions) -> dict[str, float]:
    """Errors in millimetres and degrees against full truth, and F1 of the occlusion of each finger."""
    found = {
        "pa_mpjpe_mm": 1e3 * float(pa_mean_distance(p.joints, p.true_joints).mean()),
        "mpjpe_mm": 1e3 * float(mean_distance(p.joints, p.true_joints).mean()),
    }
    if has_vertices(p):
        found["pa_mpvpe_mm"] = 1e3 * float(pa_mean_distance(p.vertices, p.true_vertices).mean())
        found["mpvpe_mm"] = 1e3 * float(mean_distance(p.vertices, p.true_vertices).mean())
    if np.isfinite(p.rotation).all():
        found["rotation_median_deg"] = float(np.median(rotation_angles(p.rotation, p.true_rotation)))
    if np.isfinite(p.occlusion).all():
        found |= {name: value for name, value in occlusion_metrics(p).items() if "_f1_" in name}
    return found


def protocol_metrics(p: Predictions) -> dict[str, float]:
    """All that the HO3D and FreiHAND challenges measure, and the occlusion classifier.

    Beside `metrics_3d`: the area under the PCK curve of 0 to 50 mm and the F-scores at 5 and 15 mm, plain and
    after Procrustes alignment.
    """
    found = metrics_3d(p)
    points = {"j": (p.joints, p.true_joints)}
    if has_vertices(p):
        points["v"] = (p.vertices, p.true_vertices)
    for kind, (predicted, truth) in points.items():
        for prefix, moved in (("", predicted), ("pa_", procrustes_align(predicted, truth))):
            found[f"{prefix}{kind}_auc"] = auc(distances(moved, truth))
            if kind == "v":
                for threshold in F_THRESHOLDS:
                    scores = [f_score(a, b, threshold) for a, b in zip(moved, truth)]
                    found[f"{prefix}f_at_{1e3 * threshold:.0f}"] = float(np.mean(scores))
    if np.isfinite(p.occlusion).all():
        found |= occlusion_metrics(p)
    return found


def has_vertices(p: Predictions) -> bool:
    """Whether meshes were predicted that correspond to the true ones, vertex by vertex."""
    return p.vertices.shape == p.true_vertices.shape and bool(np.isfinite(p.vertices).all())


def occlusion_metrics(p: Predictions) -> dict[str, float]:
    """Accuracy and F1 of each of the six occlusion classes."""
    found = {}
    for column, name in enumerate(OCCLUSION_NAMES):
        answer, truth = p.occlusion[:, column] > 0.5, p.true_occlusion[:, column] > 0.5
        found[f"occlusion_accuracy_{name}"] = float((answer == truth).mean())
        found[f"occlusion_f1_{name}"] = f1(answer, truth)
    return found


def occlusion_levels(p: Predictions) -> dict[str, np.ndarray]:
    """Masks (N,) of the samples of each of `OCCLUSION_LEVELS` that occurs, by the true labels."""
    hidden = (p.true_occlusion[:, : len(FINGER_NAMES)] > 0.5).sum(1)
    masks = {name: (hidden >= low) & (hidden <= high) for name, low, high in OCCLUSION_LEVELS}
    return {name: mask for name, mask in masks.items() if mask.any()}


def metrics_2d(p: Predictions) -> dict[str, float]:
    """Distances of the image points from the given ones in sides of the hand's box; mean, median of the
    samples' means, and the share of failures."""
    error = uv_errors(p)
    return {
        "uv_mean": float(error.mean()),
        "uv_median": float(np.median(error)),
        "uv_failures": float((error > FAILURE).mean()),
    }


def uv_errors(p: Predictions) -> np.ndarray:
    """(N,) mean distance of each sample's image points from the given ones, in sides of the hand's box."""
    box = np.ptp(p.true_uv, axis=1).max(1)
    return np.linalg.norm(p.uv - p.true_uv, axis=-1).mean(1) / box


def rotation_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) degrees between rotations (N, 3, 3)."""
    cosine = (np.einsum("nij,nij->n", a, b) - 1) / 2
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of precision and recall; 1 where there is nothing to find and nothing was found."""
    hits = float((predicted & truth).sum())
    wrong = float((predicted ^ truth).sum())
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 1.0
