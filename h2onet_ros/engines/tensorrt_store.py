"""TensorRT engines of a bundle: from the cache where one fits, else built and kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from h2onet_ros.engines import tensorrt_build
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.engines.cache import CompiledCache
from h2onet_ros.engines.cuda import DeviceFacts


class TensorRtStore:
    """Serialised engines for one GPU.

    Engines are kept under GPU, driver, TensorRT's version, weights, network, precision and largest batch;
    what TensorRT measured while building under the first three alone, for it serves other weights as well.

    Args:
        trt: of `tensorrt_build.find_tensorrt`.
        facts: the GPU they are for.
        cache: None builds at every start.
    """

    def __init__(self, trt: ModuleType, facts: DeviceFacts, cache: CompiledCache | None) -> None:
        self._trt, self._cache = trt, cache
        self._machine = {
            "library": f"{tensorrt_build.product(trt)} {trt.__version__}",
            "gpu": f"{facts.name}, compute capability {facts.capability[0]}.{facts.capability[1]}",
            "driver": facts.driver,
        }

    def cached(self, bundle: WeightsBundle, network: Path, precision: str) -> bytes | None:
        """The engine of a network of the bundle, where the cache has it."""
        return self.load(self._key("tensorrt", bundle, network, precision))

    def built(self, bundle: WeightsBundle, network: Path, precision: str) -> bytes:
        """The same, built anew and kept.

        Raises:
            EngineError: it cannot be built.
        """
        content: bytes | Path = network
        if precision == "float16" or (precision == "int8" and network == bundle.fuse_path):
            from h2onet_ros.engines.typed_onnx import half_precision

            content = half_precision(network)
        timing_key = {"engine": "tensorrt-timing", **self._machine}
        timing = self.load(timing_key) or b""
        engine, measured = tensorrt_build.build_engine(
            self._trt,
            content,
            timing=timing,
            title=f"{network.stem} of {bundle.info.name} in {precision}",
        )
        self.store(self._key("tensorrt", bundle, network, precision), engine)
        if measured and measured != timing:
            self.store(timing_key, measured)
        return engine

    def kernels_key(self, bundle: WeightsBundle, network: Path, precision: str) -> dict[str, str]:
        """Key of what TensorRT-RTX compiles for a network when it first runs on the GPU."""
        return self._key("tensorrt-kernels", bundle, network, precision)

    def load(self, key: Mapping[str, str]) -> bytes | None:
        return None if self._cache is None else self._cache.load(key)

    def store(self, key: Mapping[str, str], data: bytes) -> None:
        if self._cache is not None:
            self._cache.store(key, data)

    def _key(self, what: str, bundle: WeightsBundle, network: Path, precision: str) -> dict[str, str]:
        return {
            "engine": what,
            **self._machine,
            "bundle": bundle.digest,
            "network": network.name,
            "precision": precision,
            "max_hands": str(tensorrt_build.MAX_HANDS),
        }
