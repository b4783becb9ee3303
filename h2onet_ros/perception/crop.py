"""Square crops: from points to a region, from a region to the affine map, from an image to a crop.

An affine map `(2, 3)` takes pixels of the image to pixels of the crop (centres at integers, OpenCV's
convention); mirroring is part of it, so one map takes points both ways whatever the hand.
"""

from __future__ import annotations

import cv2
import numpy as np

from h2onet_ros.perception.types import FloatArray, Region

CROP_SCALE = 1.5
"""Side of the region over the longer side of the box of the hand's joints (H2ONet's augmentation code)."""

_KNUCKLES = [5, 9, 13, 17]
_FREE_SHIFT = 0.1  # of the region's side; larger movements per frame are followed at once, so are...
_FREE_GROWTH = 0.2  # ...larger changes of the logarithm of its size...
_FREE_TURN = 0.3  # ...and larger turns, radians
_LARGEST_GROWTH = 0.2  # of the logarithm of the size, per frame


def region_from_points(
    points: np.ndarray, scale: float = CROP_SCALE, image_size: tuple[int, int] | None = None
) -> Region:
    """The square region around points, as H2ONet makes it.

    Args:
        points: `(N, 2)` pixels.
        scale: factor on the width and height of the points' box.
        image_size: width and height of the image. If given, the enlarged box is clipped to the image, and
            the square laid about the clipped box, with the right and lower edges counted from the *clipped*
            corner: what the published training and evaluation do. Without it nothing is clipped, so that a
            followed hand stays centred at the edge of the image.

    Raises:
        ValueError: no finite points, or all in one place.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"expected finite points (N, 2), got an array of shape {points.shape}")
    low, high = points.min(0), points.max(0)
    side = (high - low) * scale
    if side.max() <= 0:
        raise ValueError("the points lie in one place: a hand of no size has no region")
    corner = (low + high - side) / 2
    if image_size is not None:
        corner = np.maximum(corner, 0)
        end = np.minimum(np.asarray(image_size) - 1, corner + np.maximum(side - 1, 0))
        side = end - corner
        if side.max() <= 0:
            raise ValueError(f"the hand lies outside the image of {image_size[0]} x {image_size[1]} pixels")
    centre = corner + side / 2
    return Region(float(centre[0]), float(centre[1]), float(side.max()))


def upright_angle(points: np.ndarray) -> float:
    """How far to turn a picture anti-clockwise, radians, until the hand's knuckles are above its wrist.

    Args:
        points: `(21, 2)` pixels.
    """
    x, y = np.mean(np.asarray(points, np.float64)[_KNUCKLES], axis=0) - points[0]
    return float(np.arctan2(x, -y))


def upright_region(points: np.ndarray, scale: float = CROP_SCALE) -> Region:
    """The square region around a hand's image points `(21, 2)`, turned so that the hand stands upright in it.

    Raises:
        ValueError: as `region_from_points`.
    """
    angle = upright_angle(points)
    turn = crop_affine(Region(0.0, 0.0, 1.0), 1, angle)
    box = region_from_points(transform_points(turn, points), scale)
    x, y = transform_points(invert(turn), np.array([box.x, box.y]))
    return Region(float(x), float(y), box.size, angle)


def calmed_region(before: Region, now: Region, least: float) -> Region:
    """The region of the next frame: small movements since the last one are calmed, large ones followed.

    The network's points depend on the region they are seen in, and the region on them: followed at once, a
    hand that keeps still would swing between two answers.

    Args:
        before: of the last frame.
        now: about the points that were seen in it.
        least: share of the smallest movements that is followed, 0 to 1; 1 follows all but sudden growth.
    """
    moved = np.hypot(now.x - before.x, now.y - before.y) / before.size
    gain = float(np.clip(moved / _FREE_SHIFT, least, 1.0))
    growth = np.log(now.size / before.size)
    growth *= np.clip(abs(growth) / _FREE_GROWTH, least, 1.0)
    growth = np.clip(growth, -_LARGEST_GROWTH, _LARGEST_GROWTH)
    return Region(
        before.x + gain * (now.x - before.x),
        before.y + gain * (now.y - before.y),
        before.size * float(np.exp(growth)),
        _calmed_angle(before.angle, now.angle, least),
    )


def _calmed_angle(before: float, now: float, least: float) -> float:
    turned = (now - before + np.pi) % (2 * np.pi) - np.pi
    return float(before + turned * np.clip(abs(turned) / _FREE_TURN, least, 1.0))


def crop_affine(region: Region, size: int, rotation: float = 0.0, mirror: bool = False) -> np.ndarray:
    """The map `(2, 3)` float64 from image pixels to a crop of `size` pixels.

    Args:
        region: its centre comes to the middle of the crop, its side fills it, its angle is turned upright.
        size: side of the crop, pixels.
        rotation: radians beyond that; positive turns what the crop shows anti-clockwise (x right, y down).
        mirror: swap left and right, before the rotation.
    """
    k = size / region.size
    rotation = rotation + (-region.angle if mirror else region.angle)
    turn = k * np.array([[np.cos(rotation), np.sin(rotation)], [-np.sin(rotation), np.cos(rotation)]])
    if mirror:
        turn[:, 0] *= -1
    shift = size / 2 - turn @ (region.x, region.y)
    return np.column_stack([turn, shift])


def transform_points(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points `(..., 2)` of the image in the crop; with `invert(affine)` the other way."""
    return np.asarray(points) @ affine[:, :2].T + affine[:, 2]


def invert(affine: np.ndarray) -> np.ndarray:
    """The map `(2, 3)` from the crop back to the image."""
    return cv2.invertAffineTransform(np.asarray(affine, np.float64))


def warp(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    """`image` seen through `affine`, `(size, size, 3)` of the same type; bilinear, zeros outside.

    Where the map shrinks the image to less than half, whole blocks of pixels are averaged first: plain
    bilinear sampling would skip pixels and flicker. Otherwise exactly the published crop.
    """
    k = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    step = int(1 / k) if k < 0.5 else 1
    if step > 1:
        image, affine = _shrunk(image, affine, size, step)
        if image.size == 0:
            return np.zeros((size, size, 3), image.dtype)
    return cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR)


def crop_image(
    rgb: np.ndarray, region: Region, size: int, rotation: float = 0.0, mirror: bool = False
) -> np.ndarray:
    """The region of an image as a crop `(size, size, 3)` of the image's type; see `crop_affine`, `warp`."""
    return warp(rgb, crop_affine(region, size, rotation, mirror), size)


def to_network(crops: list[np.ndarray]) -> FloatArray:
    """Crops `(S, S, 3)` uint8 as the network's input `(B, 3, S, S)` float32 in [0, 1]."""
    stacked = np.stack(crops).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, np.float32) * np.float32(1 / 255)


def _shrunk(image: np.ndarray, affine: np.ndarray, size: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of `image` that the crop shows, averaged over `step` x `step` pixels, and the map from it."""
    edge = np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float64)
    corners = transform_points(invert(affine), edge)
    height, width = image.shape[:2]
    # One block more on each side: the crop's border pixels interpolate beyond its corners.
    low = np.clip(np.floor(corners.min(0)).astype(int) - step, 0, (width, height))
    high = np.clip(np.ceil(corners.max(0)).astype(int) + step, 0, (width, height))
    blocks = -(-(high - low) // step)
    part = image[low[1] : high[1], low[0] : high[0]]
    if part.size == 0:
        return part, affine
    missing = blocks * step - (high - low)
    part = cv2.copyMakeBorder(part, 0, int(missing[1]), 0, int(missing[0]), cv2.BORDER_REPLICATE)
    small = cv2.resize(part, (int(blocks[0]), int(blocks[1])), interpolation=cv2.INTER_AREA)
    # The centre of block i lies at pixel step * i + (step - 1) / 2 of the part.
    shifted = affine.copy()
    shifted[:, 2] += affine[:, :2] @ (low + (step - 1) / 2)
    shifted[:, :2] *= step
    return small, shifted
