"""The overlay video of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.video import VideoWriter
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.types import Frame, Hand


class OverlayVideo:
    """Draws hands into their images and writes them as a video, which has the size of the first image."""

    def __init__(self, path: Path, frame_rate: float, mesh: HandTopology) -> None:
        self._video = VideoWriter(path, frame_rate, waits=True)
        self._mesh = mesh
        self._shape: tuple[int, ...] | None = None

    def add(self, frame: Frame, hands: Sequence[Hand], time: int) -> None:
        """Append an image; `time` in nanoseconds. Raises as `VideoWriter.write`."""
        drawn = draw_overlay(frame.rgb, hands, frame.camera, self._mesh.faces, self._mesh.face_part)
        if self._shape is None:
            self._shape = drawn.shape
        self._video.write(
            fit(np.asarray(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), np.uint8), self._shape), time
        )

    def close(self) -> None:
        self._video.close()


def fit(image: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The image `(H, W, 3)` made as large as fits into `shape`, black around it."""
    if image.shape == shape:
        return image
    scale = min(shape[0] / image.shape[0], shape[1] / image.shape[1])
    width, height = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    canvas = np.zeros(shape, np.uint8)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    canvas[top : top + height, left : left + width] = small
    return canvas
