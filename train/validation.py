"""The held-out samples that a run is judged by while it trains: the first ones of `train.evaluate`."""

from __future__ import annotations

from h2onet_ros.model import H2ONet
from train.data import Frame, RealSource, SyntheticSource
from train.evaluation.metrics import metrics_2d, metrics_3d
from train.evaluation.predictions import predict, real_samples, synthetic_samples
from train.evaluation.predictors import NetworkPredictor


class Validation:
    """The held-out samples of a run, kept in memory."""

    def __init__(self, test: SyntheticSource | None, held_out: RealSource | None, count: int) -> None:
        self._synthetic: list[list[Frame]] = synthetic_samples(test, count) if test else []
        self._real: list[list[Frame]] = real_samples(held_out, count) if held_out and len(held_out) else []

    def __call__(self, network: H2ONet) -> dict[str, float]:
        predictor = NetworkPredictor(network)
        regressor = network.topology.joint_regressor
        found: dict[str, float] = {}
        if self._synthetic:
            p = predict(predictor, self._synthetic, regressor)
            found |= {f"synthetic_{k}": v for k, v in {**metrics_3d(p), **metrics_2d(p)}.items()}
        if self._real:
            found |= {
                f"real_{k}": v for k, v in metrics_2d(predict(predictor, self._real, regressor)).items()
            }
        return {name: round(value, 4) for name, value in found.items()}
