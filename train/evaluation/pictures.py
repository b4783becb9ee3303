"""Predictions as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from h2onet_ros.bag.contact_sheet import arrange
from h2onet_ros.hand.joints import SKELETON
from train.datasets.base import Frame
from train.evaluation.predictions import STILL, Predictions, crop_frame
from train.evaluation.predictors import Subject

TILE = 256
COLUMNS = 4
TRUE_COLOUR, FOUND_COLOUR = (60, 220, 60), (60, 60, 255)


def draw_predictions(
    p: Predictions, subject: Subject, samples: Sequence[list[Frame]], rows: np.ndarray
) -> np.ndarray:
    """Crops with the given points (green), the network's points (red) and its mesh from the same view, BGR.

    Args:
        p: of these samples.
        subject: whose they are.
        samples: in the order of `p`.
        rows: which of them, in the order they are to be shown.
    """
    faces = subject.topology.faces
    tiles = []
    for row in rows:
        crop = crop_frame(samples[row][0], subject, STILL, np.random.default_rng(0))[0]
        picture = cv2.resize(crop[..., ::-1], (TILE, TILE), interpolation=cv2.INTER_CUBIC)
        meshed = picture.copy()
        if np.isfinite(p.vertices[row]).all():
            meshed = _draw_mesh(meshed, p.vertices[row], p.joints[row], p.uv[row] * TILE, faces)
        for points, colour in ((p.true_uv[row], TRUE_COLOUR), (p.uv[row], FOUND_COLOUR)):
            pixels = np.round(points * TILE).astype(int)
            for a, b in SKELETON:
                cv2.line(picture, pixels[a].tolist(), pixels[b].tolist(), colour, 1, cv2.LINE_AA)
        tiles.append(np.concatenate([picture, meshed], 1))
    return arrange(tiles, COLUMNS)


def _draw_mesh(
    picture: np.ndarray, vertices: np.ndarray, joints: np.ndarray, points: np.ndarray, faces: np.ndarray
) -> np.ndarray:
    # Weak perspective: scale and place that bring the joints onto the image points, least squares.
    flat = joints[:, :2] - joints[:, :2].mean(0)
    scale = float((flat * (points - points.mean(0))).sum() / (flat * flat).sum())
    pixels = (vertices[:, :2] - joints[:, :2].mean(0)) * scale + points.mean(0)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    layer = picture.copy()
    for face in np.argsort(-vertices[faces].mean(1)[:, 2]):
        if normal[face, 2] < 0:
            shade = 70 + 180 * float(-normal[face, 2])
            corners = np.round(pixels[faces[face]]).astype(np.int32)
            cv2.fillConvexPoly(layer, corners, (shade, shade * 0.8, shade * 0.65), cv2.LINE_AA)
    return cv2.addWeighted(layer, 0.75, picture, 0.25, 0)
