"""What a scene is: which hand, where, how it moves, what holds light, hides it or lies behind it.

`sampler.py` decides, `assemble.py` poses the hands and makes the triangles. Camera axes are x right, y down,
z forward; the hand model's frame is that of a hand held up with its palm to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from train.synthetic.backgrounds import Backdrop
from train.synthetic.geometry import Forearm
from train.synthetic.grip import Grip

SHORT_TERM, LONG_TERM = (0.10, 0.24), (0.27, 0.37)
"""Ranges in seconds of how long ago the two past frames were."""


@dataclass(frozen=True)
class Thing:
    """One of `geometry.SHAPES`. `position` `(3,)` in metres and `velocity` are in camera axes."""

    shape: str
    size: np.ndarray
    rotation: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    colour: np.ndarray
    layer: float
    texture_scale: float
    gloss: float


@dataclass(frozen=True)
class Held:
    """A thing of `radius` metres in the hand: its looks, and the grip that closed around it.

    Without a grip it is held between thumb and index finger. `tilt` `(3,)` varies how it lies there.
    """

    looks: Thing
    radius: float
    grip: Grip | None
    tilt: np.ndarray


@dataclass(frozen=True)
class HandPlan:
    """A hand over time: angles go from `angles` (now) towards `past_angles` (one long term ago).

    `offset` `(3,)` is the wrist in the camera frame now, metres; `spin` and `velocity` are rad/s and m/s.
    """

    angles: np.ndarray
    past_angles: np.ndarray
    shape: np.ndarray
    rotation: np.ndarray
    spin: np.ndarray
    offset: np.ndarray
    velocity: np.ndarray
    skin_layer: float
    skin_colour: np.ndarray
    gloss: float
    forearm: Forearm

    def angles_at(self, time: float) -> np.ndarray:
        share = min(1.0, -time / LONG_TERM[1])
        share = share * share * (3 - 2 * share) * 0.5 + share * 0.5
        return (1 - share) * self.angles + share * self.past_angles

    def rotation_at(self, time: float) -> np.ndarray:
        return Rotation.from_rotvec(self.spin * time).as_matrix() @ self.rotation

    def offset_at(self, time: float) -> np.ndarray:
        return self.offset + self.velocity * time


@dataclass(frozen=True)
class Sensor:
    """How the camera spoils the picture; see `sensor.expose`."""

    defocus: float
    shutter: float
    noise: float
    jpeg_quality: int
    gain: np.ndarray
    contrast: float
    sharpening: float


@dataclass(frozen=True)
class Scene:
    """Everything about one sample; `times` are seconds, the first is 0 (now)."""

    times: tuple[float, ...]
    hand: HandPlan
    width: int
    height: int
    focal: float
    backdrop: Backdrop
    exposure: float
    sensor: Sensor
    shake: np.ndarray
    other: HandPlan | None = None
    held: Held | None = None
    things: list[Thing] = field(default_factory=list)

    @property
    def camera(self) -> np.ndarray:
        """Intrinsics `(3, 3)` of the whole image."""
        return np.array(
            [[self.focal, 0, (self.width - 1) / 2], [0, self.focal, (self.height - 1) / 2], [0, 0, 1.0]]
        )
