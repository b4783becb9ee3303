"""Accuracy of a network on held-out samples: 3D where truth exists, 2D on real photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from h2onet_ros.engines.base import FrameFeatures, FusedHands
from h2onet_ros.hand.joints import OCCLUSION_NAMES
from h2onet_ros.hand.metrics import mean_distance, pa_mean_distance
from h2onet_ros.model import H2ONet
from train.augment import CropJitter
from train.data import Frame, RealSource, SyntheticSource, make_crop

STILL = CropJitter(rotate_probability=0.0, scale=0.0, shift=0.0)
"""The hand's own region, upright."""


class Predictor(Protocol):
    """What is evaluated: an `engines.Engine`, or a network wrapped by `NetworkPredictor`."""

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


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for N samples, with truth where it is known.

    Attributes:
        uv, true_uv: (N, 21, 2), 0..1 across the crop.
        vertices, true_vertices: (N, V, 3) oriented, metres, relative to the wrist.
        joints, true_joints: (N, 21, 3) likewise.
        rotation, true_rotation: (N, 3, 3).
        occlusion, true_occlusion: (N, 6).
    """

    uv: np.ndarray
    true_uv: np.ndarray
    vertices: np.ndarray
    true_vertices: np.ndarray
    joints: np.ndarray
    true_joints: np.ndarray
    rotation: np.ndarray
    true_rotation: np.ndarray
    occlusion: np.ndarray
    true_occlusion: np.ndarray


def predict(
    predictor: Predictor,
    samples: list[list[Frame]],
    joint_regressor: np.ndarray,
    batch: int = 32,
    jitter: CropJitter = STILL,
    forget: bool = False,
) -> Predictions:
    """Run samples, each one frame or three (now, short-term past, long-term past), through the network.

    Args:
        predictor: what to evaluate.
        samples: a single frame stands for its own past.
        joint_regressor: (21, V), makes the true joints from the true vertices.
        batch: hands at a time.
        jitter: how crops vary; the same for every call (seeded by the sample's number).
        forget: treat every sample as a single frame.
    """
    parts: list[dict[str, np.ndarray]] = []
    for begin in range(0, len(samples), batch):
        now, uv, rotation = [], [], []
        past: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        chosen = samples[begin : begin + batch]
        for number, sample in enumerate(chosen, begin):
            rng = np.random.default_rng([11, number])
            crops = [make_crop(frame, 0.0, jitter, rng) for frame in sample]
            now.append(crops[0][0])
            uv.append(crops[0][1])
            rotation.append(crops[0][2])
            for age in (0, 1):
                past[age].append(crops[0 if forget or len(crops) == 1 else age + 1][0])
        features = [predictor.encode(_to_input(images)) for images in (now, *past)]
        hands = predictor.fuse(*features)
        truth = np.stack([sample[0].vertices for sample in chosen])
        turned = np.einsum("nij,nvj->nvi", np.stack(rotation), truth)
        joints = np.einsum("jv,nvi->nji", joint_regressor, turned)
        parts.append(
            {
                "uv": features[0].uv,
                "true_uv": np.stack(uv),
                "vertices": hands.vertices,
                "true_vertices": turned - joints[:, :1],
                "joints": hands.joints,
                "true_joints": joints - joints[:, :1],
                "rotation": hands.rotation,
                "true_rotation": np.stack(rotation),
                "occlusion": hands.occlusion,
                "true_occlusion": np.stack([sample[0].occlusion for sample in chosen]),
            }
        )
    return Predictions(**{name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def metrics_3d(p: Predictions) -> dict[str, float]:
    """Errors in millimetres and degrees against full truth, and F1 of the occlusion of each finger."""
    found = {
        "pa_mpjpe_mm": 1e3 * float(pa_mean_distance(p.joints, p.true_joints).mean()),
        "pa_mpvpe_mm": 1e3 * float(pa_mean_distance(p.vertices, p.true_vertices).mean()),
        "mpjpe_mm": 1e3 * float(mean_distance(p.joints, p.true_joints).mean()),
        "mpvpe_mm": 1e3 * float(mean_distance(p.vertices, p.true_vertices).mean()),
        "rotation_median_deg": float(np.median(rotation_angles(p.rotation, p.true_rotation))),
    }
    if np.isfinite(p.occlusion).all():
        for column, name in enumerate(OCCLUSION_NAMES):
            found[f"occlusion_f1_{name}"] = f1(
                p.occlusion[:, column] > 0.5, p.true_occlusion[:, column] > 0.5
            )
    return found


def metrics_2d(p: Predictions) -> dict[str, float]:
    """Distances of the image points from the given ones in sides of the hand's box; mean, median of the
    samples' means, and the share of samples beyond 0.15."""
    error = uv_errors(p)
    return {
        "uv_mean": float(error.mean()),
        "uv_median": float(np.median(error)),
        "uv_failures": float((error > 0.15).mean()),
    }


def uv_errors(p: Predictions) -> np.ndarray:
    """(N,) mean distance of each sample's image points from the given ones, in sides of the hand's box."""
    box = np.ptp(p.true_uv, axis=1).max(1)
    return np.linalg.norm(p.uv - p.true_uv, axis=-1).mean(1) / box


def rotation_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) degrees between rotations (N, 3, 3)."""
    cosine = (np.einsum("nij,nij->n", a, b) - 1) / 2
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Harmonic mean of precision and recall; 1 where there is nothing to find and nothing was found."""
    hits = float((predicted & truth).sum())
    wrong = float((predicted ^ truth).sum())
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 1.0


def synthetic_samples(source: SyntheticSource, count: int | None = None) -> list[list[Frame]]:
    """The first `count` samples of a rendered data set (None: all), with all their frames."""
    samples = []
    for index in range(min(count or len(source), len(source))):
        shard, rows = source.shards.locate(index)
        samples.append([source.frame(shard, row) for row in range(rows.start, rows.stop)])
    return samples


def real_rows(source: RealSource, count: int | None = None) -> np.ndarray:
    """Up to `count` rows of real crops, evenly spread over the source."""
    return np.linspace(0, len(source) - 1, min(count or len(source), len(source))).round().astype(int)


def real_samples(source: RealSource, count: int | None = None) -> list[list[Frame]]:
    """The crops of `real_rows`."""
    return [[source.frame(int(row))] for row in real_rows(source, count)]


def _to_input(images: list[np.ndarray]) -> np.ndarray:
    from h2onet_ros.perception.crop import to_network

    return to_network(images)
