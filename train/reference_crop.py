"""Crops as H2ONet was trained on: HandOccNet's augmentation, beside our own upright one in `augment`.

All frames of a sample share one scale, one rotation and one colour. The rotation label is turned with the
crop and otherwise stays in the camera's axes: the published network is not told, and cannot know, where in
the picture its crop was.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from h2onet_ros.model.config import IMAGE_SIZE
from h2onet_ros.perception.crop import crop_affine, region_from_points, transform_points
from h2onet_ros.perception.types import Region
from train.datasets.base import Frame


@dataclass(frozen=True)
class ReferenceJitter:
    """How much the published crops vary.

    Attributes:
        scale: the region is 1 + `scale` x n times as large, n normally distributed, clipped at 1.
        rotation: radians; the crop is turned by n times this, n clipped at 2...
        rotate_probability: ...in this share of the samples.
        colour: each channel is multiplied by a factor in 1 +- `colour`.
    """

    scale: float = 0.25
    rotation: float = float(np.deg2rad(30))
    rotate_probability: float = 0.6
    colour: float = 0.2


@dataclass(frozen=True)
class ReferenceAugmentation:
    """What is done to all frames of a sample: `scale` of the region, `rotation` (radians; positive turns what
    the crop shows anti-clockwise) and `colour` `(3,)` factors."""

    scale: float = 1.0
    rotation: float = 0.0
    colour: np.ndarray = field(default_factory=lambda: np.ones(3))

    @classmethod
    def draw(cls, jitter: ReferenceJitter, rng: np.random.Generator) -> ReferenceAugmentation:
        """For a training sample."""
        scale = 1 + jitter.scale * float(np.clip(rng.standard_normal(), -1, 1))
        turned = rng.random() <= jitter.rotate_probability
        rotation = jitter.rotation * float(np.clip(rng.standard_normal(), -2, 2)) if turned else 0.0
        return cls(scale, rotation, rng.uniform(1 - jitter.colour, 1 + jitter.colour, 3))

    @classmethod
    def still(cls) -> ReferenceAugmentation:
        """For evaluation: nothing is changed."""
        return cls()

    def affine(self, frame: Frame) -> np.ndarray:
        """The map `(2, 3)` from the frame's picture to the crop."""
        height, width = frame.image.shape[:2]
        region = frame.region or region_from_points(frame.points, image_size=(width, height))
        scaled = Region(region.x, region.y, region.size * self.scale)
        return crop_affine(scaled, IMAGE_SIZE, self.rotation)

    def patch(self, frame: Frame) -> np.ndarray:
        """The crop `(128, 128, 3)` float32 in 0..255.

        Sampled bilinearly whatever the scale, unlike the node's crops, which are averaged where they shrink
        the picture to less than half.
        """
        warped = cv2.warpAffine(
            frame.image.astype(np.float32),
            self.affine(frame),
            (IMAGE_SIZE, IMAGE_SIZE),
            flags=cv2.INTER_LINEAR,
        )
        return np.clip(warped * self.colour.astype(np.float32), 0, 255)

    def crop(self, frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Crop `(128, 128, 3)` uint8, image points `(21, 2)` in 0..1 of it, and rotation label `(3, 3)`."""
        uv = transform_points(self.affine(frame), frame.points) / IMAGE_SIZE
        c, s = np.cos(self.rotation), np.sin(self.rotation)
        turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        return np.rint(self.patch(frame)).astype(np.uint8), uv, (turn @ frame.rotation).astype(np.float32)
