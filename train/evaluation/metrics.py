"""Figures from predictions: 3D where truth exists, image points, and the occlusion of fingers."""

from __future__ import annotations

import numpy as np

from h2onet_ros.hand.joints import OCCLUSION_NAMES
from h2onet_ros.hand.metrics import mean_distance, pa_mean_distance
from train.evaluation.predictions import Predictions

FAILURE = 0.15
"""Image points farther off than this share of the hand's box, on average, count as a failure."""


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
        for column, name in enumerate(OCCLUSION_NAMES):
            answer, truth = p.occlusion[:, column] > 0.5, p.true_occlusion[:, column] > 0.5
            found[f"occlusion_f1_{name}"] = f1(answer, truth)
    return found


def has_vertices(p: Predictions) -> bool:
    """Whether meshes were predicted that correspond to the true ones, vertex by vertex."""
    return p.vertices.shape == p.true_vertices.shape and bool(np.isfinite(p.vertices).all())


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
