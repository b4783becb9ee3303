"""ONNX Runtime: on the CPU the engine that is always there; on NVIDIA GPUs with onnxruntime-gpu."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from h2onet_ros.engines.base import (
    EngineError,
    NetworkEngine,
    encode_outputs,
    fuse_outputs,
    int8_network,
    require_precision,
)
from h2onet_ros.engines.bundle import WeightsBundle

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
PRECISIONS = {"cpu": ("float32", "int8"), "cuda": ("float32", "float16")}


class OnnxRuntimeEngine(NetworkEngine):
    """Runs a bundle with ONNX Runtime.

    Args:
        bundle: weights.
        threads: for the layers of the encoding network. With one, all work happens in the calling thread.
            More threads wait for work spinning, which costs processor time but not latency. Fusion stays in
            the calling thread: threads of its own would spin against those of encoding, and a step would
            take twice as long.
        device: "cpu" or "cuda".
        precision: "float32"; on the CPU "int8", for which the bundle must hold a network; on a GPU "float16".
            What computes metres and rotations runs in float32 all the same.
        encode: encoding network to run in place of the bundle's, e.g. the one made for another engine.

    Raises:
        EngineError: ONNX Runtime refuses a network, has not the precision, or cannot use the GPU.
    """

    def __init__(
        self,
        bundle: WeightsBundle,
        threads: int = 1,
        device: str = "cpu",
        precision: str = "float32",
        encode: Path | None = None,
    ) -> None:
        super().__init__(bundle)
        self.name = "onnxruntime" if device == "cpu" else f"onnxruntime-{device}"
        require_precision(self.name, precision, PRECISIONS[device])
        if encode is None:
            encode = int8_network(bundle, self.name) if precision == "int8" else bundle.encode_path
        self._encode = _session(encode, precision, device, threads)
        self._fuse = _session(bundle.fuse_path, precision, device, 1)
        self._encode_outputs = encode_outputs(bundle.multi_frame)
        self._fuse_outputs = fuse_outputs(bundle.multi_frame)
        where = f"{threads} thread{'s' if threads > 1 else ''}"
        if device == "cuda":
            where = "checked to run on the GPU"
        self.description = f"ONNX Runtime {onnxruntime.__version__}, {device.upper()}, {precision}, {where}"

    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        return _run(self._encode, self._encode_outputs, {"crops": crops})

    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return _run(self._fuse, self._fuse_outputs, inputs)


def _content(path: Path, precision: str) -> str | bytes:
    if precision != "float16":
        return str(path)
    from h2onet_ros.engines.typed_onnx import half_precision

    return half_precision(path)


def _session(path: Path, precision: str, device: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    network = _content(path, precision)
    providers: list[Any] = [CPU]
    if device == "cuda":
        available = onnxruntime.get_available_providers()
        if CUDA not in available:
            raise EngineError(
                f"ONNX Runtime {onnxruntime.__version__} has no {CUDA} (it has {', '.join(available)}); "
                "install onnxruntime-gpu in place of onnxruntime"
            )
        # TF32 would round what is asked for in float32 to ten bits.
        providers = [(CUDA, {"use_tf32": "0"}), CPU]
    try:
        session = onnxruntime.InferenceSession(network, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
        raise EngineError(f"ONNX Runtime cannot load {path}: {error}; export the weights again") from error
    # Where CUDA's libraries are missing, ONNX Runtime goes on with the CPU and only prints so.
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise EngineError(
            f"ONNX Runtime {onnxruntime.__version__} cannot use the GPU: {CUDA} did not start. Its messages "
            "tell which library of CUDA or cuDNN is missing, or there is no GPU"
        )
    session.disable_fallback()
    return session


def _run(
    session: onnxruntime.InferenceSession, names: tuple[str, ...], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    try:
        return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))
    except Exception as error:  # see above
        raise EngineError(f"ONNX Runtime failed: {error}") from error
