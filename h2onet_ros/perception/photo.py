"""Hands of single photographs, each a scene of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.engines.base import Engine
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.palm import search_windows
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.smoothing import SmoothingConfig
from h2onet_ros.perception.tracker import TrackerConfig
from h2onet_ros.perception.types import Frame, FrameResult

_PAUSE = 33_000_000  # nanoseconds between two looks at a photograph


class PhotoPipeline:
    """Finds the hands of photographs that have nothing to do with each other.

    Args:
        engine: runs the mesh network.
        max_hands: at most so many in a photograph.
        hand_length: metres from the wrist to the tip of the middle finger, if that is known; distances hang
            on it. None: as long as the network says.
        threads: of the palm detector and the hand check.
    """

    def __init__(
        self, engine: Engine, max_hands: int = 2, hand_length: float | None = None, threads: int = 1
    ) -> None:
        config = PipelineConfig(
            max_hands=max_hands,
            hand_length=hand_length,
            threads=threads,
            smoothing=SmoothingConfig(False),
            tracker=TrackerConfig(detect_every=1),
        )
        self._pipeline = HandPipeline(engine, config)

    def __call__(self, rgb: NDArray[np.uint8], camera: Camera, frame_id: str = "camera") -> FrameResult:
        """The hands in a photograph `(H, W, 3)` uint8 that `camera` took, numbered from left to right.

        The photograph is looked at as often as it takes to search all of it (`palm.search_windows`); it
        stands for its own past.

        Raises:
            ValueError: the camera has another size than the photograph.
        """
        self._pipeline.reset()
        # What is found while other hands are in sight already counts one look later.
        looks = len(search_windows(camera.width, camera.height)) + 1
        for look in range(looks):
            result = self._pipeline.process(Frame(rgb, look * _PAUSE, camera, frame_id))
        hands = sorted(result.hands, key=lambda hand: hand.region.x)
        numbered = (replace(hand, track_id=number) for number, hand in enumerate(hands, 1))
        return replace(result, stamp=0, hands=tuple(numbered))

    def close(self) -> None:
        """End its thread."""
        self._pipeline.close()
