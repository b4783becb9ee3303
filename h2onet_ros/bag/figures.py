"""The figures of metrics.json that reports on several evaluations show: their places and meanings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number of metrics.json.

    Attributes:
        path: its place there.
        title: for people.
        unit: what it is shown in.
        factor: times the stored value gives that.
        better: 1 where more is better, -1 where less is.
        digits: behind the point.
    """

    path: tuple[str, ...]
    title: str
    unit: str
    factor: float
    better: int
    digits: int

    @property
    def name(self) -> str:
        return ".".join(self.path)

    def value(self, metrics: dict[str, Any] | None) -> float | None:
        """Its value as stored; None where it is unknown."""
        entry: Any = metrics
        for key in self.path:
            if not isinstance(entry, dict):
                return None
            entry = entry.get(key)
        return entry

    def show(self, value: float | None, sign: bool = False) -> str:
        """A stored value in words, as "12.3 mm"."""
        if value is None:
            return "–"
        return (
            f"{self.factor * value:{'+' if sign else ''}.{self.digits}f}{' ' if self.unit else ''}{self.unit}"
        )


def _share(*path: str, title: str, better: int = 1) -> Figure:
    return Figure(path, title, "%", 100.0, better, 1)


def _length(*path: str, title: str) -> Figure:
    return Figure(path, title, "mm", 1000.0, -1, 1)


_ALL, _MANY = ("accuracy", "errors", "all"), ("accuracy", "errors", "many")
_FOUND = ("accuracy", "detection")

FIGURES = (
    _share("coverage", title="images with a hand"),
    _share(*_FOUND, "recall", title="hands found (recall)"),
    _share(*_FOUND, "precision", title="found hands that are there (precision)"),
    Figure((*_FOUND, "false_per_image"), "false hands an image", "", 1.0, -1, 3),
    Figure((*_FOUND, "id_switches"), "identity switches", "", 1.0, -1, 0),
    _share(*_FOUND, "handedness_accuracy", title="left and right told"),
    _length(*_ALL, "mpjpe", title="MPJPE"),
    _length(*_ALL, "pa_mpjpe", title="PA-MPJPE"),
    _length(*_ALL, "mpvpe", title="MPVPE"),
    _length(*_ALL, "pa_mpvpe", title="PA-MPVPE"),
    _length(*_MANY, "mpjpe", title="MPJPE, 3 to 5 fingers hidden"),
    Figure((*_ALL, "auc"), "AUC, 0 to 50 mm", "", 1.0, 1, 3),
    Figure((*_ALL, "pa_auc"), "PA-AUC, 0 to 50 mm", "", 1.0, 1, 3),
    Figure((*_ALL, "pa_f_5mm"), "PA-F@5 mm", "", 1.0, 1, 3),
    Figure((*_ALL, "pa_f_15mm"), "PA-F@15 mm", "", 1.0, 1, 3),
    _length(*_ALL, "wrist_error", title="wrist, absolute"),
    _length(*_ALL, "depth_error", title="wrist, along the optical axis"),
    Figure((*_ALL, "error_2d"), "image points", "px", 1.0, -1, 1),
    Figure(("accuracy", "occlusion", "fingers", "f1"), "hidden fingers, F1", "", 1.0, 1, 3),
    _share("stability", "bone_length_variation", title="bone lengths vary by", better=-1),
    Figure(("stability", "jitter_at_rest"), "jitter at rest", "mm", 1000.0, -1, 2),
    Figure(("stability", "reprojection_error_median"), "reprojection error", "px", 1.0, -1, 1),
)
"""Those of a recording without ground truth are None where they begin with "accuracy"."""


def figure(name: str) -> Figure:
    """The figure of that name, as "accuracy.errors.all.mpjpe"."""
    return next(one for one in FIGURES if one.name == name)


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """A table for a terminal; the first column is left-aligned."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if k == 0 else f"{cell:>{width}}"
            for k, (cell, width) in enumerate(zip(row, widths))
        )
        for row in [header, *rows]
    ]
    return "\n".join(line.rstrip() for line in lines)
