"""Learning curves as pictures: of one run, or of runs that continue one another.

python -m train.curve runs/compact runs/compact_longer --out curve.png
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

LOG = "log.jsonl"

PANELS = (
    ("_mm", "held-out hands, mm"),
    ("uv_", "image points, of the box"),
    ("rotation", "orientation, degrees"),
    ("_f1_", "hidden or not, F1"),
)


def draw_curve(folder: Path) -> Path | None:
    """Draw the log of a run into `curve.png`; None where there is nothing to draw yet."""
    if not (folder / LOG).exists():
        return None
    entries = _entries(folder)
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
    for axis, (part, title) in zip((errors, points), PANELS):
        _draw_checks(axis, checks, part, title)
        axis.set_xlabel("step")
    path = folder / "curve.png"
    figure.savefig(path, dpi=80)
    return path


def draw_runs(folders: Sequence[Path], path: Path) -> None:
    """Draw what the validations of runs found, one run after the other, over the hours of training.

    Raises:
        OSError, ValueError: a log or the picture cannot be read or written, or there is no validation.
    """
    checks: list[tuple[float, dict[str, float]]] = []
    borders: list[tuple[float, str]] = []
    hours = 0.0
    for folder in folders:
        entries = _entries(folder)
        checks += [(hours + e["elapsed"] / 3600, e["validation"]) for e in entries if "validation" in e]
        borders.append((hours, folder.resolve().name))
        hours += max((e["elapsed"] for e in entries), default=0.0) / 3600
    if not checks:
        raise ValueError(f"no validation in {', '.join(str(folder / LOG) for folder in folders)}")
    shown = [panel for panel in PANELS if any(panel[0] in name for _, found in checks for name in found)]
    figure = Figure(figsize=(4 * len(shown), 4), layout="constrained")
    for axis, (part, title) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _draw_checks(axis, checks, part, title)
        axis.set_xlabel("hours of training")
        for begin, name in borders:
            axis.axvline(begin, color="0.8", linewidth=0.8, zorder=0)
            axis.text(begin, axis.get_ylim()[1], name, fontsize=6, rotation=90, va="top", ha="right")
    figure.savefig(path, dpi=80)


def _entries(folder: Path) -> list[dict[str, Any]]:
    if not (folder / LOG).is_file():
        raise ValueError(f"{folder} is not the folder of a run: it holds no {LOG}")
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def _draw_checks(axis: Axes, checks: Sequence[tuple[float, dict[str, float]]], part: str, title: str) -> None:
    for name in sorted({n for _, found in checks for n in found if part in n}):
        axis.plot(*zip(*((x, f[name]) for x, f in checks if name in f)), marker=".", label=name)
    axis.set_title(title)
    if checks:
        axis.legend(fontsize=6)
        axis.set_ylim(bottom=0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train.curve", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of runs, in their order")
    parser.add_argument("--out", type=Path, default=Path("curve.png"), help="picture (default: curve.png)")
    options = parser.parse_args(arguments)
    try:
        draw_runs(options.runs, options.out)
    except (OSError, ValueError) as error:
        print(f"curve: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
