"""Weights bundles and the engines that run them. Nothing here needs PyTorch."""

from .base import Engine, EngineError, FrameFeatures, FusedHands
from .bundle import BundleError, BundleInfo, WeightsBundle, bundle_path, packaged_bundles, write_bundle
from .select import ENGINE_NAMES, PRECISION_NAMES, create_engine, engine_for

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
    "bundle_path",
    "create_engine",
    "engine_for",
    "packaged_bundles",
    "write_bundle",
]
