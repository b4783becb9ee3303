"""A predictor's answers for samples, beside the truth; and which samples a data set is judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from h2onet_ros.perception.crop import to_network
from train.augment import CropJitter
from train.data import Frame, RealSource, SyntheticSource, make_crop
from train.evaluation.predictors import Predictor

STILL = CropJitter(rotate_probability=0.0, scale=0.0, shift=0.0)
"""The hand's own region, upright."""

TRACKING = CropJitter(rotate_probability=0.0)
"""Regions that vary as a tracker's do."""


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

    def __len__(self) -> int:
        return len(self.uv)

    def select(self, rows: np.ndarray) -> Predictions:
        """Some of the samples, by index or mask."""
        return Predictions(**{name: value[rows] for name, value in vars(self).items()})


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
        features = [predictor.encode(to_network(images)) for images in (now, *past)]
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
