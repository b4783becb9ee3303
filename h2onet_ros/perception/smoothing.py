"""Calms jitter of a hand without lag in motion: the One Euro filter ("1€ Filter", Casiez et al., CHI 2012).

A first-order low-pass whose cut-off frequency rises with speed. The hand is filtered in parts that err
differently: shape in the hand's own frame, rotation on the sphere of rotations, and position as a direction
(precise) and a distance (several times noisier).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.types import FloatArray

Array = NDArray[np.floating]

_SPEED_CUTOFF = 1.0  # Hz, of the filter that estimates speed (the paper's d_cutoff)
_GAP = 0.5  # seconds without a frame after which the past says nothing


@dataclass(frozen=True)
class SmoothingConfig:
    """Attributes:
    enabled: off publishes what the network says.
    strength: 1 is the default; larger is calmer and slower, as all cut-off frequencies are divided by it.
    """

    enabled: bool = True
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.strength) and self.strength > 0):
            raise ValueError(f"SmoothingConfig.strength: expected a positive number, got {self.strength}")


class OneEuro:
    """The filter for an array whose elements move together, so that they share one cut-off.

    Args:
        min_cutoff: cut-off frequency at rest, Hz: lower is calmer.
        beta: how much the cut-off rises with speed, Hz per (unit / s): higher lags less.
    """

    def __init__(self, min_cutoff: float, beta: float) -> None:
        self._min_cutoff, self._beta = min_cutoff, beta
        self._value: Array | None = None
        self._velocity: Array | None = None

    def tune(self, min_cutoff: float, beta: float) -> None:
        """Change the parameters and go on."""
        self._min_cutoff, self._beta = min_cutoff, beta

    def __call__(self, value: Array, dt: float) -> Array:
        """The filtered value, `dt` seconds (> 0) after the last one; rows of `value` are points in space."""
        if self._value is None or self._velocity is None:
            self._value, self._velocity = value, np.zeros_like(value)
            return value
        self._velocity = self._velocity + _gain(_SPEED_CUTOFF, dt) * (
            (value - self._value) / dt - self._velocity
        )
        speed = float(np.linalg.norm(np.atleast_2d(self._velocity), axis=-1).mean())
        gain = _gain(self._min_cutoff + self._beta * speed, dt)
        self._value = self._value + gain * (value - self._value)
        return self._value


class OneEuroRotation:
    """The same for a rotation matrix; speed is angular, radians per second."""

    def __init__(self, min_cutoff: float, beta: float) -> None:
        self._min_cutoff, self._beta = min_cutoff, beta
        self._value: Array | None = None
        self._velocity: Array = np.zeros(3)

    def tune(self, min_cutoff: float, beta: float) -> None:
        """Change the parameters and go on."""
        self._min_cutoff, self._beta = min_cutoff, beta

    def __call__(self, value: Array, dt: float) -> Array:
        if self._value is None:
            self._value = value
            return value
        turn = np.asarray(value @ self._value.T, np.float64)
        step: Array = np.asarray(cv2.Rodrigues(turn)[0][:, 0], np.float64)
        self._velocity = self._velocity + _gain(_SPEED_CUTOFF, dt) * (step / dt - self._velocity)
        gain = _gain(self._min_cutoff + self._beta * float(np.linalg.norm(self._velocity)), dt)
        self._value = cv2.Rodrigues(gain * step)[0] @ self._value
        return self._value


@dataclass(frozen=True, eq=False)
class HandPose:
    """What is smoothed.

    Attributes:
        position: `(3,)` the wrist in the camera frame, metres.
        rotation: `(3, 3)` the hand's frame in the camera frame.
        vertices: `(V, 3)` relative to the wrist, along the camera's axes.
        joints: `(21, 3)` likewise.
    """

    position: FloatArray
    rotation: FloatArray
    vertices: FloatArray
    joints: FloatArray


# Cut-off at rest (Hz) and how it rises with speed, at strength 1; see docs/placement.md for what they cost.
_SHAPE = (4.0, 40.0)
_ROTATION = (4.0, 2.0)
_DIRECTION = (6.0, 60.0)
_LOG_DEPTH = (0.7, 8.0)


class HandSmoother:
    """Smooths one hand of one side through time."""

    def __init__(self, config: SmoothingConfig) -> None:
        self._config = config
        self._stamp: int | None = None
        self._start()

    def _start(self) -> None:
        self._shape, self._rotation = OneEuro(*_SHAPE), OneEuroRotation(*_ROTATION)
        self._direction, self._log_depth = OneEuro(*_DIRECTION), OneEuro(*_LOG_DEPTH)
        self._tune()

    def _tune(self) -> None:
        strength = self._config.strength
        for filter_, (min_cutoff, beta) in (
            (self._shape, _SHAPE),
            (self._rotation, _ROTATION),
            (self._direction, _DIRECTION),
            (self._log_depth, _LOG_DEPTH),
        ):
            filter_.tune(min_cutoff / strength, beta / strength)

    def reconfigure(self, config: SmoothingConfig) -> None:
        """Smooth otherwise from the next frame on; what is known of the past goes on to count."""
        self._config = config
        self._tune()

    def __call__(self, pose: HandPose, stamp: int) -> HandPose:
        """The smoothed pose of the frame taken at `stamp` (ns). A gap, a stamp that repeats the last one, or
        time going back starts afresh."""
        if not self._config.enabled:
            self._stamp = None
            return pose
        dt = 0.0 if self._stamp is None else (stamp - self._stamp) * 1e-9
        if not 0 < dt < _GAP:
            self._start()
            dt = _GAP
        self._stamp = stamp

        # Vertices, joints and the regressor between them are linear, so one filter keeps them consistent.
        canonical = np.concatenate([pose.vertices, pose.joints]) @ pose.rotation
        canonical = self._shape(canonical, dt)
        rotation = self._rotation(pose.rotation, dt)
        oriented = (canonical @ rotation.T).astype(np.float32)
        depth = pose.position[2]
        direction = self._direction(pose.position[:2] / depth, dt)
        depth = np.exp(self._log_depth(np.log(pose.position[2:]), dt))[0]
        position = np.array([direction[0] * depth, direction[1] * depth, depth], np.float32)
        count = len(pose.vertices)
        return HandPose(position, rotation.astype(np.float32), oriented[:count], oriented[count:])


def _gain(cutoff: float, dt: float) -> float:
    return 1 / (1 + 1 / (2 * np.pi * cutoff * dt))
