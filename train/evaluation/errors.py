"""The errors of single samples, from which the figures of any part of a data set follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from h2onet_ros.hand.joints import FINGER_NAMES, OCCLUSION_NAMES
from h2onet_ros.hand.metrics import (
    F_THRESHOLDS,
    auc_of_curve,
    distances,
    f_scores,
    pck_counts,
    procrustes_align,
)
from train.evaluation.metrics import f1, has_vertices, rotation_angles, uv_errors
from train.evaluation.predictions import Predictions

OCCLUSION_LEVELS = (("visible", 0, 0), ("partly_occluded", 1, 2), ("occluded", 3, 5))
"""Name, fewest and most hidden fingers: what results are split by."""

POINTS = (("j", "mpjpe"), ("v", "mpvpe"))


@dataclass
class SampleErrors:
    """Errors of N samples.

    Attributes:
        mean: metres (N,), by `mpjpe`, `pa_mpjpe`, `mpvpe`, `pa_mpvpe`; without vertices the first two.
        pck: share of the points within each threshold (N, 100), by `j`, `pa_j`, `v`, `pa_v`.
        f: F-scores (N, thresholds) of the vertices, by "" and `pa_`.
        rotation: degrees (N,).
        uv: sides of the hand's box (N,).
        occlusion: predicted probability (N, 6), NaN from networks that do not tell.
        hidden: true labels (N, 6), NaN where not labelled.
    """

    mean: dict[str, np.ndarray]
    pck: dict[str, np.ndarray]
    f: dict[str, np.ndarray]
    rotation: np.ndarray
    uv: np.ndarray
    occlusion: np.ndarray
    hidden: np.ndarray

    def __len__(self) -> int:
        return len(self.uv)

    @classmethod
    def of(cls, p: Predictions, same_mesh: bool = True) -> SampleErrors:
        """Errors of predictions.

        Args:
            p: predictions and truth.
            same_mesh: predicted and true vertices correspond; else joints alone are judged.
        """
        points = {"j": (p.joints, p.true_joints)}
        if same_mesh and has_vertices(p):
            points["v"] = (p.vertices, p.true_vertices)
        mean, pck, f = {}, {}, {}
        for kind, name in POINTS:
            if kind not in points:
                continue
            predicted, truth = points[kind]
            for prefix, moved in (("", predicted), ("pa_", procrustes_align(predicted, truth))):
                errors = distances(moved, truth)
                mean[prefix + name] = errors.mean(1)
                pck[prefix + kind] = np.stack([pck_counts(e) / e.size for e in errors]).astype(np.float32)
                if kind == "v":
                    f[prefix] = np.array([f_scores(a, b) for a, b in zip(moved, truth)])
        angles = rotation_angles(p.rotation, p.true_rotation)
        return cls(mean, pck, f, angles, uv_errors(p), p.occlusion, p.true_occlusion)

    @classmethod
    def joined(cls, parts: list[SampleErrors]) -> SampleErrors:
        """Several parts one after the other."""

        def together(name: str) -> dict[str, np.ndarray]:
            return {
                key: np.concatenate([getattr(p, name)[key] for p in parts]) for key in getattr(parts[0], name)
            }

        rest = {
            name: np.concatenate([getattr(p, name) for p in parts])
            for name in ("rotation", "uv", "occlusion", "hidden")
        }
        return cls(together("mean"), together("pck"), together("f"), **rest)

    def select(self, rows: np.ndarray) -> SampleErrors:
        """Some of the samples, by index or mask."""

        def part(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {key: value[rows] for key, value in values.items()}

        rest = (self.rotation, self.uv, self.occlusion, self.hidden)
        return SampleErrors(part(self.mean), part(self.pck), part(self.f), *(value[rows] for value in rest))

    def levels(self) -> dict[str, np.ndarray]:
        """Masks (N,) of the samples of each of `OCCLUSION_LEVELS` that occurs, by the true labels."""
        fingers = self.hidden[:, : len(FINGER_NAMES)]
        count = np.where(np.isfinite(fingers).all(1), (fingers > 0.5).sum(1), -1)
        masks = {name: (count >= low) & (count <= high) for name, low, high in OCCLUSION_LEVELS}
        return {name: mask for name, mask in masks.items() if mask.any()}

    def figures(self) -> dict[str, float]:
        """All that the HO3D and FreiHAND challenges measure, orientation, image points and occlusion."""
        found = {"samples": float(len(self))}
        found |= {f"{name}_mm": 1e3 * float(values.mean()) for name, values in self.mean.items()}
        found |= {f"{name}_auc": auc_of_curve(values.mean(0)) for name, values in self.pck.items()}
        for prefix, scores in self.f.items():
            for threshold, score in zip(F_THRESHOLDS, scores.mean(0)):
                found[f"{prefix}f_at_{1e3 * threshold:.0f}"] = float(score)
        if np.isfinite(self.rotation).all():
            found["rotation_median_deg"] = float(np.median(self.rotation))
        found |= {"uv_mean": float(self.uv.mean()), "uv_median": float(np.median(self.uv))}
        known = np.isfinite(self.hidden).all(1) & np.isfinite(self.occlusion).all(1)
        if known.any():
            for column, name in enumerate(OCCLUSION_NAMES):
                answer, truth = self.occlusion[known, column] > 0.5, self.hidden[known, column] > 0.5
                found[f"occlusion_accuracy_{name}"] = float((answer == truth).mean())
                found[f"occlusion_f1_{name}"] = f1(answer, truth)
        return found
