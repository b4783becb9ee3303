"""Random crops as a running tracker makes them, and what cameras do to colours and sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from h2onet_ros.perception.crop import CROP_SCALE, crop_affine, region_from_points, upright_angle
from h2onet_ros.perception.types import Region


@dataclass(frozen=True)
class CropJitter:
    """How much crops vary about the hand's region.

    Attributes:
        upright: hands are turned upright first, as a tracker does that knows where the knuckles were.
        rotation: the crop is turned by up to this angle either way, radians; pi is the full circle.
        rotate_probability: share of crops that are turned at all.
        scale: standard deviation of the logarithm of the region's size...
        scale_limits: ...and what it is clipped to, as factors.
        shift: standard deviation of the centre in sides of the region, clipped at 2.5 times that.
        crop_scale: side of the region over the longer side of the hand's box, before it varies.
    """

    upright: bool = True
    rotation: float = 0.6
    rotate_probability: float = 0.8
    scale: float = 0.13
    scale_limits: tuple[float, float] = (0.75, 1.4)
    shift: float = 0.05
    crop_scale: float = CROP_SCALE


@dataclass(frozen=True)
class PhotoJitter:
    """Probabilities and strengths of changes of colour and sharpness.

    Attributes:
        gain: colour and brightness factors lie in 1 +- gain.
        gamma: standard deviation of the logarithm of the tone curve's exponent.
        grey, blur, noise, jpeg, coarse, flat_ends: probabilities; `coarse` is a low resolution scaled
            up, `flat_ends` an over- or under-exposed picture.
        patches: probability of rectangles of noise or flat colour laid over the crop. Only for samples
            without occlusion labels, which they would falsify.
    """

    gain: float = 0.25
    gamma: float = 0.2
    grey: float = 0.08
    blur: float = 0.2
    noise: float = 0.3
    jpeg: float = 0.15
    coarse: float = 0.15
    flat_ends: float = 0.1
    patches: float = 0.0


def random_rotation(jitter: CropJitter, rng: np.random.Generator) -> float:
    """An angle for one sample: all of its frames are turned alike."""
    if rng.random() >= jitter.rotate_probability:
        return 0.0
    return float(rng.uniform(-jitter.rotation, jitter.rotation))


def turned_upright(points: np.ndarray, rotation: float, jitter: CropJitter) -> float:
    """What a frame with these image points `(21, 2)` is turned by, given its sample's random `rotation`."""
    return rotation + (upright_angle(points) if jitter.upright else 0.0)


def random_affine(
    points: np.ndarray, size: int, rotation: float, jitter: CropJitter, rng: np.random.Generator
) -> np.ndarray:
    """The map `(2, 3)` from the picture to a crop about the turned hand, as if the camera had been turned.

    The region belongs to the box that the points have *after* the rotation: that is what a tracker sees.
    """
    centre = points.mean(0)
    turned = crop_affine(Region(float(centre[0]), float(centre[1]), 1.0), 1, rotation)
    region = region_from_points(points @ turned[:, :2].T + turned[:, 2], jitter.crop_scale)
    shift = np.clip(rng.normal(0, jitter.shift, 2), -2.5 * jitter.shift, 2.5 * jitter.shift)
    scale = float(np.clip(np.exp(rng.normal(0, jitter.scale)), *jitter.scale_limits))
    region = Region(
        region.x + region.size * float(shift[0]),
        region.y + region.size * float(shift[1]),
        region.size * scale,
    )
    affine = crop_affine(region, size)
    return np.column_stack([affine[:, :2] @ turned[:, :2], affine[:, :2] @ turned[:, 2] + affine[:, 2]])


class Photography:
    """One camera's way with pictures, applied alike to all frames of a sample but for the noise."""

    def __init__(self, jitter: PhotoJitter, rng: np.random.Generator) -> None:
        self._rng = rng
        gain = rng.uniform(1 - jitter.gain, 1 + jitter.gain, 3) * rng.uniform(
            1 - jitter.gain, 1 + jitter.gain
        )
        curve = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, jitter.gamma))
        if rng.random() < jitter.flat_ends:
            low, high = rng.uniform(0, 0.25), rng.uniform(0.7, 1)
            curve = curve * (high - low) + low if rng.random() < 0.5 else (curve - low) / (high - low)
        self._table = np.clip(curve[:, None] * gain * 255, 0, 255).astype(np.uint8)[None]
        self._grey = rng.random() < jitter.grey
        self._coarse = rng.uniform(0.25, 0.8) if rng.random() < jitter.coarse else 1.0
        self._blur = rng.uniform(0.4, 1.8) if rng.random() < jitter.blur else 0.0
        self._noise = rng.uniform(1, 14) if rng.random() < jitter.noise else 0.0
        self._jpeg = int(rng.uniform(20, 80)) if rng.random() < jitter.jpeg else 0
        self._patches = int(rng.integers(1, 4)) if rng.random() < jitter.patches else 0

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """`image` (S, S, 3) uint8 as that camera shows it."""
        rng = self._rng
        image = cv2.LUT(image, self._table)
        side = image.shape[0]
        for _ in range(self._patches):
            _lay_patch(image, rng)
        if self._grey:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
        if self._coarse < 1:
            small = max(8, int(side * self._coarse))
            image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
        if self._blur:
            image = cv2.GaussianBlur(image, (0, 0), self._blur)
        if self._noise:
            grains = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(self._noise)
            image = np.clip(image + grains, 0, 255).astype(np.uint8)
        if self._jpeg:
            file = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._jpeg])[1]
            decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
            assert decoded is not None
            image = decoded
        return image


def _lay_patch(image: np.ndarray, rng: np.random.Generator) -> None:
    side = image.shape[0]
    width, height = (int(v) for v in rng.uniform(0.08, 0.35, 2) * side)
    x, y = (int(v) for v in rng.uniform(0, side, 2) - np.array([width, height]) / 2)
    part = image[max(y, 0) : y + height, max(x, 0) : x + width]
    if rng.random() < 0.5:
        part[:] = rng.integers(0, 256, 3, dtype=np.uint8)
    else:
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
