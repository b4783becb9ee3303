"""Plots of an evaluation, as SVG texts that go into a page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from h2onet_ros.hand.joints import FINGER_NAMES, OCCLUSION_NAMES

Table = dict[str, NDArray[Any]]
"""Columns, as `table.read_table` gives them."""

COLOURS = ("#3b6fb6", "#d9822b", "#4f9d69", "#b5478b", "#8a6d3b", "#6b6b6b")
_BINS = 600
"""Points of a line over time at most; a plot is not wider."""
_TRACKS = 12
"""Tracks that get a row or line of their own."""
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.fonttype": "none",
    # Names inside the picture hang on this, not on chance.
    "svg.hashsalt": "h2onet",
}


def figure(draw: Any, width: float = 7.6, height: float = 2.2) -> str:
    """The SVG of what `draw(axes)` draws; width and height in inches."""
    with matplotlib.rc_context(_STYLE):
        page = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(page)
        draw(page.add_subplot())
        text = io.StringIO()
        page.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def tracks_over_time(table: Table) -> str:
    """When which hand was found, and where the truth knows of one that was not."""
    tracks = _longest_tracks(table)
    step = _image_period(table)

    def draw(axes: Axes) -> None:
        labels = []
        for row, track in enumerate(tracks):
            of_track = table["track_id"] == track
            sides = table["handedness"][of_track]
            side = "left" if (sides == "left").sum() * 2 > len(sides) else "right"
            spans = _spans(table["time"][of_track], step)
            axes.broken_barh(spans, (row - 0.35, 0.7), color=COLOURS[side == "left"])
            labels.append(f"{track} {side}")
        if "match" in table and (table["match"] == "missed").any():
            spans = _spans(np.unique(table["time"][table["match"] == "missed"]), step)
            axes.broken_barh(spans, (len(tracks) - 0.35, 0.7), color="#c0392b")
            labels.append("missed")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlim(0, table["time"].max() + step)
        axes.set_xlabel("seconds")

    return figure(draw, height=0.9 + 0.28 * (len(tracks) + 1))


def occlusion_over_time(table: Table, track: int) -> str:
    """What was said to be hidden of one hand, and the truth below it where there is one."""
    names = [f"occlusion_{name}" for name in OCCLUSION_NAMES]
    time, rows = _resampled(table, table["track_id"] == track, names)
    labels = [name.replace("_", " ") for name in OCCLUSION_NAMES]
    truth = [f"truth_{name}" for name in names]
    if truth[0] in table:
        true_rows = _resampled(table, table["track_id"] == track, truth)[1]
        if not np.isnan(true_rows).all():
            # Said above true, part by part.
            rows = np.stack([rows, true_rows], 1).reshape(-1, rows.shape[1])
            labels = [text for label in labels for text in (label, "truth")]

    def draw(axes: Axes) -> None:
        axes.grid(False)
        axes.imshow(
            rows, aspect="auto", cmap="YlOrRd", vmin=0, vmax=1, interpolation="nearest",
            extent=(time[0], time[-1], len(rows) - 0.5, -0.5),
        )  # fmt: skip
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("seconds")

    return figure(draw, height=0.7 + 0.17 * len(rows))


def lines_over_time(
    table: Table, names: dict[str, str], unit: str, factor: float = 1.0, top: float | None = None
) -> str:
    """Columns over time, one colour each, a thin line for each hand (mean of what falls on one pixel).

    Args:
        table: the hands.
        names: columns and what they are called.
        unit: of the axis.
        factor: from the column's unit to that one.
        top: upper end of the axis; None: the 99.5th percentile.
    """
    tracks = _longest_tracks(table)

    def draw(axes: Axes) -> None:
        for number, (name, label) in enumerate(names.items()):
            for first, track in enumerate(tracks):
                time, (values,) = _resampled(table, table["track_id"] == track, [name])
                colour = COLOURS[(number if len(names) > 1 else first) % len(COLOURS)]
                shown = (label if first == 0 else None) if len(names) > 1 else f"hand {track}"
                axes.plot(time, factor * values, color=colour, linewidth=1, label=shown)
        values = np.concatenate([table[name] for name in names]) * factor
        values = values[np.isfinite(values)]
        highest = top if top is not None else float(np.percentile(values, 99.5)) * 1.1 if len(values) else 1.0
        axes.set_ylim(0, max(highest, 1e-9))
        axes.set_xlim(0, max(table["time"].max(), 1e-9))
        axes.set_xlabel("seconds")
        axes.set_ylabel(unit)
        if len(names) > 1 or len(tracks) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=6)

    return figure(draw, height=2.3)


def cumulative(table: Table, names: dict[str, str], unit: str, factor: float = 1.0) -> str:
    """The share of hands with an error up to a value."""

    def draw(axes: Axes) -> None:
        highest = 0.0
        for colour, (name, label) in zip(COLOURS, names.items(), strict=False):
            values = np.sort(table[name][np.isfinite(table[name])]) * factor
            if not len(values):
                continue
            places = np.unique(np.linspace(0, len(values) - 1, _BINS).round().astype(int))
            axes.plot(values[places], (places + 1) / len(values), color=colour, label=label)
            highest = max(highest, float(np.percentile(values, 98)))
        axes.set_xlim(0, highest or 1.0)
        axes.set_ylim(0, 1)
        axes.set_xlabel(unit)
        axes.set_ylabel("share of hands")
        axes.legend(loc="lower right")

    return figure(draw, 3.7, 2.6)


def bars(
    groups: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str, top: float | None
) -> str:
    """Bars side by side for each group; None is left out."""

    def draw(axes: Axes) -> None:
        width = 0.8 / len(series)
        for number, (label, values) in enumerate(series.items()):
            heights = [0.0 if value is None else value for value in values]
            places = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
            axes.bar(places, heights, width * 0.92, label=label, color=COLOURS[number % len(COLOURS)])
        axes.set_xticks(range(len(groups)), groups)
        axes.grid(False, axis="x")
        axes.set_ylabel(unit)
        if top is not None:
            axes.set_ylim(0, top)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, columnspacing=1.0)

    return figure(draw, 3.7, 2.6)


def histogram(counts: Sequence[int], edges: Sequence[float], unit: str) -> str:
    """A histogram that was counted before."""

    def draw(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=COLOURS[0])
        axes.set_xlabel(unit)
        axes.set_ylabel("images")

    return figure(draw, 3.7, 2.6)


def finger_labels() -> list[str]:
    """Names of the parts whose occlusion is judged, short enough for an axis."""
    return [*FINGER_NAMES, "hand"]


def _longest_tracks(table: Table) -> list[int]:
    numbers, counts = np.unique(table["track_id"][table["track_id"] >= 0], return_counts=True)
    longest = numbers[np.argsort(-counts, kind="stable")][:_TRACKS]
    return sorted(int(track) for track in longest)


def _image_period(table: Table) -> float:
    """Seconds from one image to the next."""
    times = np.unique(table["time"])
    return float(np.median(np.diff(times))) if len(times) > 1 else 1 / 30


def _spans(times: NDArray[np.floating], period: float) -> list[tuple[float, float]]:
    """(begin, length) of the stretches in which times follow each other."""
    if not len(times):
        return []
    breaks = np.flatnonzero(np.diff(times) > 1.5 * period)
    begins = times[np.concatenate([[0], breaks + 1])]
    ends = times[np.concatenate([breaks, [len(times) - 1]])] + period
    return [(float(begin), float(end - begin)) for begin, end in zip(begins, ends, strict=True)]


def _resampled(
    table: Table, rows: NDArray[np.bool_], names: Sequence[str]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Columns of some rows, as means over even stretches of time; NaN where there is nothing.

    Returns:
        Times `(N,)` and values `(len(names), N)`.
    """
    end = table["time"].max() + _image_period(table)
    count = int(min(_BINS, max(2, round(end / _image_period(table)))))
    edges = np.linspace(0, end, count + 1)
    place = np.clip(np.searchsorted(edges, table["time"][rows] + 1e-9, side="right") - 1, 0, count - 1)
    values = np.full((len(names), count), np.nan)
    for row, name in enumerate(names):
        column = table[name][rows].astype(np.float64)
        is_known = np.isfinite(column)
        sums = np.bincount(place[is_known], column[is_known], count)
        counts = np.bincount(place[is_known], minlength=count)
        values[row, counts > 0] = sums[counts > 0] / counts[counts > 0]
    return (edges[:-1] + edges[1:]) / 2, values
