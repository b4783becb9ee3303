"""Which engine runs a bundle: by name, or the best that works here."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from h2onet_ros.engines.base import Engine, EngineError
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.engines.cache import CompiledCache, default_cache_folder

BFLOAT16_WIDTH = 0.75
"""Narrower networks are not faster in bfloat16."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """What engines are made with.

    Attributes:
        threads: processor threads of one network run.
        precision: "auto" (the engine's default), "float32", "bfloat16" or "float16", where the engine has it.
        cache_folder: for compiled networks; None does without.
    """

    threads: int = 1
    precision: str = "auto"
    cache_folder: Path | None = None

    def precision_or(self, default: str) -> str:
        return default if self.precision == "auto" else self.precision

    @property
    def cache(self) -> CompiledCache | None:
        return None if self.cache_folder is None else CompiledCache(self.cache_folder)


def _onnxruntime(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    _require("onnxruntime", "onnxruntime")
    from h2onet_ros.engines.onnxruntime import OnnxRuntimeEngine

    if options.precision_or("float32") != "float32":
        raise EngineError(f"engine onnxruntime computes in float32, not {options.precision!r}")
    return OnnxRuntimeEngine(bundle, options.threads)


def _openvino(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    _require("openvino", "openvino")
    from h2onet_ros.engines.openvino import OpenVinoEngine, supports_bfloat16

    fastest = "bfloat16" if supports_bfloat16() else "float32"
    return OpenVinoEngine(bundle, options.threads, options.precision_or(fastest), options.cache)


def _torch(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    _require("torch", "torch")
    _require("onnx", "onnx")
    from h2onet_ros.engines.torch import TorchEngine

    return TorchEngine(bundle, options.threads, options.precision_or("float32"))


_FACTORIES: dict[str, Callable[[WeightsBundle, EngineOptions], Engine]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "torch": _torch,
}

ENGINE_NAMES = tuple(_FACTORIES)


def create_engine(
    bundle: WeightsBundle,
    name: str = "auto",
    threads: int = 1,
    precision: str = "auto",
    cache_folder: str | Path | None = "default",
) -> Engine:
    """An engine for a bundle.

    Args:
        bundle: weights.
        name: one of `ENGINE_NAMES`, or "auto": the best that works here. What was chosen, and why, is logged.
        threads: processor threads of one network run. One is the robust choice beside other programs.
        precision: "auto" for the engine's own default, or "float32", "bfloat16", "float16" where it has it.
        cache_folder: for compiled networks; "default" is the user's cache folder, None does without.

    Raises:
        EngineError: unknown name, library absent, or the engine refuses the bundle or the precision.
    """
    if name not in ("auto", *ENGINE_NAMES):
        raise EngineError(f"unknown engine {name!r}; choose auto, {', '.join(ENGINE_NAMES)}")
    if threads < 1:
        raise EngineError(f"threads must be at least 1, got {threads}")
    folder = default_cache_folder() if cache_folder == "default" else cache_folder
    options = EngineOptions(threads, precision, None if folder is None else Path(folder))
    if name == "auto":
        return _best(bundle, options)
    engine = _FACTORIES[name](bundle, options)
    _log.info("engine: %s (asked for)", engine.description)
    return engine


def _best(bundle: WeightsBundle, options: EngineOptions) -> Engine:
    """OpenVINO for wide networks where it can use bfloat16, else ONNX Runtime.

    On one thread, in bfloat16 OpenVINO needs two thirds of ONNX Runtime's time at width 1, as much at
    width 0.5; in float32 it gains nothing. ONNX Runtime needs less memory, and computes exactly.
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
    engine = _onnxruntime(bundle, options)
    _log.info("engine: %s (chosen: %s)", engine.description, reason)
    return engine


def _why_not_openvino(bundle: WeightsBundle, options: EngineOptions) -> str | None:
    if options.precision == "float32":
        return "in float32 nothing is faster on a processor"
    if options.precision == "auto" and bundle.info.width < BFLOAT16_WIDTH:
        return f"for a network of width {bundle.info.width:g} nothing is faster on a processor"
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
        raise EngineError(
            f"engine {module} needs the Python package {package} ({error}); install it"
        ) from error
