"""The learning curve of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

LOG = "log.jsonl"


def draw_curve(folder: Path) -> Path | None:
    """Draw the log of a run into `curve.png`; None where there is nothing to draw yet."""
    if not (folder / LOG).exists():
        return None
    entries = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    losses = [e for e in entries if "total" in e]
    checks = [(e["step"], e["validation"]) for e in entries if "validation" in e]
    if not losses:
        return None
    figure = Figure(figsize=(12, 4), layout="constrained")
    terms, errors, points = figure.subplots(1, 3)
    for name in sorted({n for e in losses for n in e} - {"step", "elapsed", "rate"}):
        shown = [(e["step"], e[name]) for e in losses if name in e and e[name] > 0]
        if shown:
            terms.plot(*zip(*shown), label=name, linewidth=2 if name == "total" else 0.8)
    terms.set(yscale="log", title="loss terms", xlabel="step")
    terms.legend(fontsize=6)
    for axis, suffix, title in (
        (errors, "_mm", "held-out hands, mm"),
        (points, "uv_", "image points, of the box"),
    ):
        for name in sorted({n for _, found in checks for n in found if suffix in n}):
            axis.plot(*zip(*((s, f[name]) for s, f in checks if name in f)), marker=".", label=name)
        axis.set(title=title, xlabel="step")
        if checks:
            axis.legend(fontsize=6)
            axis.set_ylim(bottom=0)
    path = folder / "curve.png"
    figure.savefig(path, dpi=80)
    return path
