"""MediaPipe's hand landmark network as a judge of 2D points and as a rival in 3D; never part of the product.

Runs `hand_landmark_full.tflite` (Apache-2.0), from the MediaPipe wheel or as a file, with LiteRT, as
MediaPipe does: on a turned square about the palm, then again on one about the points found there.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from h2onet_ros.perception.palm import PalmDetection, PalmDetector

MEMBER = "mediapipe/modules/hand_landmark/hand_landmark_full.tflite"
INPUT_SIZE = 224


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Attributes:
    points: `(21, 2)` pixels, standard order.
    presence: probability that this is a hand.
    right: probability that it is a right hand.
    world: `(21, 3)` metres, axes as the image's (x right, y down, z away), about the hand's middle.
    """

    points: np.ndarray
    presence: float
    right: float
    world: np.ndarray


@dataclass(frozen=True, eq=False)
class _Square:
    """A turned square: `up` is the unit vector that points up in the crop."""

    centre: np.ndarray
    size: float
    up: np.ndarray

    def to_image(self) -> np.ndarray:
        """`(2, 3)` from crop pixels to image pixels."""
        scale = self.size / INPUT_SIZE
        across = np.array([-self.up[1], self.up[0]])
        turn = scale * np.stack([across, -self.up], 1)
        return np.column_stack([turn, self.centre - turn @ np.full(2, (INPUT_SIZE - 1) / 2)])


class LandmarkNetwork:
    """Finds the hands of an image with MediaPipe's two networks.

    Args:
        path: the `mediapipe==0.10.21` wheel, or `hand_landmark_full.tflite` out of it.

    Raises:
        ValueError: neither.
    """

    def __init__(self, path: Path) -> None:
        content = _read(path)
        from ai_edge_litert.interpreter import Interpreter

        self._network = Interpreter(model_content=content, num_threads=1)
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._network.get_output_details()]

    @cached_property
    def _palms(self) -> PalmDetector:
        return PalmDetector()

    def track(self, rgb: np.ndarray, points: np.ndarray) -> Landmarks:
        """The hand of an RGB image `(H, W, 3)` uint8 whose points a moment ago were `points` `(21, 2)`."""
        return self._look(rgb, _about_points(points))

    def find(self, rgb: np.ndarray, least_presence: float = 0.5) -> list[Landmarks]:
        """All hands of an RGB image `(H, W, 3)` uint8."""
        hands = []
        for palm in self._palms.detect(rgb):
            first = self._look(rgb, _about_palm(palm))
            if first.presence >= least_presence:
                second = self._look(rgb, _about_points(first.points))
                hands.append(second if second.presence >= least_presence else first)
        return hands

    def _look(self, rgb: np.ndarray, square: _Square) -> Landmarks:
        to_image = square.to_image()
        crop = cv2.warpAffine(
            rgb, to_image, (INPUT_SIZE, INPUT_SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        self._network.set_tensor(self._input, crop[None].astype(np.float32) / 255)
        self._network.invoke()
        points, presence, right, world = (self._network.get_tensor(index) for index in self._outputs)
        pixels = points.reshape(21, 3)[:, :2] @ to_image[:, :2].T + to_image[:, 2]
        metres = world.reshape(21, 3).astype(np.float64)
        metres[:, :2] = metres[:, :2] @ to_image[:, :2].T / (square.size / INPUT_SIZE)
        return Landmarks(pixels, float(presence.item()), float(right.item()), metres)


def _read(path: Path) -> bytes:
    content = Path(path).read_bytes()
    if content[4:8] == b"TFL3":
        return content
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(MEMBER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"{path}: expected the mediapipe 0.10.21 wheel, or hand_landmark_full.tflite out of it. "
            "Get the wheel with `pip download --no-deps mediapipe==0.10.21`."
        ) from error


def _about_palm(palm: PalmDetection) -> _Square:
    up = palm.points[2] - palm.points[0]
    up = up / np.linalg.norm(up)
    size = float(palm.box[2] - palm.box[0])
    return _Square((palm.box[:2] + palm.box[2:]) / 2 + 0.5 * size * up, 2.6 * size, up)


def _about_points(points: np.ndarray) -> _Square:
    up = points[9] - points[0]
    up = up / np.linalg.norm(up)
    axes = np.stack([np.array([-up[1], up[0]]), up])
    turned = points @ axes.T
    low, high = turned.min(0), turned.max(0)
    size = float((high - low).max())
    return _Square((low + high) / 2 @ axes + 0.1 * size * up, 2.0 * size, up)
