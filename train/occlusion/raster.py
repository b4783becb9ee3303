"""Draws which part of a hand each pixel shows: a depth buffer in NumPy, the same on every machine.

Labels must not depend on a graphics driver, and the small triangles of one hand are drawn in milliseconds.
"""

from __future__ import annotations

import numpy as np

NEAR = 0.01
"""Metres; triangles that come nearer to the camera are left out."""


def draw_parts(
    vertices: np.ndarray,
    faces: np.ndarray,
    face_part: np.ndarray,
    camera: np.ndarray,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """What a pinhole camera sees of a mesh, from both sides of its faces.

    Args:
        vertices: `(V, 3)` metres, camera axes.
        faces: `(F, 3)`.
        face_part: `(F,)`.
        camera: `(4,)` fx, fy, cx, cy, pixels.
        size: width and height.

    Returns:
        ids `(H, W)` uint8, the part + 1 of what is in front, 0 where nothing is; and its inverse depth
        `(H, W)` float32, 0 where nothing is.
    """
    width, height = size
    vertices = np.asarray(vertices, np.float64)
    kept = (vertices[faces, 2] > NEAR).all(1)
    corners, part = vertices[faces[kept]], face_part[kept]
    inverse = 1 / corners[..., 2]
    x = corners[..., 0] * inverse * camera[0] + camera[2]
    y = corners[..., 1] * inverse * camera[1] + camera[3]
    left, right = (np.clip(v, 0, width) for v in (np.ceil(x.min(1)), np.floor(x.max(1)) + 1))
    top, bottom = (np.clip(v, 0, height) for v in (np.ceil(y.min(1)), np.floor(y.max(1)) + 1))
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    shown = (right > left) & (bottom > top) & (np.abs(area) > 1e-9)
    x, y, inverse, part, area = x[shown], y[shown], inverse[shown], part[shown], area[shown]
    left, top = left[shown].astype(np.int64), top[shown].astype(np.int64)
    columns = right[shown].astype(np.int64) - left
    counts = columns * (bottom[shown].astype(np.int64) - top)

    # Every pixel of every triangle's box is a candidate, all in one array.
    face = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    row, column = np.divmod(position, columns[face])
    column, row = column + left[face], row + top[face]
    weights = []
    for a, b in ((1, 2), (2, 0)):
        # Edge functions as planes over the image: one multiplication a candidate and axis.
        slope_x, slope_y = (y[:, a] - y[:, b]) / area, (x[:, b] - x[:, a]) / area
        offset = -(slope_x * x[:, a] + slope_y * y[:, a])
        weights.append(slope_x[face] * column + slope_y[face] * row + offset[face])
    weights.append(1 - weights[0] - weights[1])
    inside = (weights[0] >= 0) & (weights[1] >= 0) & (weights[2] >= 0)
    face, pixel = face[inside], (row * width + column)[inside]
    # The inverse of the depth, unlike the depth, is linear in the picture.
    nearness = sum(w[inside] * inverse[face, k] for k, w in enumerate(weights))
    nearness = np.asarray(nearness, np.float32)
    buffer = np.zeros(height * width, np.float32)
    np.maximum.at(buffer, pixel, nearness)
    ids = np.zeros(height * width, np.uint8)
    front = nearness == buffer[pixel]
    ids[pixel[front]] = part[face[front]] + 1
    return ids.reshape(height, width), buffer.reshape(height, width)
