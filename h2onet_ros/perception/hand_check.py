"""Tells a hand from no hand and a right hand from a left one, on the crop of a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.background import Background
from h2onet_ros.perception.crop import crop_image, to_network
from h2onet_ros.perception.network import load_network
from h2onet_ros.perception.types import FloatArray, Region, check_array

HAND_CHECK_ASSET = Path(__file__).parents[1] / "assets" / "hand_check" / "hand_check.onnx"
INPUT_SIZE = 224


class HandCheck:
    """Runs the check network with ONNX Runtime.

    Args:
        path: the ONNX file; the committed asset by default.
        threads: of the network.

    Raises:
        NetworkError: the file is missing or is another network.
    """

    def __init__(self, path: Path = HAND_CHECK_ASSET, threads: int = 1) -> None:
        inputs = {"image": (None, 3, INPUT_SIZE, INPUT_SIZE)}
        self._network = load_network(path, inputs, ("presence", "right"), threads)

    def __call__(self, crops: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Probabilities of showing a hand, `(B,)`, and of that being a right hand, `(B,)`.

        Args:
            crops: `(B, 3, 224, 224)` float32 RGB in [0, 1], turned upright, not mirrored.
        """
        check_array("HandCheck", "crops", crops, (None, 3, INPUT_SIZE, INPUT_SIZE))
        presence, right = self._network.run(None, {"image": crops})
        return presence[:, 0], right[:, 0]


class RegionCheck:
    """Checks regions of an image: at once, or in the background.

    Args:
        network: the hand check.
        worker: thread of the background.
    """

    def __init__(self, network: HandCheck, worker: ThreadPoolExecutor) -> None:
        self._network = network
        self._background: Background[dict[int, tuple[float, float]]] = Background(worker)

    def now(
        self, rgb: NDArray[np.uint8], regions: Sequence[Region], both_ways: bool = False
    ) -> list[tuple[float, float]]:
        """For each region of the image `(H, W, 3)`: probabilities of a hand, and of a right one.

        `both_ways`: look at the mirror image too, for twice the time. The network knows right hands better
        than left ones; on single photographs of other people this settles a quarter of its errors of side.
        """
        if not regions:
            return []
        crops = to_network([crop_image(rgb, region, INPUT_SIZE) for region in regions])
        presence, right = self._network(crops)
        if both_ways:
            _, mirrored = self._network(np.ascontiguousarray(crops[..., ::-1]))
            right = _joined(right, 1 - mirrored)
        return [(float(p), float(r)) for p, r in zip(presence, right, strict=True)]

    def prepare(self, rgb: NDArray[np.uint8], regions: Mapping[int, Region]) -> None:
        """Check regions, by track id, in the background once started. The image must not be changed until
        `collect`."""
        if regions:
            self._background.prepare(
                lambda: dict(zip(regions, self.now(rgb, [*regions.values()]), strict=True))
            )

    @property
    def background_time(self) -> float:
        """Seconds that the last work in the background took."""
        return self._background.seconds

    def start(self) -> None:
        """Start what was prepared."""
        self._background.start()

    def collect(self) -> dict[int, tuple[float, float]]:
        """What `now` would have said about the regions prepared before, by track id."""
        return self._background.collect() or {}

    def reset(self) -> None:
        """Forget a check that is under way."""
        self._background.forget()


def _joined(a: FloatArray, b: FloatArray) -> FloatArray:
    """Probabilities of two looks as one: the mean of their log-odds."""
    p = np.clip([a, b], 1e-4, 1 - 1e-4)
    odds = np.sqrt(np.prod(p / (1 - p), axis=0))
    return np.asarray(odds / (1 + odds), np.float32)
