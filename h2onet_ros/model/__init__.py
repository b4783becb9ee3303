"""The H2ONet network in PyTorch, its export to weights bundles, and the import of published checkpoints."""

from .config import H2ONetConfig
from .network import FrameFeatures, FusedHands, H2ONet, TrainingOutput

__all__ = ["FrameFeatures", "FusedHands", "H2ONet", "H2ONetConfig", "TrainingOutput"]
