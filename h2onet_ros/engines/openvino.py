"""OpenVINO on the CPU: float32, bfloat16 on processors that have it, or 8 bit integers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino

from h2onet_ros.engines.base import (
    EngineError,
    NetworkEngine,
    encode_outputs,
    fuse_outputs,
    int8_network,
    require_precision,
)
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.engines.cache import CompiledCache
from h2onet_ros.engines.openvino_split import split_before_last_layers

PRECISIONS = ("float32", "bfloat16", "int8")


def supports_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoEngine(NetworkEngine):
    """Runs a bundle with OpenVINO on the CPU. By any thread, but by one at a time.

    Args:
        bundle: weights.
        threads: for the layers of one network.
        precision: "float32", "bfloat16" or "int8", for which the bundle must hold a network. What computes
            metres and rotations runs in float32 all the same.
        cache: compiled networks of earlier starts.
        hands: the largest number of hands that are computed at once; more are cut into such batches. The
            networks are compiled for each number, since those for any number are a sixth slower. At width 1
            each takes 200 MB.

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
        hands: int = 1,
    ) -> None:
        super().__init__(bundle)
        require_precision(self.name, precision, PRECISIONS)
        if precision == "bfloat16" and not supports_bfloat16():
            raise EngineError("this processor has no bfloat16 arithmetic; choose precision float32")
        self._compiler = _Compiler(bundle, threads, cache)
        encode = int8_network(bundle, self.name) if precision == "int8" else bundle.encode_path
        # What is not in integers may as well be in bfloat16, where there is such a thing.
        coarse = precision == "bfloat16" or (precision == "int8" and supports_bfloat16())
        sizes = range(1, hands + 1)
        self._encode = {n: [self._compiler.network(encode, n, coarse)] for n in sizes}
        split = coarse and bundle.multi_frame
        self._fuse = {n: self._split_fuse(n) if split else self._whole_fuse(n) for n in sizes}
        self._encode_outputs = encode_outputs(bundle.multi_frame)
        self._fuse_outputs = fuse_outputs(bundle.multi_frame)
        plural = "s" if threads > 1 else ""
        version = openvino.__version__.split("-")[0]
        self.description = f"OpenVINO {version}, CPU, {precision}, {threads} thread{plural}"

    def _whole_fuse(self, hands: int) -> list[_Request]:
        return [self._compiler.network(self.bundle.fuse_path, hands, coarse=False)]

    def _split_fuse(self, hands: int) -> list[_Request]:
        """The large layers coarsely, the rest, which computes metres and rotations, exactly."""
        path = self.bundle.fuse_path
        first = self._compiler.network(path, hands, coarse=True, part="first")
        rest = self._compiler.network(path, hands, coarse=False, part="rest")
        rest.follow(first)
        return [first, rest]

    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        return _run(self._encode, {"crops": crops}, self._encode_outputs)

    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return _run(self._fuse, inputs, self._fuse_outputs)


class _Compiler:
    """Networks ready to run, compiled or out of the cache."""

    def __init__(self, bundle: WeightsBundle, threads: int, cache: CompiledCache | None) -> None:
        self._bundle, self._threads, self._cache = bundle, threads, cache
        self._core = openvino.Core()

    def network(self, path: Path, hands: int, coarse: bool, part: str = "whole") -> _Request:
        """One network, or one part of it, for so many hands.

        Raises:
            EngineError: OpenVINO refuses it.
        """
        config = {
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": "bf16" if coarse else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads starve beside another busy process.
            "ENABLE_CPU_PINNING": False,
        }
        key = {
            "engine": "openvino",
            "version": openvino.__version__,
            "processor": self._core.get_property("CPU", "FULL_DEVICE_NAME"),
            "bundle": self._bundle.digest,
            "network": path.name,
            "part": part,
            "hands": str(hands),
            "config": repr(sorted(config.items())),
        }
        try:
            compiled = self._cached(key, config)
            if compiled is None:
                compiled = self._core.compile_model(self._model(path, hands, part), "CPU", config)
                if self._cache is not None:
                    blob = compiled.export_model()  # bytes or a BytesIO, depending on the version
                    self._cache.store(key, blob if isinstance(blob, bytes) else blob.getvalue())
            return _Request(compiled)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load {path}: {error}; export the weights again") from error

    def _model(self, path: Path, hands: int, part: str) -> openvino.Model:
        model = self._core.read_model(str(path))
        model.reshape({item.any_name: [hands, *list(item.partial_shape)[1:]] for item in model.inputs})
        if part == "whole":
            return model
        return split_before_last_layers(model)[("first", "rest").index(part)]

    def _cached(self, key: Mapping[str, str], config: Mapping[str, object]) -> openvino.CompiledModel | None:
        blob = self._cache.load(key) if self._cache is not None else None
        return None if blob is None else self._core.import_model(blob, "CPU", dict(config))


class _Request:
    """A compiled network's request. Memory for inputs is bound once: binding takes longer than copying."""

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = {item.any_name: np.zeros(tuple(item.shape), np.float32) for item in compiled.inputs}
        for name, array in self._inputs.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def follow(self, first: _Request) -> None:
        """Read the outputs of the request that runs before this one where they lie."""
        for i, tensor in enumerate(first._request.output_tensors):
            self._request.set_tensor(f"part{i}", tensor)
            del self._inputs[f"part{i}"]

    def infer(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Run on those of the arrays that it needs."""
        for name, array in self._inputs.items():
            array[...] = arrays[name]
        self._request.infer(share_outputs=True)

    def output(self, name: str) -> np.ndarray:
        """A copy: the tensors belong to the request, which overwrites them next time."""
        return np.array(self._request.get_tensor(name).data, dtype=np.float32)


def _run(
    requests: Mapping[int, list[_Request]],
    inputs: Mapping[str, np.ndarray],
    names: tuple[str, ...],
) -> dict[str, np.ndarray]:
    """Outputs by name, from batches of the sizes there are requests for."""
    hands, most = len(next(iter(inputs.values()))), max(requests)
    batches = []
    for start in range(0, hands, most):
        batch = {name: array[start : start + most] for name, array in inputs.items()}
        batches.append(_infer(requests[min(most, hands - start)], batch, names))
    if len(batches) == 1:
        return batches[0]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in names}


def _infer(
    chain: list[_Request], inputs: Mapping[str, np.ndarray], names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Outputs of the last of requests that run one after the other."""
    try:
        for request in chain:
            request.infer(inputs)
        return {name: chain[-1].output(name) for name in names}
    except RuntimeError as error:
        raise EngineError(f"OpenVINO failed: {error}") from error
