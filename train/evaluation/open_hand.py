"""The sets of the open hand: rendered hands with full truth, held-out photographs with image points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from h2onet_ros.hand.model import open_hand
from train.data import RealSource, SyntheticSource
from train.datasets.base import Frame
from train.detector.landmarks import LandmarkNetwork
from train.evaluation.landmarks import predict_landmarks
from train.evaluation.metrics import metrics_2d, metrics_3d, uv_errors
from train.evaluation.pictures import draw_predictions
from train.evaluation.predictions import TRACKING, Predictions, Samples, first, predict, spread
from train.evaluation.predictors import Subject
from train.evaluation.report import Figures, Found
from train.fit import Fits, fit
from train.real_crops import RealCrops
from train.views import views

OCCLUDED_FINGERS = 2
"""A hand counts as occluded with at least so many hidden fingers."""

SHOWN = 24


def evaluate_synthetic(
    subject: Subject,
    source: SyntheticSource,
    count: int | None,
    rival: LandmarkNetwork | None = None,
) -> Found:
    """Rendered hands, with and without the past, on all and on occluded hands; MediaPipe's beside ours.

    Without the past the newest frame stands for all three. `visible` are the hands of which no finger is
    hidden, `occluded` the triplets with hidden fingers, `revealed` those in which a past frame shows one.
    """
    regressor = subject.topology.joint_regressor
    samples = list(Samples(source, 3, first(source, count)))
    parts = {"visible": _visible(samples), "occluded": _occluded(samples), "revealed": _revealed(samples)}
    figures: Figures = {}
    pictures = {}
    for name, forget in (("synthetic", False), ("synthetic_single", True)):
        p = predict(subject, samples, regressor, forget=forget)
        figures |= _by_part(name, p, parts if forget else parts | views(_rotations(samples)))
        if not forget:
            pictures[name] = draw_predictions(p, subject, samples, np.arange(min(SHOWN, len(samples))))
    if rival:
        p = predict_landmarks(rival, samples, open_hand().standard_regressor())
        figures |= _by_part("synthetic_mediapipe", p, parts)
    p = predict(subject, samples, regressor, jitter=TRACKING)
    figures |= _by_part("synthetic_jittered", p, {})
    return Found(figures, pictures)


def _visible(samples: Sequence[list[Frame]]) -> np.ndarray:
    return np.array([not s[0].occlusion.any() for s in samples])


def _occluded(samples: Sequence[list[Frame]]) -> np.ndarray:
    return np.array([len(s) == 3 and s[0].occlusion[:5].sum() >= OCCLUDED_FINGERS for s in samples])


def _revealed(samples: Sequence[list[Frame]]) -> np.ndarray:
    fingers = [[frame.occlusion[:5] > 0.5 for frame in sample] for sample in samples]
    return np.array([len(f) == 3 and bool((f[0] & ~(f[1] & f[2])).any()) for f in fingers])


def _by_part(name: str, p: Predictions, masks: dict[str, np.ndarray]) -> Figures:
    """Figures of all samples, and of the parts that have any."""
    figures = {name: metrics_3d(p) | metrics_2d(p)}
    for part, rows in masks.items():
        if rows.any():
            chosen = p.select(rows)
            figures[f"{name}_{part}"] = metrics_3d(chosen) | metrics_2d(chosen)
    return figures


def held_out_photographs(crops: Path, fits: Path | None) -> RealSource:
    """The crops of `--real` that are never trained on, with their fits (made now without a file)."""
    held_out = RealCrops.load(crops).split()[1]
    hand = open_hand()
    return RealSource(held_out, Fits.load(fits) if fits else fit(held_out, hand, progress=True), hand, 1.0)


def evaluate_real(
    subject: Subject,
    source: RealSource,
    count: int | None,
    rival: LandmarkNetwork | None = None,
) -> Found:
    """Photographs: image points, of all hands, by side and by view; MediaPipe's beside ours.

    The true points are MediaPipe's own, of its last pass: what is told of it is how well it repeats itself.
    """
    rows = spread(source, count)
    samples = Samples(source, 1, rows)
    regressor = subject.topology.joint_regressor
    p = predict(subject, samples, regressor)
    figures = {
        "real": metrics_2d(p),
        "real_jittered": metrics_2d(predict(subject, samples, regressor, jitter=TRACKING)),
    }
    mirrored = source.crops.mirrored[rows]
    for part, chosen in ({"left": mirrored, "right": ~mirrored} | views(_rotations(samples))).items():
        if chosen.any():
            figures[f"real_{part}"] = metrics_2d(p.select(chosen))
    if rival:
        figures["real_mediapipe"] = metrics_2d(predict_landmarks(rival, samples))
    typical = np.linspace(0, len(samples) - 1, min(SHOWN, len(samples))).round().astype(int)
    worst = np.argsort(-uv_errors(p))[:SHOWN]
    return Found(
        figures,
        {
            "real": draw_predictions(p, subject, samples, typical),
            "real_worst": draw_predictions(p, subject, samples, worst),
        },
    )


def _rotations(samples: Sequence[list[Frame]]) -> np.ndarray:
    """Of the newest frames."""
    return np.array([sample[0].rotation for sample in samples])
