"""Finds palms in a whole image with MediaPipe's palm network (a single-shot detector on 192 x 192 pixels).

Described in "MediaPipe Hands: On-device Real-time Hand Tracking" (Zhang et al., 2020), section 3.1. Palms,
not hands, because they are rigid and nearly square. The network gives a box and seven points for each anchor.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.network import load_network
from h2onet_ros.perception.types import FloatArray, Region, check_array

PALM_ASSET = Path(__file__).parents[1] / "assets" / "palm_detection" / "palm_detection.onnx"
INPUT_SIZE = 192
PALM_POINTS = ("wrist", "index_1", "middle_1", "ring_1", "little_1", "thumb_1", "thumb_2")
"""The seven points of a palm, by our joint names."""

_CELLS = ((8, 2), (16, 6))  # stride in pixels, anchors per cell
_NMS_IOU = 0.3
_MARGIN = 0.25
"""Of the side of a square image, to every side."""


# How far the middle of the hand's box lies from the palm's towards the knuckles, and the size of the region
# (1.5 times the joints' box), both in palm sizes. Means over 3,149 detections in labelled photographs: inter-
# section over union with the true region 0.73 on people left out. See train/detector/fit_palm_region.py.
_REGION_SHIFT = 0.34
_REGION_SIZE = 2.6


@dataclass(frozen=True, eq=False)
class PalmDetection:
    """A palm in image pixels.

    Attributes:
        score: 0 to 1.
        box: `(4,)` left, top, right, bottom; a square.
        points: `(7, 2)` in the order of PALM_POINTS.
    """

    score: float
    box: FloatArray
    points: FloatArray

    def __post_init__(self) -> None:
        check_array("PalmDetection", "box", self.box, (4,))
        check_array("PalmDetection", "points", self.points, (7, 2))

    @property
    def region(self) -> Region:
        """Where the whole hand is expected: roughly 1.5 times the box of its joints, standing upright."""
        size = float(self.box[2] - self.box[0])
        x, y = self.points[1:5].mean(axis=0) - self.points[0]
        angle = float(np.arctan2(x, -y))
        up = np.array([np.sin(angle), -np.cos(angle)])
        x, y = (self.box[:2] + self.box[2:]) / 2 + up * (_REGION_SHIFT * size)
        return Region(float(x), float(y), max(_REGION_SIZE * size, 1.0), angle)


def _anchors() -> FloatArray:
    """`(2016, 2)` centres of the anchors in input pixels, in the network's order."""
    centres = []
    for stride, per_cell in _CELLS:
        cells = INPUT_SIZE // stride
        y, x = np.mgrid[:cells, :cells].reshape(2, -1)
        centres.append(np.repeat(np.stack([x, y], -1), per_cell, 0) * stride + stride / 2)
    return np.concatenate(centres).astype(np.float32)


class PalmDetector:
    """Runs the palm network with ONNX Runtime.

    Args:
        path: the ONNX file; the committed asset by default.
        threshold: least score of a detection, 0 to 1.
        threads: of the network; one is enough (about 5 ms) and leaves the others alone.

    Raises:
        NetworkError: the file is missing or is another network.
    """

    def __init__(self, path: Path = PALM_ASSET, threshold: float = 0.5, threads: int = 1) -> None:
        self.threshold = threshold
        self._network = load_network(
            path, {"image": (1, 3, INPUT_SIZE, INPUT_SIZE)}, ("boxes", "scores"), threads
        )
        self._anchors = _anchors()

    @property
    def threshold(self) -> float:
        """Least score of a detection; may be changed between images."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"PalmDetector: expected a threshold between 0 and 1, got {threshold}")
        self._threshold = threshold
        self._logit_threshold = float(np.log(threshold / (1 - threshold)))

    def detect(
        self, rgb: NDArray[np.uint8], window: tuple[int, int, int, int] | None = None
    ) -> list[PalmDetection]:
        """Palms in an RGB image `(H, W, 3)` uint8, best first, in pixels of that image.

        With a window (left, top, right, bottom) only that part is looked at, and so in finer detail. It may
        reach beyond the image, where all is black.
        """
        left, top, right, bottom = window or (0, 0, rgb.shape[1], rgb.shape[0])
        image, scale, offset = letterbox(_part(rgb, left, top, right, bottom), INPUT_SIZE)
        tensor = np.ascontiguousarray(image.transpose(2, 0, 1))[None].astype(np.float32) / 255
        boxes, logits = self._network.run(None, {"image": tensor})
        chosen = np.flatnonzero(logits[0, :, 0] > self._logit_threshold)
        if not len(chosen):
            return []
        scores = 1 / (1 + np.exp(-logits[0, chosen, 0]))
        # Each row: box centre x, y and size, then seven points; all but the size relative to the anchor.
        raw = boxes[0, chosen].reshape(-1, 9, 2)
        raw[:, [0, *range(2, 9)]] += self._anchors[chosen, None]
        half = raw[:, 1] / 2
        corners = np.concatenate([raw[:, 0] - half, raw[:, 0] + half], 1).reshape(-1, 2, 2)
        points = np.concatenate([corners, raw[:, 2:]], 1)
        # The letterbox maps pixel edges, the rest of the code counts from pixel centres.
        points = (points - offset) / scale + np.array([left, top], np.float32) - 0.5
        return [
            PalmDetection(float(score), merged[:2].reshape(4), merged[2:])
            for score, merged in weighted_suppression(scores, points)
        ]


def search_windows(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """What to look at in turn, frame by frame, while a hand is searched for in an image of this size.

    The whole image every other time, and the two squares at its ends in between: they are less shrunk, and
    the network finds few hands that it sees with less than 30 pixels. Of a square image its surroundings
    instead: the network misses hands that fill what it sees.
    """
    whole, side = (0, 0, width, height), min(width, height)
    if max(width, height) < 1.1 * side:
        margin = round(_MARGIN * side)
        return [whole, (-margin, -margin, width + margin, height + margin)]
    return [whole, (0, 0, side, side), whole, (width - side, height - side, width, height)]


def _part(rgb: NDArray[np.uint8], left: int, top: int, right: int, bottom: int) -> NDArray[np.uint8]:
    """The part of the image `(H, W, 3)`, black outside of it."""
    height, width = rgb.shape[:2]
    part = rgb[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    beyond = [max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)]
    if not any(beyond):
        return part
    above, below, before, behind = beyond
    framed = cv2.copyMakeBorder(part, above, below, before, behind, cv2.BORDER_CONSTANT)
    return np.asarray(framed, np.uint8)


def letterbox(rgb: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], float, FloatArray]:
    """The image shrunk to fit a black square of `size` pixels, centred.

    Returns the square `(size, size, 3)`, and the scale and offset `(2,)` that map pixel edges, in this order.
    """
    height, width = rgb.shape[:2]
    scale = size / max(height, width)
    small_width, small_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size - small_width) // 2, (size - small_height) // 2
    square = np.zeros((size, size, 3), np.uint8)
    target = square[top : top + small_height, left : left + small_width]
    target[:] = cv2.resize(rgb, (small_width, small_height), interpolation=cv2.INTER_LINEAR)
    return square, scale, np.array([left, top], np.float32)


def weighted_suppression(scores: FloatArray, points: FloatArray) -> list[tuple[float, FloatArray]]:
    """Merge overlapping detections into their score-weighted mean, best first.

    Args:
        scores: `(N,)`.
        points: `(N, P, 2)`; the first two are the top left and bottom right corners of the box.

    Returns:
        Pairs of the cluster's best score and its merged points `(P, 2)`.
    """
    order = np.argsort(-scores, kind="stable")
    merged = []
    while len(order):
        best = order[0]
        cluster = _iou(points[best, :2], points[order, :2]) > _NMS_IOU
        cluster[0] = True
        members = order[cluster]
        weights = scores[members] / scores[members].sum()
        merged.append((float(scores[best]), np.tensordot(weights, points[members], 1).astype(np.float32)))
        order = order[~cluster]
    return merged


def _iou(box: FloatArray, boxes: FloatArray) -> FloatArray:
    size = np.clip(np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0]), 0, None)
    intersection = size[:, 0] * size[:, 1]
    area = np.prod(boxes[:, 1] - boxes[:, 0], -1)
    return intersection / np.maximum(np.prod(box[1] - box[0]) + area - intersection, 1e-9)
