"""From a clean drawing to what a camera delivers: blur, its own resolution, noise, sharpening, JPEG."""

from __future__ import annotations

import cv2
import numpy as np

from train.synthetic.scene import Sensor


def composite(drawn: np.ndarray, background: np.ndarray) -> np.ndarray:
    """A drawing RGBA over a background RGB, smoothed down to the background's size: float32, 0..255."""
    small = cv2.resize(drawn, background.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
    # What was not drawn is black, so colours are already weighted by their cover.
    return small[..., :3] + background * (1 - small[..., 3:] / 255)


def expose(
    image: np.ndarray, sensor: Sensor, motion: np.ndarray, native: float, rng: np.random.Generator
) -> np.ndarray:
    """Spoil `image` `(n, n, 3)` float32 as a camera does; returns uint8.

    `motion` `(2,)` is the hand's speed in pixels of the crop per second; `native` the crop's side in pixels
    of the camera, which may be coarser than the crop.
    """
    size = image.shape[0]
    smear = motion * sensor.shutter
    length = float(np.linalg.norm(smear))
    if length > 1.2:
        image = cv2.filter2D(image, -1, _line_kernel(smear, min(length, 25.0)))
    if sensor.defocus > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), sensor.defocus)
    image = (image * sensor.gain.astype(np.float32) - 118) * sensor.contrast + 118
    resolution = int(np.clip(native, 20, size))
    if resolution < size:
        image = cv2.resize(image, (resolution, resolution), interpolation=cv2.INTER_AREA)
    if sensor.sharpening > 0:
        image = image + sensor.sharpening * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
    # The finer the camera, the more its noise averages out in the crop.
    strength = sensor.noise * 255 * min(1.0, size / native)
    grain = rng.standard_normal(image.shape, np.float32) * (0.4 + 0.6 * np.sqrt(np.clip(image, 0, 255) / 255))
    image = np.clip(image + grain * strength, 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg_quality])
    seen = np.asarray(cv2.imdecode(packed, cv2.IMREAD_UNCHANGED))
    return seen if resolution == size else cv2.resize(seen, (size, size), interpolation=cv2.INTER_LINEAR)


def _line_kernel(direction: np.ndarray, length: float) -> np.ndarray:
    size = int(np.ceil(length)) | 1
    kernel = np.zeros((size, size), np.float32)
    half = direction / np.linalg.norm(direction) * (length - 1) / 2
    centre = (size - 1) / 2
    first, last = np.rint(centre - half).astype(int), np.rint(centre + half).astype(int)
    cv2.line(kernel, tuple(int(v) for v in first), tuple(int(v) for v in last), 1.0, 1, cv2.LINE_AA)
    return kernel / kernel.sum()
