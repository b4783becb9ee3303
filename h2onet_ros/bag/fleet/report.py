"""What came of many recordings, for people: a table for the terminal, a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from h2onet_ros.bag.evaluation.page import write_page
from h2onet_ros.bag.figures import FIGURES, Figure, figure, text_table

_COLUMNS = (
    ("with hand", figure("coverage")),
    ("recall", figure("accuracy.detection.recall")),
    ("MPJPE", figure("accuracy.errors.all.mpjpe")),
    ("PA-MPJPE", figure("accuracy.errors.all.pa_mpjpe")),
    ("wrist", figure("accuracy.errors.all.wrist_error")),
    ("jitter", figure("stability.jitter_at_rest")),
    ("bones", figure("stability.bone_length_variation")),
)


def summary_text(summary: dict[str, Any]) -> str:
    """A row for each recording and one for all; then the first problem of each that has any."""
    columns = _used_columns(summary)
    header = ["recording", "status", "images", "images/s", *(title for title, _ in columns)]
    rows = [[row["name"], *_cells(row, columns)] for row in summary["recordings"]]
    total = summary["total"]
    done = f"{summary['statuses'].get('done', 0)} of {len(summary['recordings'])}"
    rate = _rate(total["images"], summary["seconds"])
    rows.append(
        ["all", done, str(total["images"]), rate, *(one.show(one.value(total)) for _, one in columns)]
    )
    lines = [text_table(header, rows)]
    for row in summary["recordings"]:
        if row["problems"]:
            more = len(row["problems"]) - 1
            lines.append(f"{row['name']}: {row['problems'][0]}{f' (and {more} more)' if more else ''}")
    return "\n".join(lines)


def write_summary_page(summary: dict[str, Any], path: Path) -> None:
    """Write the page, which points to each recording's own report where there is one.

    Raises:
        BagError: where it cannot be written.
    """
    columns = _used_columns(summary)
    total, recordings = summary["total"], summary["recordings"]
    statuses = ", ".join(f"{count} {status}" for status, count in summary["statuses"].items())
    cards = [("recordings done", f"{summary['statuses'].get('done', 0)} of {len(recordings)}")]
    cards.append(("images", str(total["images"])))
    if total["images_unreadable"]:
        cards.append(("images lost", str(total["images_unreadable"])))
    cards += [(one.title, one.show(one.value(total))) for one in FIGURES if one.value(total) is not None]
    settings = {name: value for name, value in summary["settings"].items() if value is not None}
    write_page(
        path,
        "fleet.html.jinja",
        {
            "subtitle": f"{statuses} · {total['images']} images in {summary['seconds']:.1f} s "
            f"({_rate(total['images'], summary['seconds'])} a second) · {summary['workers']}",
            "problems": [
                f"{row['name']}: {row['status']}"
                for row in recordings
                if row["status"] not in ("done", "losses")
            ],
            "cards": cards,
            "header": [
                "recording",
                "status",
                "images",
                "images/s",
                *(title for title, _ in columns),
                "problems",
            ],
            "rows": [
                {
                    "name": row["name"],
                    "link": _link(row, path.parent),
                    "cells": _cells(row, columns),
                    "problems": row["problems"],
                }
                for row in recordings
            ],
            "settings": list(settings.items()),
        },
    )


def _used_columns(summary: dict[str, Any]) -> list[tuple[str, Figure]]:
    """The columns of which at least one recording knows something."""
    metrics = [row["metrics"] for row in summary["recordings"]]
    return [(title, one) for title, one in _COLUMNS if any(one.value(each) is not None for each in metrics)]


def _cells(row: dict[str, Any], columns: list[tuple[str, Figure]]) -> list[str]:
    metrics = row["metrics"]
    again = f" (attempt {row['attempts']})" if row["attempts"] > 1 else ""
    counts = [str(metrics["images"]), _rate(metrics["images"], row["seconds"])] if metrics else ["–", "–"]
    return [row["status"] + again, *counts, *(one.show(one.value(metrics)) for _, one in columns)]


def _rate(images: int, seconds: float | None) -> str:
    return f"{images / seconds:.1f}" if seconds else "–"


def _link(row: dict[str, Any], folder: Path) -> str:
    if not (Path(row["out"]) / "report.html").is_file():
        return ""
    # Relative, so that the whole folder may be moved.
    return (Path(os.path.relpath(row["out"], folder.absolute())) / "report.html").as_posix()
