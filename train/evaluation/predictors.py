"""What is evaluated: a weights bundle as the node runs it, a training run, or anything like them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from h2onet_ros.engines import WeightsBundle, create_engine
from h2onet_ros.engines.base import FrameFeatures, FusedHands
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet


class Predictor(Protocol):
    """An `engines.Engine`, a `NetworkPredictor`, or another method of finding hands in crops.

    `encode` takes crops (B, 3, S, S) float32 in 0..1 of right hands. Metrics of what a predictor leaves NaN
    (vertices of a landmark network, occlusion of a single-frame one) are left out.
    """

    def encode(self, crops: np.ndarray) -> FrameFeatures: ...

    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands: ...


class NetworkPredictor:
    """A PyTorch network behind the interface of the engines."""

    def __init__(self, network: H2ONet) -> None:
        self._network = network.eval()
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def encode(self, crops: np.ndarray) -> FrameFeatures:
        features = self._network.encode(torch.as_tensor(crops, device=self._device))
        return FrameFeatures(*(x.float().cpu().numpy() for x in features))

    @torch.inference_mode()
    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands:
        from h2onet_ros.model.network import FrameFeatures as Tensors

        frames = [
            Tensors(*(torch.as_tensor(getattr(f, name), device=self._device) for name in Tensors._fields))
            for f in (now, short, long)
        ]
        return FusedHands(*(x.float().cpu().numpy() for x in self._network.fuse(*frames)))


@dataclass(frozen=True)
class Subject:
    """A predictor and what has to be known to give it crops and to judge its answers.

    Attributes:
        name: for tables.
        predictor: gives the answers.
        topology: its mesh.
        upright: it wants crops in which the hand stands upright.
    """

    name: str
    predictor: Predictor
    topology: HandTopology
    upright: bool


def bundle_subject(folder: str | Path, engine: str = "onnxruntime") -> Subject:
    """A bundle, run by an engine.

    Raises:
        BundleError, EngineError: it cannot be used.
    """
    bundle = WeightsBundle.load(folder)
    return Subject(bundle.info.name, create_engine(bundle, engine), bundle.topology, bundle.info.upright)


def run_subject(path: str | Path) -> Subject:
    """A training run's averaged weights; its folder, or a checkpoint in it.

    Raises:
        TrainingError: no checkpoint there.
    """
    from train.checkpoint import load_network
    from train.export import was_trained_upright

    network, _ = load_network(path)
    return Subject(
        Path(path).stem, NetworkPredictor(network), network.topology, was_trained_upright(Path(path))
    )
