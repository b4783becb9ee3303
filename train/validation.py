"""The held-out samples that a run is judged by while it trains: those that `train.evaluate --count` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from h2onet_ros.model import H2ONet
from h2onet_ros.perception.crop import CROP_SCALE
from train.data import RealSource, SyntheticSource
from train.datasets.base import OrderedSource
from train.evaluation.metrics import metrics_2d, metrics_3d
from train.evaluation.pictures import draw_predictions
from train.evaluation.predictions import Samples, first, predict, spread
from train.evaluation.predictors import NetworkPredictor, Subject

SHOWN = 8


@dataclass
class Checked:
    """What a validation found: figures, and pictures (BGR) of a few samples of every set."""

    figures: dict[str, float]
    pictures: dict[str, np.ndarray]

    def error(self, name: str = "") -> float | None:
        """The figure of which the smallest is the best; None where nothing was validated.

        Raises:
            ValueError: there is no figure of that name.
        """
        if name and name not in self.figures:
            raise ValueError(
                f"best: no validation figure {name!r}; there are {', '.join(sorted(self.figures)) or 'none'}"
            )
        for ending in (name,) if name else ("pa_mpjpe_mm", "uv_mean"):
            for figure, value in self.figures.items():
                if figure.endswith(ending):
                    return value
        return None


class Validation:
    """Held-out samples.

    Args:
        held_out: ordered sources by name; of photographs only the image points count.
        count: samples of each.
        frames: of the network.
        upright: how crops are made.
        crop_scale: side of upright crops over the longer side of the hand's box.
    """

    def __init__(
        self,
        held_out: Mapping[str, OrderedSource],
        count: int,
        frames: int,
        upright: bool = True,
        crop_scale: float = CROP_SCALE,
    ) -> None:
        self._upright, self._frames, self._crop_scale = upright, frames, crop_scale
        self._sets: dict[str, tuple[Samples, bool]] = {}
        for name, source in held_out.items():
            rows = first(source, count) if isinstance(source, SyntheticSource) else spread(source, count)
            self._sets[name] = (Samples(source, frames, rows), not isinstance(source, RealSource))

    def __call__(self, network: H2ONet) -> Checked:
        predictor = NetworkPredictor(network)
        subject = Subject("", predictor, network.topology, self._upright, self._frames, self._crop_scale)
        checked = Checked({}, {})
        for name, (samples, has_mesh) in self._sets.items():
            p = predict(subject, samples, network.topology.joint_regressor)
            figures = (metrics_3d(p) if has_mesh else {}) | metrics_2d(p)
            checked.figures |= {f"{name}_{figure}": round(value, 4) for figure, value in figures.items()}
            shown = spread(samples, SHOWN)
            checked.pictures[name] = draw_predictions(p, subject, samples, shown)
        return checked
