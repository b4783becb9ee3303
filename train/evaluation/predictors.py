"""What is evaluated: a weights bundle as the node runs it, a training run, or anything like them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from h2onet_ros.engines import WeightsBundle, create_engine
from h2onet_ros.engines.base import FrameFeatures, FusedHands
from h2onet_ros.hand.model import HandModel
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet
from h2onet_ros.model.orientation import rotation_from_6d
from h2onet_ros.model.weights import load_network as load_bundle_network
from h2onet_ros.perception.crop import CROP_SCALE


class Predictor(Protocol):
    """An `engines.Engine`, a `NetworkPredictor`, or another method of finding hands in crops.

    `encode` takes crops (B, 3, S, S) float32 in 0..1 of right hands. Metrics of what a predictor leaves NaN
    (vertices of a landmark network, occlusion of a single-frame one) are left out.
    """

    def encode(self, crops: np.ndarray) -> FrameFeatures: ...

    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands: ...


class NetworkPredictor:
    """A PyTorch network behind the interface of the engines.

    Args:
        network: put into evaluation mode.
        published_joints: turn the joints by the current frame's own rotation alone, without the offset that
            the mesh gets, as the published evaluation of the multi-frame network does. The joints then do not
            fit the mesh; errors after Procrustes alignment are the same.
    """

    def __init__(self, network: H2ONet, published_joints: bool = False) -> None:
        self._network = network.eval()
        self._published_joints = published_joints
        self._device = next(network.parameters()).device

    @torch.inference_mode()
    def encode(self, crops: np.ndarray, points: np.ndarray | None = None) -> FrameFeatures:
        """As a `Predictor`; with `points` (B, 21, 2), 0..1, in place of the network's own image points."""
        uv = None if points is None else torch.as_tensor(points, dtype=torch.float32, device=self._device)
        features = self._network.encode(torch.as_tensor(crops, device=self._device), uv)
        return FrameFeatures(*(x.float().cpu().numpy() for x in features))

    @torch.inference_mode()
    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands:
        from h2onet_ros.model.network import FrameFeatures as Tensors

        frames = [
            Tensors(*(torch.as_tensor(getattr(f, name), device=self._device) for name in Tensors._fields))
            for f in (now, short, long)
        ]
        hands = self._network.fuse(*frames)
        if self._published_joints:
            own = rotation_from_6d(self._network.decoder3d.rot_reg.rotation_6d(frames[0].orientation).float())
            hands = hands._replace(joints=hands.joints @ hands.rotation @ own.transpose(1, 2))
        return FusedHands(*(x.float().cpu().numpy() for x in hands))


@dataclass(frozen=True)
class Subject:
    """A predictor and what has to be known to give it crops and to judge its answers.

    Attributes:
        name: for tables.
        predictor: gives the answers.
        topology: its mesh.
        upright: it wants crops in which the hand stands upright.
        frames: it looks at, 1 or 3.
        crop_scale: side of upright crops over the longer side of the hand's box.
        true_points: it is told the true image points (a `NetworkPredictor` can be).
    """

    name: str
    predictor: Predictor
    topology: HandTopology
    upright: bool
    frames: int = 3
    crop_scale: float = CROP_SCALE
    true_points: bool = False

    def encode(self, crops: np.ndarray, points: np.ndarray) -> FrameFeatures:
        """The predictor's features of crops (B, 3, S, S) with true image points (B, 21, 2)."""
        if not self.true_points:
            return self.predictor.encode(crops)
        assert isinstance(self.predictor, NetworkPredictor)
        return self.predictor.encode(crops, points)

    def has_mesh_of(self, hand: HandModel) -> bool:
        """Whether its vertices are those of `hand`, one by one."""
        return bool(np.array_equal(self.topology.faces, hand.faces))


def bundle_subject(
    folder: str | Path, engine: str = "onnxruntime", published_joints: bool = False, true_points: bool = False
) -> Subject:
    """A bundle, run by an engine; by PyTorch where its joints or points are to be others.

    Raises:
        BundleError, EngineError: it cannot be used.
    """
    bundle = WeightsBundle.load(folder)
    info = bundle.info
    predictor: Predictor
    if published_joints or true_points:
        predictor = NetworkPredictor(load_bundle_network(bundle), published_joints)
    else:
        predictor = create_engine(bundle, engine)
    frames = 3 if info.variant == "multi_frame" else 1
    return Subject(info.name, predictor, bundle.topology, info.upright, frames, info.crop_scale, true_points)


def run_subject(path: str | Path, published_joints: bool = False, true_points: bool = False) -> Subject:
    """A training run's averaged weights; its folder, or a checkpoint in it.

    Raises:
        TrainingError: no checkpoint there.
    """
    from train.checkpoint import load_network
    from train.export import run_config, was_trained_upright

    network, _ = load_network(path)
    predictor = NetworkPredictor(network, published_joints)
    mixture = run_config(Path(path)).mixture
    return Subject(
        Path(path).stem,
        predictor,
        network.topology,
        was_trained_upright(mixture),
        network.config.frames,
        mixture.crop.crop_scale,
        true_points,
    )
