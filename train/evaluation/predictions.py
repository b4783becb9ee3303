"""A predictor's answers for samples, beside the truth; and which samples a data set is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from h2onet_ros.perception.crop import to_network
from train.augment import CropJitter
from train.batches import Crop
from train.data import make_crop
from train.datasets.base import Frame, OrderedSource
from train.evaluation.predictors import Subject
from train.reference_crop import ReferenceAugmentation

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
        occlusion, true_occlusion: (N, 6); NaN where not told, or not labelled.
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


def crop_frame(frame: Frame, subject: Subject, jitter: CropJitter, rng: np.random.Generator) -> Crop:
    """The crop that a subject is given.

    Published crops do not vary: their `jitter` is not used.
    """
    if subject.upright:
        return make_crop(frame, 0.0, replace(jitter, crop_scale=subject.crop_scale), rng)
    return ReferenceAugmentation.still().crop(frame)


def predict(
    subject: Subject,
    samples: Sequence[list[Frame]],
    joint_regressor: np.ndarray,
    first: int = 0,
    batch: int = 32,
    jitter: CropJitter = STILL,
    forget: bool = False,
) -> Predictions:
    """Run samples, each one frame or three (now, short-term past, long-term past), through the network.

    Args:
        subject: what to evaluate.
        samples: a single frame stands for its own past.
        joint_regressor: (21, V), makes the true joints from the true vertices where none are annotated.
        first: number of the first sample in its data set.
        batch: samples at a time.
        jitter: how crops vary; the same for every call (seeded by the sample's number).
        forget: treat every sample as a single frame.
    """
    parts = []
    for begin in range(0, len(samples), batch):
        chosen = [samples[i] for i in range(begin, min(begin + batch, len(samples)))]
        # Crops of all frames in a row, and where each sample's three moments are: none is encoded twice.
        crops: list[Crop] = []
        moments: list[list[int]] = []
        for number, sample in enumerate(chosen, first + begin):
            rng = np.random.default_rng([11, number])
            frames = sample[:1] if forget else sample
            moments.append([len(crops) + min(k, len(frames) - 1) for k in range(3)])
            crops += [crop_frame(frame, subject, jitter, rng) for frame in frames]
        images = to_network([image for image, _, _ in crops])
        features = subject.encode(images, np.stack([uv for _, uv, _ in crops]))
        hands = subject.predictor.fuse(*(features.select(rows) for rows in np.array(moments).T))
        now = [crops[rows[0]] for rows in moments]
        truth = [true_hand(s[0], turn, joint_regressor) for s, (_, _, turn) in zip(chosen, now)]
        parts.append(
            Predictions(
                uv=features.uv[[rows[0] for rows in moments]],
                true_uv=np.stack([uv for _, uv, _ in now]),
                vertices=hands.vertices,
                true_vertices=np.stack([vertices for vertices, _ in truth]),
                joints=hands.joints,
                true_joints=np.stack([joints for _, joints in truth]),
                rotation=hands.rotation,
                true_rotation=np.stack([turn for _, _, turn in now]),
                occlusion=hands.occlusion,
                true_occlusion=true_occlusion(chosen),
            )
        )
    return Predictions(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in vars(parts[0])})


def true_occlusion(samples: Sequence[list[Frame]]) -> np.ndarray:
    """(N, 6) of the newest frames; NaN where there are no labels."""
    return np.stack([s[0].occlusion if s[0].occlusion_weight > 0 else np.full(6, np.nan) for s in samples])


def true_hand(frame: Frame, rotation: np.ndarray, regressor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True vertices and joints relative to the wrist joint, in the axes of the crop's rotation label."""
    vertices = frame.vertices @ rotation.T
    joints = regressor @ vertices
    wrist = joints[0]
    if frame.joints is not None:
        joints = (frame.joints - frame.joints[0]) @ (rotation @ frame.rotation.T).T
    return vertices - wrist, joints - joints[0]


class Samples(Sequence[list[Frame]]):
    """Samples of a source, read when they are asked for.

    Args:
        source: an ordered source.
        frames: of each sample, 1 or 3.
        rows: which samples; None: all.
    """

    def __init__(self, source: OrderedSource, frames: int, rows: Iterable[int] | None = None) -> None:
        self._source, self._frames = source, frames
        self.rows = list(range(len(source)) if rows is None else map(int, rows))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._source.sample(self.rows[index], self._frames)


def spread(source: Sized, count: int | None = None) -> np.ndarray:
    """Up to `count` rows of a source, evenly spread over it; None: all."""
    return np.linspace(0, len(source) - 1, min(count or len(source), len(source))).round().astype(int)


def first(source: Sized, count: int | None = None) -> range:
    """The first `count` rows of a source; None: all. For samples that are in no order."""
    return range(min(count or len(source), len(source)))
