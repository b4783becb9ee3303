"""Which engine runs a bundle: by name, or the best that works here."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2onet_ros.engines.base import Engine, EngineError
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.engines.cache import CompiledCache, default_cache_folder
from h2onet_ros.engines.cuda import CudaError, find_gpu

BFLOAT16_WIDTH = 0.75
"""Narrower networks gain too little by bfloat16 for its rounding and for OpenVINO's memory."""

CHECK_TOLERANCE = 0.002
"""Metres that an accelerator's vertices may be off on average before `auto` refuses it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """What engines are made with.

    Attributes:
        threads: processor threads of one network run.
        precision: "auto" (the engine's default), "float32", "bfloat16", "float16" or "int8", where the engine
            has it.
        cache_folder: for compiled networks; None does without.
        hands: how many to compute at once where an engine must know it.
    """

    threads: int = 1
    precision: str = "auto"
    cache_folder: Path | None = None
    hands: int = 1

    def precision_or(self, default: str) -> str:
        return default if self.precision == "auto" else self.precision

    @property
    def cache(self) -> CompiledCache | None:
        return None if self.cache_folder is None else CompiledCache(self.cache_folder)


def _onnxruntime(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    _require("onnxruntime", "onnxruntime")
    from h2onet_ros.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(bundle, options.threads, "cpu", options.precision_or("float32"))


def _onnxruntime_cuda(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    _require("onnxruntime", "onnxruntime-gpu")
    from h2onet_ros.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(bundle, options.threads, "cuda", options.precision_or("float32"))


def _openvino(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    _require("openvino", "openvino")
    from h2onet_ros.engines.openvino import OpenVinoEngine, supports_bfloat16

    fastest = "bfloat16" if supports_bfloat16() else "float32"
    return OpenVinoEngine(
        bundle, options.threads, options.precision_or(fastest), options.cache, options.hands
    )


def _tensorrt(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    from h2onet_ros.engines.tensorrt import TensorRtEngine

    return TensorRtEngine(bundle, options.precision_or("float16"), options.cache)


def _torch(mode: str) -> Callable[[WeightsBundle, EngineOptions], Engine]:
    def make(bundle: WeightsBundle, options: EngineOptions) -> Engine:
        _require("torch", "torch")
        _require("onnx", "onnx")
        from h2onet_ros.engines.torch import TorchEngine

        return TorchEngine(bundle, options.threads, options.precision_or("float32"), mode=mode)

    return make


_FACTORIES: dict[str, Callable[[WeightsBundle, EngineOptions], Engine]] = {
    "onnxruntime": _onnxruntime,
    "onnxruntime-cuda": _onnxruntime_cuda,
    "openvino": _openvino,
    "tensorrt": _tensorrt,
    "torch": _torch("eager"),
    "torch-compiled": _torch("compiled"),
    "torch-cuda-graph": _torch("cuda-graph"),
}

ENGINE_NAMES = tuple(_FACTORIES)

PRECISION_NAMES = ("float32", "bfloat16", "float16", "int8")
"""Those that some engine has."""


def create_engine(
    bundle: WeightsBundle,
    name: str = "auto",
    threads: int = 1,
    precision: str = "auto",
    cache_folder: str | Path | None = "default",
    hands: int = 1,
    on_processor: Callable[[], WeightsBundle] | None = None,
) -> Engine:
    """An engine for a bundle.

    Args:
        bundle: weights.
        name: one of `ENGINE_NAMES`, or "auto": the best that works here. What was chosen, and why, is logged.
        threads: processor threads of one network run. One is the robust choice beside other programs.
        precision: "auto" for the engine's own default, or "float32", "bfloat16", "float16", "int8" where it
            and the weights have it.
        cache_folder: for compiled networks; "default" is the user's cache folder, None does without.
        hands: how many are usually in sight. Every engine takes any number; OpenVINO computes as many at once
            as named here, at the cost of memory for each (200 MB at width 1).
        on_processor: gives the bundle to run instead, should ONNX Runtime on the processor be the engine.

    Raises:
        EngineError: unknown name, library absent, or the engine refuses the bundle or the precision.
    """
    if name not in ("auto", *ENGINE_NAMES):
        raise EngineError(f"unknown engine {name!r}; choose auto, {', '.join(ENGINE_NAMES)}")
    if threads < 1 or hands < 1:
        raise EngineError(f"threads and hands must be at least 1, got {threads} and {hands}")
    folder = default_cache_folder() if cache_folder == "default" else cache_folder
    options = EngineOptions(threads, precision, None if folder is None else Path(folder), hands)
    if name == "auto":
        return _best_on_gpu(bundle, options) or _best_on_cpu(bundle, on_processor, options)
    if name == "onnxruntime" and on_processor:
        bundle = on_processor()
    engine = _FACTORIES[name](bundle, options)
    _log.info("engine: %s (asked for)", engine.description)
    return engine


def engine_for(
    weights: str | Path | None = None, name: str = "auto", threads: int = 1, precision: str = "auto"
) -> Engine:
    """An engine for weights given by folder or name, or for those that come along and keep up with a camera.

    Without `weights`: `default`, but `compact` where ONNX Runtime on the processor is the engine. Two cores
    that also run camera and listeners then answer two hands at 30 Hz; with `default` they fall behind.

    Raises:
        BundleError, EngineError: as `WeightsBundle.load` and `create_engine`.
    """
    bundle = WeightsBundle.load(weights)
    return create_engine(bundle, name, threads, precision, on_processor=None if weights else _compact)


def _compact() -> WeightsBundle:
    _log.info(
        "weights: compact (chosen: on a processor's ONNX Runtime they keep up with two hands at 30 Hz; "
        "`default` is more accurate and takes twice as long)"
    )
    return WeightsBundle.load("compact")


def _best_on_gpu(bundle: WeightsBundle, options: EngineOptions) -> Engine | None:
    """TensorRT, else ONNX Runtime; each must give the answers of the processor before it is taken."""
    if options.precision not in ("auto", "float16", "float32"):
        return None
    try:
        gpu = find_gpu()
    except CudaError as error:
        _log.info("no engine for a GPU: %s", error)
        return None
    for name in ("tensorrt", "onnxruntime-cuda"):
        try:
            engine = _FACTORIES[name](bundle, options)
            check_answers(engine, _onnxruntime(bundle, EngineOptions()))
        except EngineError as error:
            _log.warning("the GPU %s cannot be used by engine %s: %s", gpu.name, name, error)
        else:
            _log.info("engine: %s (chosen: there is a GPU, and its answers are right)", engine.description)
            return engine
    return None


def _best_on_cpu(
    bundle: WeightsBundle, on_processor: Callable[[], WeightsBundle] | None, options: EngineOptions
) -> Engine:
    """OpenVINO for wide networks where it can use bfloat16, else ONNX Runtime.

    On one thread, in bfloat16 OpenVINO needs two thirds of ONNX Runtime's time at width 1, five sixths at
    width 0.5 (three quarters for two hands); in float32 it gains little. ONNX Runtime needs less memory (130
    in place of 290 MB for two hands at width 0.5), and computes exactly.
    """
    reason = _why_not_openvino(bundle, options)
    if reason is None:
        try:
            engine = _openvino(bundle, options)
        except EngineError as error:
            _log.warning("engine openvino does not work here: %s", error)
            reason = "openvino failed"
        else:
            _log.info("engine: %s (chosen: bfloat16 saves a third of the time)", engine.description)
            return engine
    engine = _onnxruntime(on_processor() if on_processor else bundle, options)
    _log.info("engine: %s (chosen: %s)", engine.description, reason)
    return engine


def check_answers(engine: Engine, trusted: Engine) -> None:
    """Run both engines on the same made-up crop.

    Raises:
        EngineError: the vertices are not finite or more than `CHECK_TOLERANCE` apart.
    """
    size = engine.bundle.image_size
    row = np.linspace(0, 1, size, dtype=np.float32)
    crop = np.stack((np.tile(row, (size, 1)), np.tile(row[:, None], (1, size)), np.outer(row, row)))[None]
    ours, theirs = (each.encode(crop) for each in (engine, trusted))
    vertices = [each.fuse(x, x, x).vertices for each, x in ((engine, ours), (trusted, theirs))]
    distance = float(np.linalg.norm(vertices[0] - vertices[1], axis=-1).mean())
    if not distance <= CHECK_TOLERANCE:
        raise EngineError(
            f"{engine.description} gives vertices {1e3 * distance:.1f} mm from those of "
            f"{trusted.description}, at most {1e3 * CHECK_TOLERANCE:.0f} mm are allowed"
        )


def _why_not_openvino(bundle: WeightsBundle, options: EngineOptions) -> str | None:
    if options.precision == "float32":
        return "in float32 nothing is faster on a processor"
    if options.precision == "auto" and bundle.info.width < BFLOAT16_WIDTH:
        return f"a network of width {bundle.info.width:g} gains little by bfloat16"
    try:
        _require("openvino", "openvino")
    except EngineError:
        return "openvino is not installed"
    from h2onet_ros.engines.openvino import supports_bfloat16

    return None if supports_bfloat16() else "this processor has no bfloat16"


def _require(module: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise EngineError(f"this engine needs the Python package {package} ({error}); install it") from error
