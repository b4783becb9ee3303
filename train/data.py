"""Rendered hands and photographs as sources of frames, and upright crops of frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from h2onet_ros.hand.model import HandModel
from h2onet_ros.model.config import IMAGE_SIZE
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.crop import invert, transform_points
from train.augment import CropJitter, random_affine, turned_upright
from train.datasets.base import Frame
from train.fit import Fits, meshes
from train.real_crops import RealCrops
from train.sampling import drawn, evened, stretched
from train.synthetic.shards import ShardSet, decode


class SyntheticSource:
    """Frames of a rendered data set; rare views and states of the fingers are drawn more often."""

    def __init__(self, folder: str | Path) -> None:
        self.shards = ShardSet(folder)
        counts = self.shards.frame_counts()
        self._count = len(counts)
        shares = evened(
            np.ones(self._count),
            self.shards.now("rotation"),
            stretched(self.shards.now("joints")),
        )
        self._cumulative = np.cumsum(shares)
        self._triplets = np.flatnonzero(counts == 3)
        self._cumulative_triplets = np.cumsum(shares[self._triplets])

    def __len__(self) -> int:
        return self._count

    def draw(self, rng: np.random.Generator, frames: int) -> list[Frame]:
        """A random sample: any frame of any sample, or the three frames of a triplet."""
        if frames == 3 and len(self._triplets):
            return self.sample(int(self._triplets[drawn(self._cumulative_triplets, rng)]), 3)
        index = drawn(self._cumulative, rng)
        shard, rows = self.shards.locate(index)
        return [self._frame(index, shard, int(rng.integers(rows.start, rows.stop)))] * frames

    def sample(self, index: int, frames: int) -> list[Frame]:
        """The first frame of a sample, or, of a triplet, all three."""
        shard, rows = self.shards.locate(index)
        stop = rows.stop if frames == 3 else rows.start + 1
        return [self._frame(index, shard, row) for row in range(rows.start, stop)]

    def _frame(self, index: int, shard: dict[str, np.ndarray], row: int) -> Frame:
        rotation = np.array(shard["rotation"][row], np.float32)
        return Frame(
            image=decode(shard, row),
            points=np.array(shard["joints2d"][row]),
            camera=np.array(shard["camera"][row]),
            vertices=np.asarray(shard["vertices"][row]) @ rotation + shard["canonical_wrist"][row],
            rotation=rotation,
            occlusion=shard["occluded"][row].astype(np.float32),
            name=f"{self.shards.folder.name} sample {index}",
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
        fingers = stretched(hand.joints(self._vertices))
        self._cumulative = np.cumsum(_shares(crops.sources, self._rotation, fingers))

    def __len__(self) -> int:
        return len(self.crops)

    def draw(self, rng: np.random.Generator, frames: int) -> list[Frame]:
        """A random crop; as several frames, a hand that keeps still."""
        return self.sample(drawn(self._cumulative, rng), frames)

    def sample(self, index: int, frames: int) -> list[Frame]:
        """One crop; as several frames, a hand that keeps still."""
        return [self._frame(index)] * frames

    def _frame(self, row: int) -> Frame:
        return Frame(
            image=self.crops.image(row),
            points=self.crops.joints2d[row].astype(np.float64),
            camera=self._camera[row],
            vertices=self._vertices[row],
            rotation=self._rotation[row],
            occlusion=np.zeros(6, np.float32),
            mesh_weight=float(self._mesh_weight[row]),
            occlusion_weight=0.0,
            name=str(self.crops.names[row]),
            mirrored=bool(self.crops.mirrored[row]),
        )


def _shares(sources: np.ndarray, rotation: np.ndarray, fingers: np.ndarray) -> np.ndarray:
    """How often each photograph is drawn.

    Every source counts with the square root of its size, for the largest shows only a few people; then views
    and states of the fingers are evened out.
    """
    _, source, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    return evened(1 / np.sqrt(sizes[source]), rotation, fingers)


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
