"""Errors as plots: PCK curves and how errors are distributed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from h2onet_ros.hand.metrics import pck_thresholds
from train.evaluation.errors import SampleErrors


def plot_errors(parts: Mapping[str, SampleErrors]) -> np.ndarray:
    """PCK curves of joints and vertices after alignment, and the distribution of PA-MPJPE; BGR."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, kind, title in ((axes[0], "pa_j", "joints"), (axes[1], "pa_v", "vertices")):
        for name, errors in parts.items():
            if kind in errors.pck:
                axis.plot(1e3 * pck_thresholds(), errors.pck[kind].mean(0), label=f"{name} ({len(errors)})")
        axis.set(
            title=f"PCK of {title}, aligned", xlabel="threshold, mm", ylabel="share within it", ylim=(0, 1.02)
        )
        if axis.lines:
            axis.legend(fontsize=7, loc="lower right")
    values = {name: 1e3 * errors.mean["pa_mpjpe"] for name, errors in parts.items()}
    top = max(float(np.percentile(v, 99.5)) for v in values.values())
    for name, errors_mm in values.items():
        axes[2].hist(errors_mm, bins=np.linspace(0, top, 41), histtype="step", density=True, label=name)
    axes[2].set(title="PA-MPJPE of single samples", xlabel="mm", ylabel="density")
    axes[2].legend(fontsize=7)
    return rendered(figure)


def rendered(figure: Figure) -> np.ndarray:
    """A figure as a picture (H, W, 3) uint8, BGR."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1])
