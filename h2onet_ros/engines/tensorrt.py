"""TensorRT or TensorRT-RTX on an NVIDIA GPU, a CUDA graph per run, without PyTorch and CUDA's toolkit."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from h2onet_ros.engines import tensorrt_build
from h2onet_ros.engines.base import (
    EngineError,
    NetworkEngine,
    encode_outputs,
    fuse_inputs,
    fuse_outputs,
    int8_network,
    require_precision,
)
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.engines.cache import CompiledCache
from h2onet_ros.engines.cuda import Cuda, CudaError, CudaGraph
from h2onet_ros.engines.tensorrt_store import TensorRtStore

PRECISIONS = ("float16", "float32", "int8")
ALIGNMENT = 256
"""Bytes; what TensorRT wants of the addresses of tensors."""

_log = logging.getLogger(__name__)


class TensorRtEngine(NetworkEngine):
    """Runs a bundle with TensorRT. By any thread, but by one at a time.

    Args:
        bundle: weights.
        precision: "float16" (metres and coordinates in float32), "float32" or "int8", for which the bundle
            must hold a network; its fusion runs in float16.
        cache: engines of earlier starts. Without, every start builds for seconds to minutes.
        device: ordinal of the GPU.

    Raises:
        EngineError: TensorRT is absent or too old, there is no GPU that it knows, or it refuses a network.
    """

    name = "tensorrt"

    def __init__(
        self,
        bundle: WeightsBundle,
        precision: str = "float16",
        cache: CompiledCache | None = None,
        device: int = 0,
    ) -> None:
        super().__init__(bundle)
        require_precision(self.name, precision, PRECISIONS)
        encode = int8_network(bundle, self.name) if precision == "int8" else bundle.encode_path
        trt = tensorrt_build.find_tensorrt()
        self._cuda = Cuda(device)
        facts = self._cuda.facts
        try:
            tensorrt_build.check_gpu(trt, facts.name, facts.capability)
            store = TensorRtStore(trt, facts, cache)
            loader = _Loader(trt, self._cuda, store, bundle, precision)
            multi_frame = bundle.multi_frame
            self._encode = loader.network(encode, ("crops",), encode_outputs(multi_frame))
            self._fuse = loader.network(bundle.fuse_path, fuse_inputs(multi_frame), fuse_outputs(multi_frame))
        except BaseException:
            self._cuda.close()
            raise
        library = f"{tensorrt_build.product(trt)} {trt.__version__}"
        self.description = f"{library}, {facts.name}, {precision}, CUDA graphs"

    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        return self._encode.run({"crops": crops})

    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self._fuse.run(inputs)

    def close(self) -> None:
        """Give back the GPU's memory; the engine is of no use afterwards."""
        self._encode.close()
        self._fuse.close()
        self._cuda.close()


class _Loader:
    """A bundle's networks onto the GPU, out of the cache or built."""

    def __init__(
        self, trt: Any, cuda: Cuda, store: TensorRtStore, bundle: WeightsBundle, precision: str
    ) -> None:
        self._trt, self._cuda, self._store = trt, cuda, store
        self._bundle, self._precision = bundle, precision
        self._runtime = trt.Runtime(tensorrt_build.make_logger(trt))

    def network(self, path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> _Network:
        engine = self._engine(path)
        config = engine.create_runtime_config()
        kernels = None
        if hasattr(config, "create_runtime_cache"):  # TensorRT-RTX compiles its kernels on the GPU
            key = self._store.kernels_key(self._bundle, path, self._precision)
            kernels = _KernelCache(config, self._store, key)
            strategies = self._trt.DynamicShapesKernelSpecializationStrategy
            # Kernels compiled in the background would be missing from a captured graph.
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return _Network(self._trt, self._cuda, engine, config, kernels, inputs, outputs)

    def _engine(self, path: Path) -> Any:
        stored = self._store.cached(self._bundle, path, self._precision)
        if stored is not None:
            engine = self._runtime.deserialize_cuda_engine(stored)
            if engine is not None:
                return engine
            _log.warning("the cached engine of %s does not run on this GPU; building it anew", path.name)
        engine = self._runtime.deserialize_cuda_engine(self._store.built(self._bundle, path, self._precision))
        if engine is None:
            raise EngineError(
                f"the GPU cannot run the engine that {tensorrt_build.product(self._trt)} "
                f"{self._trt.__version__} built of {path}; its messages are in the log"
            )
        return engine


class _KernelCache:
    """Kernels that TensorRT-RTX compiled on this GPU, kept for the next start."""

    def __init__(self, config: Any, store: TensorRtStore, key: Mapping[str, str]) -> None:
        self._store, self._key = store, key
        self._cache = config.create_runtime_cache()
        self._stored = store.load(key) or b""
        if self._stored and not self._cache.deserialize(self._stored):
            _log.info("compiled kernels of an earlier start do not fit this GPU; compiling anew")
        config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Store what is new."""
        content = bytes(self._cache.serialize())
        if content != self._stored:
            self._store.store(self._key, content)
            self._stored = content


class _Network:
    """One network on the GPU, for batches of any size: larger ones than it was built for are cut."""

    def __init__(
        self,
        trt: Any,
        cuda: Cuda,
        engine: Any,
        config: Any,
        kernels: _KernelCache | None,
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        self._cuda, self._engine, self._config, self._kernels = cuda, engine, config, kernels
        self._inputs, self._outputs = inputs, outputs
        self._plans: dict[int, _Plan] = {}
        for name in (*inputs, *outputs):
            if trt.nptype(engine.get_tensor_dtype(name)) != np.float32:
                raise EngineError(f"the network's {name} is not float32; export the weights again")

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        hands = len(inputs[self._inputs[0]])
        most = tensorrt_build.MAX_HANDS
        parts = [
            self._run({name: array[start : start + most] for name, array in inputs.items()})
            for start in range(0, hands, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._cuda.make_current()
        hands = len(inputs[self._inputs[0]])
        plan = self._plans.get(hands)
        if plan is None:
            plan = _Plan(self._cuda, self._context(), hands, self._inputs, self._outputs)
            self._plans[hands] = plan
            if self._kernels is not None:
                self._kernels.keep()
        return plan.run(inputs)

    def _context(self) -> Any:
        """A context for each size of batch: a graph depends on the shapes its context had."""
        context = self._engine.create_execution_context(self._config)
        if context is None:
            raise EngineError("TensorRT cannot make an execution context: is the GPU's memory full?")
        return context

    def close(self) -> None:
        self._cuda.make_current()
        for plan in self._plans.values():
            plan.close()
        self._plans.clear()
        self._config = self._engine = None


class _Plan:
    """One network for one size of batch: memory on both sides, and the graph of copy, run, copy.

    All inputs lie in one block and all outputs in another, so that each way is one copy.
    """

    def __init__(
        self, cuda: Cuda, context: Any, hands: int, inputs: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self._cuda, self._context = cuda, context
        for name in inputs:
            shape = (hands, *tuple(context.engine.get_tensor_shape(name))[1:])
            if not context.set_input_shape(name, shape):
                raise EngineError(f"TensorRT refuses the shape {shape} of {name}")
        if unknown := context.infer_shapes():
            raise EngineError(f"TensorRT does not know the shapes of {', '.join(unknown)}")
        self._in = _Block(cuda, context, inputs)
        self._out = _Block(cuda, context, outputs)
        self._graph = self._capture()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, view in self._in.views.items():
            view[...] = inputs[name]
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch()
        self._cuda.synchronise()
        return {name: view.copy() for name, view in self._out.views.items()}

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()
        self._context = None
        self._in.close()
        self._out.close()

    def _enqueue(self) -> None:
        self._cuda.to_device(self._in.address, self._in.memory)
        if not self._context.execute_async_v3(self._cuda.stream):
            raise EngineError("TensorRT failed to run the network; its messages are in the log")
        self._cuda.to_host(self._out.memory, self._out.address)

    def _capture(self) -> CudaGraph | None:
        self._enqueue()  # the first run prepares what cannot be captured
        self._cuda.synchronise()
        try:
            with self._cuda.capture() as graph:
                self._enqueue()
        except (CudaError, EngineError) as error:
            _log.warning("no CUDA graph for this network (%s); every run launches its kernels singly", error)
            return None
        return graph


class _Block:
    """Page-locked memory and its twin on the GPU for several tensors, which are views into it."""

    def __init__(self, cuda: Cuda, context: Any, names: Sequence[str]) -> None:
        self._cuda = cuda
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in names}
        offsets, size = {}, 0
        for name, shape in shapes.items():
            offsets[name] = size
            size += -(-int(np.prod(shape)) * 4 // ALIGNMENT) * ALIGNMENT
        self.memory = cuda.allocate_host(size)
        self.memory[:] = 0
        self.address = cuda.allocate(size)
        self.views = {}
        for name, shape in shapes.items():
            start = offsets[name]
            end = start + int(np.prod(shape)) * 4
            self.views[name] = self.memory[start:end].view(np.float32).reshape(shape)
            context.set_tensor_address(name, self.address + start)

    def close(self) -> None:
        self.views.clear()
        self._cuda.free(self.address)
        self._cuda.free_host(self.memory)
