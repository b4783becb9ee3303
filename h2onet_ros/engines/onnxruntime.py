"""ONNX Runtime on the CPU: the engine that is always there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from h2onet_ros.engines.base import EngineError, NetworkEngine, encode_outputs, fuse_outputs
from h2onet_ros.engines.bundle import WeightsBundle


class OnnxRuntimeEngine(NetworkEngine):
    """Runs a bundle with ONNX Runtime, float32, on the CPU.

    Args:
        bundle: weights.
        threads: for the layers of one network. With one, all work happens in the calling thread. More threads
            wait for work spinning, which costs processor time but not latency.

    Raises:
        EngineError: ONNX Runtime refuses a network.
    """

    name = "onnxruntime"

    def __init__(self, bundle: WeightsBundle, threads: int = 1) -> None:
        super().__init__(bundle)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        self._encode = _session(bundle.encode_path, options)
        self._fuse = _session(bundle.fuse_path, options)
        self._encode_outputs = encode_outputs(bundle.multi_frame)
        self._fuse_outputs = fuse_outputs(bundle.multi_frame)
        plural = "s" if threads > 1 else ""
        self.description = f"ONNX Runtime {onnxruntime.__version__}, CPU, float32, {threads} thread{plural}"

    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        return _run(self._encode, self._encode_outputs, {"crops": crops})

    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return _run(self._fuse, self._fuse_outputs, inputs)


def _session(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
        raise EngineError(f"ONNX Runtime cannot load {path}: {error}; export the weights again") from error


def _run(
    session: onnxruntime.InferenceSession, names: tuple[str, ...], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    try:
        return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))
    except Exception as error:  # see above
        raise EngineError(f"ONNX Runtime failed: {error}") from error
