"""Training batches: data sets mixed by weight, cropped and photographed at random.

A sample belongs to its place in the run: it is drawn from a generator seeded by (seed, step, place in the
batch). So a resumed run sees what the uninterrupted one would have seen, whatever the number of loading
processes, and a run on several machines sees what it would have seen on one.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from train.augment import CropJitter, Photography, PhotoJitter, random_rotation
from train.data import make_crop
from train.datasets.base import DataSetError, Frame, Source
from train.reference_crop import ReferenceAugmentation, ReferenceJitter
from train.sampling import drawn

Crop = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Picture (S, S, 3) uint8, image points (21, 2) in 0..1, rotation label (3, 3)."""


@dataclass
class Batch:
    """F frames of B samples; labels in the axes of the camera that the crops stand for.

    Attributes:
        images: (F, B, 3, S, S) uint8.
        uv: (F, B, 21, 2), 0..1 across the crop.
        vertices: (F, B, V, 3) canonical, metres.
        joints: (F, B, 21, 3) canonical, metres.
        rotation: (F, B, 3, 3).
        occlusion: (F, B, 6).
        mesh_weight, uv_weight, occlusion_weight: (F, B).
        names: of the B samples.
    """

    images: Tensor
    uv: Tensor
    vertices: Tensor
    joints: Tensor
    rotation: Tensor
    occlusion: Tensor
    mesh_weight: Tensor
    uv_weight: Tensor
    occlusion_weight: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        return self._each(Tensor.pin_memory)

    def _each(self, change: Any) -> Batch:
        values = (getattr(self, f.name) for f in fields(self))
        return Batch(*(change(value) if isinstance(value, Tensor) else value for value in values))


@dataclass(frozen=True)
class Mixture:
    """How batches are made up.

    Attributes:
        batch: samples of a batch of single frames, over all processes together.
        triplet_batch: samples of a batch of three frames each, likewise.
        triplet_share: share of the batches that hold triplets; single-frame networks see none.
        augmentation: "upright" crops stand as a tracker makes them and vary by `crop` and `photo`;
            "published" ones are made as in the paper and vary by `published`.
        crop, photo: what is varied in upright crops; a data set can have a `photo` of its own.
        published: what is varied in published crops.
    """

    batch: int = 32
    triplet_batch: int = 12
    triplet_share: float = 0.25
    augmentation: Literal["upright", "published"] = "upright"
    crop: CropJitter = field(default_factory=CropJitter)
    photo: PhotoJitter = field(default_factory=PhotoJitter)
    published: ReferenceJitter = field(default_factory=ReferenceJitter)

    def __post_init__(self) -> None:
        if self.augmentation not in ("upright", "published"):
            raise ValueError(f"augmentation must be upright or published, got {self.augmentation!r}")
        if self.batch < 1 or self.triplet_batch < 1:
            raise ValueError(f"batches must hold samples, got {self.batch} and {self.triplet_batch}")

    def samples_per_step(self, frames: int) -> float:
        """Samples of a step, on average, of a network that looks at so many frames."""
        share = self.triplet_share if frames == 3 else 0.0
        return share * self.triplet_batch + (1 - share) * self.batch


@dataclass(frozen=True)
class Ingredient:
    """One data set of a mixture: how often it is drawn from, and how its pictures vary if not as all do."""

    source: Source
    weight: float = 1.0
    photo: PhotoJitter | None = None


class StepBatches(Dataset):
    """The batch of every step, `[step]`; see the module's docstring.

    Args:
        mixture: how batches are made up.
        ingredients: the data sets, by name.
        joint_regressor: (21, V) of the mesh that is trained on; makes joints where none are annotated.
        seed: of the run.
        frames: of the network, 1 or 3.
        part: this process's number, and how many there are: each gets its share of every batch.

    Raises:
        ValueError: no data, or batches that cannot be shared out.
    """

    def __init__(
        self,
        mixture: Mixture,
        ingredients: Mapping[str, Ingredient],
        joint_regressor: np.ndarray,
        seed: int,
        frames: int = 3,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        empty = [name for name, ingredient in ingredients.items() if not len(ingredient.source)]
        if empty or not ingredients:
            raise ValueError(
                f"nothing to train on: {' and '.join(empty)} without samples"
                if empty
                else "nothing to train on: give the folder of at least one data set"
            )
        sizes = {}
        if frames == 1 or mixture.triplet_share < 1:
            sizes[""] = mixture.batch
        if frames == 3 and mixture.triplet_share > 0:
            sizes[" x 3 frames"] = mixture.triplet_batch
        for size in sizes.values():
            if size % part[1]:
                raise ValueError(
                    f"a batch of {size} samples cannot be shared out evenly to {part[1]} processes: choose "
                    "another number of processes or another batch"
                )
        weights = np.array([ingredient.weight for ingredient in ingredients.values()], np.float64)
        if not (weights >= 0).all() or not weights.sum() > 0:
            raise ValueError(f"weights of data sets must not be negative, and not all 0: {weights.tolist()}")
        self._sizes = sizes
        self.mixture, self.seed, self.frames = mixture, seed, frames
        self._ingredients = list(ingredients.values())
        self._cumulative = np.cumsum(weights)
        self._regressor = joint_regressor.astype(np.float32)
        self._rank, self._world = part

    def describe(self) -> str:
        """How many samples a step has, and which part of them is this process's."""
        sizes = [f"{size}{kind}" for kind, size in self._sizes.items()]
        shared = f", each shared out to {self._world} processes" if self._world > 1 else ""
        return " or ".join(sizes) + shared

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(0)
        mixture = self.mixture
        triplets = (
            self.frames == 3 and np.random.default_rng([self.seed, step]).random() < mixture.triplet_share
        )
        size, frames = (mixture.triplet_batch, 3) if triplets else (mixture.batch, 1)
        share = size // self._world
        places = range(self._rank * share, (self._rank + 1) * share)
        samples, names = zip(*(self._sample(step, place, frames) for place in places))
        return _collate(samples, names)

    def _sample(self, step: int, place: int, count: int) -> tuple[list[tuple], str]:
        rng = np.random.default_rng([self.seed, step, place])
        ingredient = self._ingredients[drawn(self._cumulative, rng)]
        frames = ingredient.source.draw(rng, count)
        crops = self._crops(frames, ingredient, rng)
        return [
            (*crop, *self._labels(frame), frame.mesh_weight, frame.point_weight, frame.occlusion_weight)
            for frame, crop in zip(frames, crops, strict=True)
        ], frames[0].name

    def _crops(self, frames: list[Frame], ingredient: Ingredient, rng: np.random.Generator) -> list[Crop]:
        mixture = self.mixture
        if mixture.augmentation == "published":
            augmentation = ReferenceAugmentation.draw(mixture.published, rng)
            return [augmentation.crop(frame) for frame in frames]
        photography = Photography(ingredient.photo or mixture.photo, rng)
        rotation = random_rotation(mixture.crop, rng)
        crops = []
        for frame in frames:
            image, uv, turned = make_crop(frame, rotation, mixture.crop, rng)
            crops.append((photography(image), uv, turned))
        return crops

    def _labels(self, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices and joints, canonical, and the occlusion; refuses labels that count but are no numbers."""
        joints = self._regressor @ frame.vertices
        if frame.joints is not None:
            joints = (frame.joints - frame.joints[0]) @ frame.rotation + joints[0]
        counted = {
            "image points": (frame.points, frame.point_weight),
            "mesh": (frame.vertices, frame.mesh_weight),
            "joints": (joints, frame.mesh_weight),
            "rotation": (frame.rotation, frame.mesh_weight),
            "occlusion": (frame.occlusion, frame.occlusion_weight),
        }
        broken = [
            name for name, (value, weight) in counted.items() if weight > 0 and not np.isfinite(value).all()
        ]
        if broken:
            raise DataSetError(
                f"{frame.name or 'a sample'}: {', '.join(broken)} hold NaN or infinity; "
                "`python -m train.check_data` lists all such samples"
            )
        return frame.vertices, joints, frame.occlusion


def _collate(samples: tuple[list[tuple], ...], names: tuple[str, ...]) -> Batch:
    def gather(item: int, dtype: type) -> Tensor:
        return torch.as_tensor(
            np.stack([np.stack([f[item] for f in sample]) for sample in samples], 1).astype(dtype)
        )

    image, uv, rotation, vertices, joints, occlusion, mesh, point, occluded = range(9)
    return Batch(
        images=gather(image, np.uint8).permute(0, 1, 4, 2, 3),
        uv=gather(uv, np.float32),
        vertices=gather(vertices, np.float32),
        joints=gather(joints, np.float32),
        rotation=gather(rotation, np.float32),
        occlusion=gather(occlusion, np.float32),
        mesh_weight=gather(mesh, np.float32),
        uv_weight=gather(point, np.float32),
        occlusion_weight=gather(occluded, np.float32),
        names=names,
    )


def load_steps(batches: StepBatches, start: int, stop: int, workers: int) -> DataLoader:
    """The batches of steps `start` to `stop - 1`, loaded by `workers` processes (0: by this one)."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_leave_signals_to_the_parent if workers else None,
    )


def _leave_signals_to_the_parent(_worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the parent finishes its step and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
