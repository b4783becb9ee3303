"""Figures of several sets as text and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Figures = dict[str, dict[str, float]]
"""Set -> metric -> value."""


@dataclass
class Found:
    """What an evaluation gives.

    Attributes:
        figures: by set and metric.
        pictures: (H, W, 3) uint8 BGR, by name.
        worst: of sets, the names of the worst samples and their PA-MPJPE in millimetres.
    """

    figures: Figures
    pictures: dict[str, np.ndarray]
    worst: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, other: Found) -> None:
        """Take over what another set gave."""
        self.figures |= other.figures
        self.pictures |= other.pictures
        self.worst |= other.worst


def table(figures: Figures, width: int = 110) -> str:
    """Figures as lines of text, one set a column, as many columns side by side as fit in `width` letters."""
    name_width = max(len(name) for part in figures.values() for name in part)
    column = max(12, *(len(head) + 2 for head in figures))
    heads, beside = list(figures), max(1, (width - name_width) // column)
    blocks = []
    for begin in range(0, len(heads), beside):
        shown = {head: figures[head] for head in heads[begin : begin + beside]}
        lines = [" " * name_width + "".join(f"{head:>{column}}" for head in shown)]
        for name in dict.fromkeys(name for part in shown.values() for name in part):
            cells = [f"{part[name]:{column}.4f}" if name in part else " " * column for part in shown.values()]
            lines.append(f"{name:<{name_width}}" + "".join(cells))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def flat(figures: Figures) -> dict[str, float]:
    """Figures as one level, `set_metric`: what a bundle keeps."""
    return {f"{part}_{name}": round(v, 4) for part, found in figures.items() for name, v in found.items()}
