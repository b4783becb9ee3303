"""Tells a hand from no hand and a right hand from a left one, on the crop of a region."""

from __future__ import annotations

from pathlib import Path

from h2onet_ros.perception.network import load_network
from h2onet_ros.perception.types import FloatArray, check_array

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
