"""The square about a hand that the published training and evaluation cut out (HandOccNet's rule)."""

from __future__ import annotations

import numpy as np

from h2onet_ros.perception.crop import CROP_SCALE, region_from_points
from h2onet_ros.perception.types import Region


def joints_region(points: np.ndarray, size: tuple[int, int]) -> Region | None:
    """The square of joints `(21, 2)` in an image of `size` (width, height); None if it misses the image."""
    low, high = points.min(0), points.max(0)
    corner = (low + high) / 2 - (high - low) * CROP_SCALE / 2
    if (np.maximum(corner, 0) > np.asarray(size) - 1).any():
        return None
    try:
        return region_from_points(points, image_size=size)
    except ValueError:
        return None


def box_region(box: np.ndarray, size: tuple[int, int]) -> Region | None:
    """The square of a box (x, y, width, height) that comes with the data; None if it misses the image.

    The box is clipped as it is, and only then enlarged.
    """
    x, y, width, height = (float(v) for v in box)
    if min(width, height) <= 0 or max(x, 0) > size[0] - 1 or max(y, 0) > size[1] - 1:
        return None
    try:
        clipped = region_from_points(np.array([[x, y], [x + width, y + height]]), scale=1.0, image_size=size)
    except ValueError:
        return None
    return Region(clipped.x, clipped.y, clipped.size * CROP_SCALE)


def whole_image(size: tuple[int, int]) -> Region:
    """What stands for the square of a hand that misses the image."""
    width, height = size
    return Region((width - 1) / 2, (height - 1) / 2, float(max(width, height) - 1))


def mirrored(region: Region, width: int) -> Region:
    """The square in the mirrored image."""
    return Region(width - 1 - region.x, region.y, region.size, -region.angle)
