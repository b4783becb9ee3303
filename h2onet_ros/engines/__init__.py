"""Weights bundles and the engines that run them. Nothing here needs PyTorch."""

from .base import Engine, EngineError, FrameFeatures, FusedHands
from .bundle import BundleError, BundleInfo, WeightsBundle, default_bundle_path, write_bundle
from .select import ENGINE_NAMES, PRECISION_NAMES, create_engine

__all__ = [
    "ENGINE_NAMES",
    "PRECISION_NAMES",
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
