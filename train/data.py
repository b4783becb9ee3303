"""Training batches: synthetic shards and real crops, mixed by weight, cropped and photographed at random.

A batch belongs to a step: it is drawn from a generator seeded by (seed, step), so a resumed run sees what the
uninterrupted one would have seen, whatever the number of loading processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from h2onet_ros.hand.model import HandModel
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.crop import invert, transform_points
from train.augment import CropJitter, Photography, PhotoJitter, random_affine, random_rotation, turned_upright
from train.datasets.base import Frame
from train.fit import Fits, meshes
from train.real_crops import RealCrops
from train.synthetic.shards import ShardSet, decode

IMAGE_SIZE = 128


class SyntheticSource:
    """Frames of a rendered data set."""

    def __init__(self, folder: str | Path) -> None:
        self.shards = ShardSet(folder)
        counts = self.shards.frame_counts()
        self._triplets = np.flatnonzero(counts == 3)
        self._count = len(counts)

    def __len__(self) -> int:
        return self._count

    def draw(self, rng: np.random.Generator, frames: int) -> list[Frame]:
        """A random sample: any frame of any sample, or the three frames of a triplet."""
        if frames == 1 or not len(self._triplets):
            shard, span = self.shards.locate(int(rng.integers(self._count)))
            row = int(rng.integers(span.start, span.stop))
            return [self.frame(shard, row)] * frames
        shard, span = self.shards.locate(int(rng.choice(self._triplets)))
        return [self.frame(shard, row) for row in range(span.start, span.stop)]

    def frame(self, shard: dict[str, np.ndarray], row: int) -> Frame:
        """One frame of a shard."""
        rotation = np.array(shard["rotation"][row], np.float32)
        return Frame(
            image=decode(shard, row),
            points=np.array(shard["joints2d"][row]),
            camera=np.array(shard["camera"][row]),
            vertices=np.asarray(shard["vertices"][row]) @ rotation + shard["canonical_wrist"][row],
            rotation=rotation,
            occlusion=shard["occluded"][row].astype(np.float32),
        )


class RealSource:
    """Real crops; a mesh where the fitted hand explains the landmarks, else image points alone."""

    def __init__(self, crops: RealCrops, fits: Fits, hand: HandModel, mesh_weight: float) -> None:
        where = {str(name): row for row, name in enumerate(fits.names)}
        rows = np.array([where[str(name)] for name in crops.names])
        self.crops = crops
        self._vertices, self._rotation = meshes(fits, hand, rows)
        self._camera = fits.camera[rows]
        self._mesh_weight = np.where(fits.good()[rows], mesh_weight, 0.0)
        # Every source counts with the square root of its size: the largest shows only a few people.
        _, source, sizes = np.unique(crops.sources, return_inverse=True, return_counts=True)
        share = 1 / np.sqrt(sizes[source])
        self._cumulative = np.cumsum(share / share.sum())

    def __len__(self) -> int:
        return len(self.crops)

    def draw(self, rng: np.random.Generator, frames: int) -> list[Frame]:
        """A random crop; as several frames, a hand that keeps still."""
        row = min(int(np.searchsorted(self._cumulative, rng.random())), len(self) - 1)
        return [self.frame(row)] * frames

    def frame(self, row: int) -> Frame:
        """One crop."""
        return Frame(
            image=self.crops.image(row),
            points=self.crops.joints2d[row].astype(np.float64),
            camera=self._camera[row],
            vertices=self._vertices[row],
            rotation=self._rotation[row],
            occlusion=np.zeros(6, np.float32),
            mesh_weight=float(self._mesh_weight[row]),
            occlusion_weight=0.0,
        )


@dataclass
class Batch:
    """F frames of B samples; crops of `IMAGE_SIZE`, labels in the axes of a camera that looks at the crop's
    middle.

    Attributes:
        images: (F, B, 3, S, S) uint8.
        uv: (F, B, 21, 2), 0..1 across the crop.
        vertices: (F, B, V, 3) canonical, metres.
        rotation: (F, B, 3, 3).
        occlusion: (F, B, 6).
        mesh_weight, occlusion_weight: (F, B).
    """

    images: Tensor
    uv: Tensor
    vertices: Tensor
    rotation: Tensor
    occlusion: Tensor
    mesh_weight: Tensor
    occlusion_weight: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def pin_memory(self) -> Batch:
        return Batch(*(getattr(self, f.name).pin_memory() for f in fields(self)))


def make_crop(
    frame: Frame, rotation: float, jitter: CropJitter, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop, its image points (21, 2) in 0..1, and the rotation label that belongs to it."""
    rotation = turned_upright(frame.points, rotation, jitter)
    affine = random_affine(frame.points, IMAGE_SIZE, rotation, jitter, rng)
    image = cv2.warpAffine(frame.image, affine, (IMAGE_SIZE, IMAGE_SIZE), flags=cv2.INTER_LINEAR)
    uv = transform_points(affine, frame.points) / IMAGE_SIZE
    return image, uv, label_rotation(frame, affine, rotation)


def label_rotation(frame: Frame, affine: np.ndarray, rotation: float) -> np.ndarray:
    """The rotation as a camera sees it that looks at the middle of the crop and is turned with it.

    The network cannot know where in the picture a crop lay; at run time its answer is turned back by the ray
    to the crop's middle (`Camera.view_rotation`).
    """
    middle = transform_points(invert(affine), np.full(2, IMAGE_SIZE / 2))
    height, width = frame.image.shape[:2]
    turn = Camera(width, height, frame.camera.astype(np.float64)).view_rotation(middle)
    c, s = np.cos(rotation), np.sin(rotation)
    roll = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return (roll @ turn.T @ frame.rotation).astype(np.float32)


def collate(samples: list[list[tuple]]) -> Batch:
    """Samples, each a list of frames' (crop, uv, vertices, rotation, occlusion, weights), as a batch."""

    def gather(item: int, dtype: type) -> Tensor:
        return torch.as_tensor(
            np.stack([np.stack([f[item] for f in sample]) for sample in samples], 1).astype(dtype)
        )

    return Batch(
        images=gather(0, np.uint8).permute(0, 1, 4, 2, 3),
        uv=gather(1, np.float32),
        vertices=gather(2, np.float32),
        rotation=gather(3, np.float32),
        occlusion=gather(4, np.float32),
        mesh_weight=gather(5, np.float32),
        occlusion_weight=gather(6, np.float32),
    )


@dataclass(frozen=True)
class Mixture:
    """How batches are made up.

    Attributes:
        batch: samples of a batch of single frames.
        triplet_batch: samples of a batch of three frames each.
        triplet_share: share of the batches that hold triplets.
        real_share: share of the samples that are real crops.
        crop, photo, real_photo: what is varied; `real_photo` for real crops.
    """

    batch: int = 32
    triplet_batch: int = 12
    triplet_share: float = 0.25
    real_share: float = 0.5
    crop: CropJitter = field(default_factory=CropJitter)
    photo: PhotoJitter = field(default_factory=PhotoJitter)
    real_photo: PhotoJitter = field(default_factory=lambda: PhotoJitter(patches=0.25))


class StepBatches(Dataset):
    """The batch of every step, `[step]`; see the module's docstring."""

    def __init__(
        self,
        mixture: Mixture,
        synthetic: SyntheticSource | None,
        real: RealSource | None,
        seed: int,
        frames: int = 3,
    ) -> None:
        if synthetic is None and real is None:
            raise ValueError("nothing to train on: give synthetic samples, real crops or both")
        self.mixture, self.seed, self.frames = mixture, seed, frames
        self._sources = (synthetic, real)
        self._real_share = 0.0 if real is None else 1.0 if synthetic is None else mixture.real_share

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(0)
        mixture = self.mixture
        rng = np.random.default_rng([self.seed, step])
        triplets = self.frames == 3 and rng.random() < mixture.triplet_share
        size, frames = (mixture.triplet_batch, 3) if triplets else (mixture.batch, 1)
        return collate([self._sample(rng, frames) for _ in range(size)])

    def _sample(self, rng: np.random.Generator, count: int) -> list[tuple]:
        is_real = rng.random() < self._real_share
        source = self._sources[is_real]
        assert source is not None
        mixture = self.mixture
        photography = Photography(mixture.real_photo if is_real else mixture.photo, rng)
        rotation = random_rotation(mixture.crop, rng)
        sample = []
        for frame in source.draw(rng, count):
            image, uv, turned = make_crop(frame, rotation, mixture.crop, rng)
            sample.append(
                (
                    photography(image),
                    uv,
                    frame.vertices,
                    turned,
                    frame.occlusion,
                    frame.mesh_weight,
                    frame.occlusion_weight,
                )
            )
        return sample


def load_steps(batches: StepBatches, start: int, stop: int, workers: int) -> DataLoader:
    """The batches of steps `start` to `stop - 1`, loaded by `workers` processes (0: by this one)."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
