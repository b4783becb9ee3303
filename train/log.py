"""What a run tells: lines of JSON, TensorBoard's curves and pictures, the picture of its curve."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train.curve import LOG, draw_curve

TENSORBOARD = "tensorboard"


class RunLog:
    """The log of one run folder. What a killed run logged after its last checkpoint is taken back.

    Args:
        folder: of the run.
        step: where the run goes on from.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._path = folder / LOG
        if self._path.exists():
            kept = [line for line in _complete_lines(self._path) if json.loads(line)["step"] <= step]
            partial = self._path.with_suffix(".partial")
            partial.write_text("".join(f"{line}\n" for line in kept))
            partial.replace(self._path)
        self._board = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def losses(self, step: int, elapsed: float, rate: float, terms: Mapping[str, float]) -> None:
        """Mean loss terms of the last few steps."""
        self._append({"step": step, "elapsed": round(elapsed, 1), "rate": rate, **terms})
        for name, value in {"learning_rate": rate, **{f"loss/{n}": v for n, v in terms.items()}}.items():
            self._board.add_scalar(name, value, step)

    def validation(
        self, step: int, elapsed: float, figures: Mapping[str, float], pictures: Mapping[str, np.ndarray]
    ) -> None:
        """Figures of the held-out samples, and pictures (H, W, 3) uint8 BGR."""
        self._append({"step": step, "elapsed": round(elapsed, 1), "validation": dict(figures)})
        for name, value in figures.items():
            self._board.add_scalar(f"validation/{name}", value, step)
        for name, picture in pictures.items():
            self._board.add_image(name, picture[..., ::-1].copy(), step, dataformats="HWC")
        self._board.flush()
        draw_curve(self._folder)

    def close(self) -> None:
        draw_curve(self._folder)
        self._board.close()

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def _complete_lines(path: Path) -> list[str]:
    """Lines that hold JSON: the last one may have been cut by a kill."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            json.loads(line)
        except ValueError:
            continue
        lines.append(line)
    return lines
