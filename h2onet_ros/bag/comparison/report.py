"""What came of a comparison, for people: a table for the terminal, a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from h2onet_ros.bag.comparison.bootstrap import CONFIDENCE, Difference
from h2onet_ros.bag.comparison.pictures import SideBySide
from h2onet_ros.bag.evaluation.page import write_page
from h2onet_ros.bag.evaluation.plots import figure
from h2onet_ros.bag.figures import text_table

_COLOURS = {"better": "#2e7d4f", "worse": "#b3362b", "": "#6b6b6b"}
_LONGEST = 100.0
"""Percent: longer bars are cut off, or they would leave no room for the others."""


def rows(differences: Sequence[Difference]) -> list[dict[str, str]]:
    """Texts of each difference: title, a, b, difference, interval, verdict, of."""
    shown = []
    for one in differences:
        kind = one.measure.figure
        interval = "–"
        if one.low is not None:
            interval = f"{kind.show(one.low, sign=True)} to {kind.show(one.high, sign=True)}"
        shown.append(
            {
                "title": kind.title,
                "a": kind.show(one.a),
                "b": kind.show(one.b),
                "difference": kind.show(one.difference, sign=True),
                "interval": interval,
                "verdict": one.verdict,
                "of": one.measure.of,
            }
        )
    return shown


def comparison_text(differences: Sequence[Difference], names: tuple[str, str]) -> str:
    """A row for each measure."""
    header = ["", *names, "difference", f"{100 * CONFIDENCE:.0f} % interval", ""]
    cells = ("title", "a", "b", "difference", "interval", "verdict")
    return text_table(header, [[row[cell] for cell in cells] for row in rows(differences)])


def write_comparison_page(
    path: Path,
    summary: dict[str, Any],
    differences: Sequence[Difference],
    pictures: Sequence[SideBySide],
    over_time: str,
) -> None:
    """Write the page.

    Args:
        path: where to.
        summary: as in comparison.json.
        differences, pictures: what to show.
        over_time: a plot as SVG, or "".

    Raises:
        BagError: where it cannot be written.
    """
    write_page(
        path,
        "comparison.html.jinja",
        {
            "names": summary["names"],
            "recording": summary["recording"],
            "subtitle": f"{summary['images']} images and {summary['hands']} hands in both · "
            f"{100 * CONFIDENCE:.0f} % intervals from {summary['samples']} draws of {summary['blocks']} "
            f"stretches of the recording, seed {summary['seed']}",
            "notes": summary["notes"],
            "rows": rows(differences),
            "confidence": f"{100 * CONFIDENCE:.0f} %",
            "settings": summary["differing_settings"],
            "agreement": _agreement(summary["disagreement"]),
            "forest": forest(differences),
            "over_time": over_time,
            "pictures": pictures,
            "has_truth": summary["has_truth"],
            "folders": summary["folders"],
        },
    )


def forest(differences: Sequence[Difference]) -> str:
    """The differences with their intervals, in percent of the first run's value; "" without any."""
    known = [one for one in differences if one.low is not None and one.a]
    if not known:
        return ""

    def draw(axes: Axes) -> None:
        axes.axvline(0, color="#222", linewidth=0.8)
        widest = 0.0
        for place, one in enumerate(known):
            assert one.a and one.difference is not None and one.low is not None and one.high is not None
            low, middle, high = (100 * value / abs(one.a) for value in (one.low, one.difference, one.high))
            colour = _COLOURS[one.verdict]
            axes.plot([low, high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
            axes.plot([middle], [place], "o", color=colour, markersize=5)
            widest = max(widest, abs(low), abs(high))
        end = min(widest, _LONGEST) * 1.08 or 1.0
        axes.set_xlim(-end, end)
        labels = [
            f"{one.measure.figure.title} ({'more' if one.measure.figure.better > 0 else 'less'} is better)"
            for one in known
        ]
        axes.set_yticks(range(len(known)), labels)
        axes.set_ylim(len(known) - 0.4, -0.6)
        axes.set_xlabel("difference in percent of the first run's value")

    return figure(draw, width=9.5, height=0.7 + 0.27 * len(known))


def lines(times: np.ndarray, values: dict[str, np.ndarray], unit: str) -> str:
    """Values over time, a line a run."""

    def draw(axes: Axes) -> None:
        for (name, series), colour in zip(values.items(), ("#3b6fb6", "#d9822b")):
            axes.plot(times, series, color=colour, linewidth=1, label=name)
        axes.set_xlabel("seconds")
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)

    return figure(draw, width=9.5)


def _agreement(disagreement: dict[str, float | None]) -> str:
    if disagreement["joints"] is None:
        return "No hand was found by both."
    shape, wrist = (1e3 * (disagreement[name] or 0.0) for name in ("joints", "wrist"))
    return (
        f"Of the hands that both found, joints are {shape:.1f} mm apart with the wrists laid on each other, "
        f"wrists {wrist:.1f} mm, image points {disagreement['image_points']:.1f} px; "
        f"{100 * (disagreement['sides'] or 0.0):.1f} % have another side."
    )
