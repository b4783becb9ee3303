"""PyTorch itself: eager, on the CPU or a GPU. For comparison, and where nothing else is installed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from h2onet_ros.engines.base import EngineError, NetworkEngine, encode_outputs, fuse_outputs
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.model import FrameFeatures
from h2onet_ros.model.weights import load_network

PRECISIONS = ("float32", "bfloat16")


class TorchEngine(NetworkEngine):
    """Runs a bundle with PyTorch, eagerly.

    Args:
        bundle: weights.
        threads: PyTorch's, for the whole process; ignored on a GPU.
        precision: "float32", or "bfloat16" by autocast (geometry stays in float32).
        device: "cpu", "cuda"...

    Raises:
        EngineError: the device does not exist.
    """

    name = "torch"

    def __init__(
        self, bundle: WeightsBundle, threads: int = 1, precision: str = "float32", device: str = "cpu"
    ) -> None:
        super().__init__(bundle)
        if precision not in PRECISIONS:
            raise EngineError(f"engine torch offers {' and '.join(PRECISIONS)}, not {precision!r}")
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._autocast = precision == "bfloat16"
        try:
            self._network = load_network(bundle).to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise EngineError(f"PyTorch cannot use the device {device!r}: {error}") from error
        where = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        self.description = f"PyTorch {torch.__version__}, {where}, {precision}, eager"

    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        features = self._run(self._network.encode, torch.from_numpy(crops).to(self._device))
        return _arrays(features, encode_outputs(self.bundle.multi_frame))

    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        tensors = {name: torch.from_numpy(array).to(self._device) for name, array in inputs.items()}
        absent = torch.full((len(inputs["now_vertices"]), 2, 6), float("nan"), device=self._device)
        moments = (
            FrameFeatures(**{name: tensors.get(f"{moment}_{name}", absent) for name in FrameFeatures._fields})
            for moment in ("now", "short", "long")
        )
        hands = self._run(self._network.fuse, *moments)
        return _arrays(hands, fuse_outputs(self.bundle.multi_frame))

    def _run(self, function, *arguments):
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast),
        ):
            return function(*arguments)


def _arrays(outputs, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: getattr(outputs, name).float().cpu().numpy() for name in names}
