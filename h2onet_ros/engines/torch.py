"""PyTorch itself: eager, compiled or as CUDA graphs. For comparison, and where nothing else is installed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from h2onet_ros.engines.base import (
    EngineError,
    NetworkEngine,
    encode_outputs,
    fuse_outputs,
    require_precision,
)
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.model import FrameFeatures, H2ONet
from h2onet_ros.model.weights import load_network

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MODES = {"eager": "torch", "compiled": "torch-compiled", "cuda-graph": "torch-cuda-graph"}
"""How PyTorch runs, and what such an engine is called."""

_log = logging.getLogger(__name__)

Function = Callable[..., Any]


class TorchEngine(NetworkEngine):
    """Runs a bundle with PyTorch.

    Args:
        bundle: weights.
        threads: PyTorch's, for the whole process; of no meaning on a GPU.
        precision: "float32", or "bfloat16" or (GPU only) "float16" by autocast; geometry stays in float32.
        device: "cpu", "cuda"...; "auto" is the first GPU where PyTorch can use one.
        mode: "eager"; "compiled" (torch.compile, which needs a C++ compiler and a minute); "cuda-graph".

    Raises:
        EngineError: the device does not exist or does not do what is asked.
    """

    def __init__(
        self,
        bundle: WeightsBundle,
        threads: int = 1,
        precision: str = "float32",
        device: str = "auto",
        mode: str = "eager",
    ) -> None:
        super().__init__(bundle)
        self.name = MODES[mode]
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        offered = list(DTYPES) if self._device.type == "cuda" else ["float32", "bfloat16"]
        require_precision(f"{self.name} on {device}", precision, offered)
        if mode == "cuda-graph" and self._device.type != "cuda":
            raise EngineError(f"engine {self.name} needs a GPU that PyTorch can use; there is none")
        torch.set_num_threads(threads)
        self._dtype = DTYPES[precision]
        try:
            network = load_network(bundle).to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise EngineError(f"PyTorch cannot use the device {device!r}: {error}") from error
        wrap: Callable[[nn.Module], Function] = {
            "eager": lambda module: module,
            "compiled": _compiled,
            "cuda-graph": _Graphs,
        }[mode]
        self._encode = wrap(_Encode(network, self._dtype))
        self._fuse = wrap(_Fuse(network, self._dtype))
        where = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        self.description = f"PyTorch {torch.__version__}, {where}, {precision}, {mode}"

    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        return self._run(self._encode, (crops,), encode_outputs(self.bundle.multi_frame))

    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        absent = np.full((len(inputs["now_vertices"]), 2, 6), np.nan, np.float32)
        moments = [
            inputs.get(f"{moment}_{name}", absent)
            for moment in ("now", "short", "long")
            for name in FrameFeatures._fields
        ]
        return self._run(self._fuse, moments, fuse_outputs(self.bundle.multi_frame))

    def _run(self, function: Function, arrays, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        tensors = [torch.from_numpy(array).to(self._device) for array in arrays]
        with torch.inference_mode():
            outputs = function(*tensors)
        return {name: getattr(outputs, name).float().cpu().numpy() for name in names}


class _Encode(nn.Module):
    def __init__(self, network: H2ONet, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, crops: Tensor) -> Any:
        with torch.autocast(crops.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.network.encode(crops)


class _Fuse(nn.Module):
    def __init__(self, network: H2ONet, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, *features: Tensor) -> Any:
        count = len(FrameFeatures._fields)
        now, short, long = (FrameFeatures(*features[i * count : (i + 1) * count]) for i in range(3))
        with torch.autocast(features[0].device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.network.fuse(now, short, long)


def _compiled(module: nn.Module) -> Function:
    compiled = torch.compile(module, dynamic=False)

    def run(*tensors: Tensor) -> Any:
        try:
            return compiled(*tensors)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise EngineError(f"PyTorch cannot compile the network: {error}") from error

    return run


class _Graphs:
    """A module as CUDA graphs, one for each size of batch."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._captured: dict[int, tuple[torch.cuda.CUDAGraph, list[Tensor], Any]] = {}

    def __call__(self, *tensors: Tensor) -> Any:
        hands = len(tensors[0])
        if hands not in self._captured:
            self._captured[hands] = self._capture(tensors)
        graph, inputs, outputs = self._captured[hands]
        for ours, given in zip(inputs, tensors, strict=True):
            ours.copy_(given)
        graph.replay()
        return outputs

    def _capture(self, tensors: tuple[Tensor, ...]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Any]:
        inputs = [tensor.clone() for tensor in tensors]
        # Libraries set themselves up in the first runs, which must not be captured.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._module(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._module(*inputs)
        return graph, inputs, outputs
