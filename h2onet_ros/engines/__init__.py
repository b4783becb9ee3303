"""Weights bundles and the engines that run them. Nothing here needs PyTorch."""

from __future__ import annotations

import logging

from .base import Engine, EngineError, FrameFeatures, FusedHands
from .bundle import BundleError, BundleInfo, WeightsBundle, default_bundle_path, write_bundle

ENGINE_NAMES = ("onnxruntime",)

_log = logging.getLogger(__name__)


def create_engine(bundle: WeightsBundle, name: str = "auto", threads: int = 1) -> Engine:
    """An engine for a bundle.

    Args:
        bundle: weights.
        name: one of `ENGINE_NAMES`, or "auto": the best that works here; which and why is logged.
        threads: processor threads of one network run.

    Raises:
        EngineError: unknown name, library absent, or the engine refuses the bundle.
    """
    if name not in ("auto", *ENGINE_NAMES):
        raise EngineError(f"unknown engine {name!r}; choose auto, {', '.join(ENGINE_NAMES)}")
    if threads < 1:
        raise EngineError(f"threads must be at least 1, got {threads}")
    try:
        from .onnxruntime import OnnxRuntimeEngine
    except ImportError as error:
        raise EngineError(f"engine onnxruntime needs the package onnxruntime: {error}") from error
    engine = OnnxRuntimeEngine(bundle, threads)
    _log.info("engine %s: %s", "chosen" if name == "auto" else "asked for", engine.description)
    return engine


__all__ = [
    "ENGINE_NAMES",
    "BundleError",
    "BundleInfo",
    "Engine",
    "EngineError",
    "FrameFeatures",
    "FusedHands",
    "WeightsBundle",
    "create_engine",
    "default_bundle_path",
    "write_bundle",
]
