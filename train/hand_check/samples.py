"""What the hand check learns from: regions as the tracker and the palm detector propose them, and others.

A crop counts as a hand when the joints' box fills a sensible part of the region (`FILL`) and its middle lies
near the region's (`NEAR`); it counts as none when it is clearly off in either, or shows no hand at all. What
lies between is not asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import IterableDataset

from h2onet_ros.perception.crop import (
    CROP_SCALE,
    crop_affine,
    region_from_points,
    transform_points,
    upright_region,
    warp,
)
from h2onet_ros.perception.types import Region
from train.hand_check.network import INPUT_SIZE
from train.real_crops import RealCrops
from train.synthetic.shards import ShardSet, decode

FILL = (0.72, 1.45)
"""Side of a hand's region over the region that the joints ask for: a hand."""
NEAR = 0.22
"""Distance of the middles over the region's side: a hand."""
FAR = 0.62
LEAST_VISIBLE = 0.3
"""Share of the hand's pixels that must be visible for it to count as a hand."""
PASTED_LESS_THAN = 0.45


@dataclass(frozen=True)
class Target:
    """What a crop shows.

    Attributes:
        presence: 1 for a hand, 0 for none. Nothing else is asked about where there is none.
        right: 1 for a right hand.
        clockwise: 1 where wrist, index and little knuckle run clockwise in the crop.
        flatness: how surely that can be seen, 0 (edge on) to 1.
        joints: `(21, 2)` in [-1, 1] of the crop.
    """

    presence: float
    right: float = 0.0
    clockwise: float = 0.0
    flatness: float = 0.0
    joints: np.ndarray = field(default_factory=lambda: np.zeros((21, 2)))

    def row(self) -> np.ndarray:
        """`(46,)`: the fields one after another."""
        return np.concatenate(
            [[self.presence, self.right, self.clockwise, self.flatness], self.joints.ravel()]
        )


NOTHING = Target(0.0)


@dataclass(frozen=True, eq=False)
class Hands:
    """Pictures of right hands `(N, S, S, 3)` uint8 with joints `(N, 21, 2)` in pixels."""

    images: list[np.ndarray]
    joints: np.ndarray

    @classmethod
    def real(cls, crops: RealCrops) -> Hands:
        """All real crops (left hands arrive mirrored)."""
        return cls([crops.image(i) for i in range(len(crops))], crops.joints2d)

    @classmethod
    def synthetic(cls, shards: ShardSet, most: int) -> Hands:
        """The first frames of rendered samples whose hand is visible."""
        images, joints = [], []
        for index in range(min(most, len(shards))):
            shard, rows = shards.locate(index)
            if shard["visible_share"][rows.start] >= LEAST_VISIBLE:
                images.append(decode(shard, rows.start))
                joints.append(np.asarray(shard["joints2d"][rows.start]))
        return cls(images, np.stack(joints))


def load_backgrounds(paths: Iterable[Path], longest: int = 900) -> list[np.ndarray]:
    """Photographs `(H, W, 3)` uint8 RGB, shrunk so that the longer side is at most `longest` pixels."""
    pictures = []
    for path in paths:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise ValueError(f"{path} is not a readable picture")
        k = min(1.0, longest / max(image.shape[:2]))
        pictures.append(cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA))
    return pictures


class CheckSamples(IterableDataset):
    """Endless batches: images `(B, 3, 64, 64)`, targets `(B, 46)` (`Target.row`), float32.

    Args:
        pools: sources of hands, drawn from equally often.
        backgrounds: pictures without hands.
        batch: samples in a batch.
        seed: of the first worker; the others follow.
    """

    def __init__(self, pools: list[Hands], backgrounds: list[np.ndarray], batch: int, seed: int) -> None:
        super().__init__()
        self.pools, self.backgrounds, self.batch, self.seed = pools, backgrounds, batch, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng(self.seed + (worker.id if worker else 0))
        cv2.setNumThreads(0)
        while True:
            drawn = [self.draw(rng) for _ in range(self.batch)]
            images = np.stack([image for image, _ in drawn]).transpose(0, 3, 1, 2).astype(np.float32) / 255
            targets = np.stack([target.row() for _, target in drawn]).astype(np.float32)
            yield torch.from_numpy(images), torch.from_numpy(targets)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, Target]:
        """One crop `(64, 64, 3)` uint8 and what it shows."""
        kind = rng.random()
        if kind < 0.22:
            image, target = self._background(rng), NOTHING
        else:
            pool = self.pools[rng.integers(len(self.pools))]
            i = int(rng.integers(len(pool.images)))
            picture, joints = pool.images[i], pool.joints[i]
            if kind < 0.62:
                image, target = _hand(rng, picture, joints)
            elif kind < 0.84:
                image, target = _misplaced(rng, picture, joints), NOTHING
            else:
                image, target = self._pasted_small(rng, picture, joints), NOTHING
        return _photographed(rng, image), target

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        picture = self.backgrounds[rng.integers(len(self.backgrounds))]
        height, width = picture.shape[:2]
        side = float(np.exp(rng.uniform(np.log(24), np.log(min(height, width)))))
        region = Region(float(rng.uniform(0, width)), float(rng.uniform(0, height)), side)
        return _cut(rng, picture, region)[0]

    def _pasted_small(self, rng: np.random.Generator, picture: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """A hand far too small for its region, somewhere on a background."""
        image = self._background(rng)
        side = int(INPUT_SIZE * rng.uniform(0.12, PASTED_LESS_THAN))
        small = _cut(rng, picture, region_from_points(joints), size=side)[0]
        x, y = rng.integers(0, INPUT_SIZE - side + 1, 2)
        image = image.copy()
        image[y : y + side, x : x + side] = small
        return image


def _hand(rng: np.random.Generator, picture: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, Target]:
    """A hand in a region as a tracker (mostly) or a palm detector proposes it."""
    proper = upright_region(joints, CROP_SCALE)
    spread = 0.45 if rng.random() < 0.6 else 1.0
    size = proper.size * np.exp(spread * rng.uniform(np.log(FILL[0]), np.log(FILL[1])))
    angle, away = rng.uniform(0, 2 * np.pi), NEAR * spread * rng.random() * size
    region = Region(
        proper.x + away * np.cos(angle), proper.y + away * np.sin(angle), float(size), proper.angle
    )
    image, affine = _cut(rng, picture, region)
    placed = transform_points(affine, joints)
    index, little = placed[5] - placed[0], placed[17] - placed[0]
    turn = index[0] * little[1] - index[1] * little[0]
    flatness = min(1.0, 2.5 * abs(turn) / (index @ index + little @ little + 1e-9))
    right = float(np.linalg.det(affine[:, :2]) > 0)
    return image, Target(1.0, right, float(turn > 0), flatness, 2 * placed / INPUT_SIZE - 1)


def _misplaced(rng: np.random.Generator, picture: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """A region beside the hand, or so close that it shows a piece of it."""
    proper = region_from_points(joints, CROP_SCALE)
    if rng.random() < 0.6:
        size = proper.size * float(np.exp(rng.uniform(np.log(0.6), np.log(1.3))))
        away = rng.uniform(FAR, 1.0) * (size + proper.size) / 2
    else:
        size = proper.size * rng.uniform(0.15, 0.38)
        away = rng.uniform(0.0, 0.4) * proper.size
    angle = rng.uniform(0, 2 * np.pi)
    region = Region(proper.x + away * np.cos(angle), proper.y + away * np.sin(angle), float(size))
    return _cut(rng, picture, region)[0]


def _cut(
    rng: np.random.Generator, picture: np.ndarray, region: Region, size: int = INPUT_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """A region turned a little and mirrored half of the time, and the map that did it."""
    mirror = bool(rng.random() < 0.5)
    rotation = rng.normal(0, 0.3)
    affine = crop_affine(region, size, rotation, mirror)
    return warp(picture, affine, size), affine


def _photographed(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Another camera, light and compression."""
    pixels: np.ndarray = image * rng.uniform(0.55, 1.4) * rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.15:
        pixels[:] = pixels.mean(2, keepdims=True)
    pixels += rng.uniform(-20, 20)
    if rng.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.4:
        pixels += rng.normal(0, rng.uniform(1, 12), pixels.shape)
    result: np.ndarray = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, coded = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        assert decoded is not None
        result = decoded
    return result
