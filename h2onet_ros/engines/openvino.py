"""OpenVINO on the CPU: float32, or bfloat16 on processors that have it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino

from h2onet_ros.engines.base import EngineError, NetworkEngine, encode_outputs, fuse_outputs
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.engines.cache import CompiledCache

PRECISIONS = ("float32", "bfloat16")


def supports_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine(NetworkEngine):
    """Runs a bundle with OpenVINO on the CPU.

    Args:
        bundle: weights.
        threads: for the layers of one network.
        precision: of the encoding network, "float32" or "bfloat16". Fusion always runs in float32: it adds
            and rotates metres, of which bfloat16 keeps two or three digits.
        cache: compiled networks of earlier starts.

    Raises:
        EngineError: OpenVINO refuses a network, or the processor lacks bfloat16.
    """

    name = "openvino"

    def __init__(
        self,
        bundle: WeightsBundle,
        threads: int = 1,
        precision: str = "float32",
        cache: CompiledCache | None = None,
    ) -> None:
        super().__init__(bundle)
        if precision not in PRECISIONS:
            raise EngineError(f"engine openvino offers {' and '.join(PRECISIONS)}, not {precision!r}")
        if precision == "bfloat16" and not supports_bfloat16():
            raise EngineError("this processor has no bfloat16 arithmetic; choose precision float32")
        self._cache = cache
        self._core = openvino.Core()
        self._encode = self._request(bundle.encode_path, threads, precision)
        self._fuse = self._request(bundle.fuse_path, threads, "float32")
        self._encode_outputs = encode_outputs(bundle.multi_frame)
        self._fuse_outputs = fuse_outputs(bundle.multi_frame)
        plural = "s" if threads > 1 else ""
        version = openvino.__version__.split("-")[0]
        self.description = f"OpenVINO {version}, CPU, {precision}, {threads} thread{plural}"

    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        return _infer(self._encode, {"crops": crops}, self._encode_outputs)

    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return _infer(self._fuse, inputs, self._fuse_outputs)

    def _request(self, path: Path, threads: int, precision: str) -> openvino.InferRequest:
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads starve beside another busy process.
            "ENABLE_CPU_PINNING": False,
        }
        key = {
            "engine": "openvino",
            "version": openvino.__version__,
            "processor": self._core.get_property("CPU", "FULL_DEVICE_NAME"),
            "bundle": self.bundle.digest,
            "network": path.name,
            "config": repr(sorted(config.items())),
        }
        try:
            compiled = self._cached(key, config)
            if compiled is None:
                compiled = self._core.compile_model(str(path), "CPU", config)
                if self._cache is not None:
                    blob = compiled.export_model()  # bytes or a BytesIO, depending on the version
                    self._cache.store(key, blob if isinstance(blob, bytes) else blob.getvalue())
            return compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load {path}: {error}; export the weights again") from error

    def _cached(self, key: Mapping[str, str], config: Mapping[str, object]) -> openvino.CompiledModel | None:
        blob = self._cache.load(key) if self._cache is not None else None
        return None if blob is None else self._core.import_model(blob, "CPU", dict(config))


def _infer(
    request: openvino.InferRequest, inputs: Mapping[str, np.ndarray], names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    try:
        request.infer(dict(inputs), share_inputs=True)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO failed: {error}") from error
    # The tensors belong to the request, which overwrites them next time.
    return {name: np.array(request.get_tensor(name).data, dtype=np.float32) for name in names}
