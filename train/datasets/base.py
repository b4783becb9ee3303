"""What every data set is to the training and evaluation programs: a source of frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from h2onet_ros.perception.types import Region


class DataSetError(RuntimeError):
    """A data set, or a sample of it, cannot be used; the message names it and says what to do."""


@dataclass
class Frame:
    """One picture of a right hand, or of a left one mirrored, with what is known of it.

    Points are in pixels of the picture, everything in 3D in its camera's axes.

    Attributes:
        image: (H, W, 3) uint8.
        points: (21, 2) pixels; anything where `point_weight` is 0.
        camera: (3, 3) intrinsics of the picture.
        vertices: (V, 3) canonical, metres; anything where `mesh_weight` is 0.
        rotation: (3, 3) canonical to camera axes, about the wrist.
        occlusion: (6,).
        mesh_weight, occlusion_weight, point_weight: 0 where not known.
        name: how messages and results call the picture.
        mirrored: picture and labels are those of a left hand, mirrored.
        region: the square that the published crop is made of, before any change of its scale; None where the
            data set has no such rule.
        joints: (21, 3) annotated joints, metres, absolute, mirrored with the picture; None where not known.
        wrist: (3,) annotated place of the wrist, metres, mirrored with the picture; None where not known.
    """

    image: np.ndarray
    points: np.ndarray
    camera: np.ndarray
    vertices: np.ndarray
    rotation: np.ndarray
    occlusion: np.ndarray
    mesh_weight: float = 1.0
    occlusion_weight: float = 1.0
    point_weight: float = 1.0
    name: str = ""
    mirrored: bool = False
    region: Region | None = None
    joints: np.ndarray | None = None
    wrist: np.ndarray | None = None


class Source(Protocol):
    """Samples to train on. Sources are mixed by weight, so a draw must depend on `rng` alone."""

    def __len__(self) -> int:
        """Number of samples."""

    def draw(self, rng: np.random.Generator, frames: int) -> list[Frame]:
        """A random sample: 1 frame, or 3 (now, short-term past, long-term past)."""


class OrderedSource(Source, Protocol):
    """Samples that can also be had one after the other, for evaluation."""

    def sample(self, index: int, frames: int) -> list[Frame]:
        """Sample `index` with 1 or 3 frames; nothing about it is random."""
