"""What every engine offers: encode a batch of crops, fuse three moments; plain NumPy in and out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np

from h2onet_ros.engines.bundle import WeightsBundle


class EngineError(RuntimeError):
    """An engine cannot be made, or cannot run what it was given. The message says what to do."""


@dataclass(frozen=True)
class FrameFeatures:
    """Everything kept of one moment of B hands; float32.

    Attributes:
        uv: (B, 21, 2) image points, 0..1 across the crop.
        occlusion_logits: (B, 2, 6), class 0 visible and 1 occluded; columns thumb..little, whole hand. NaN
            where the bundle has no classifier (single-frame).
        vertex_features: (B, V, C) mesh features; C is 0 in single-frame bundles.
        orientation: (B, D) orientation feature.
        vertices: (B, V, 3) canonical vertices, metres. (B, 0, 3) after `as_past`.
    """

    uv: np.ndarray
    occlusion_logits: np.ndarray
    vertex_features: np.ndarray
    orientation: np.ndarray
    vertices: np.ndarray

    def __len__(self) -> int:
        """Hands B."""
        return len(self.uv)

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def select(self, rows: Sequence[int] | np.ndarray) -> FrameFeatures:
        """The features of some of the hands, copied (a view would keep the whole batch alive)."""
        index = np.asarray(rows, dtype=np.intp)
        return FrameFeatures(*(getattr(self, field.name)[index] for field in fields(self)))

    def as_past(self) -> FrameFeatures:
        """The same without the vertices, which fusion reads of the current moment only."""
        return FrameFeatures(
            self.uv,
            self.occlusion_logits,
            self.vertex_features,
            self.orientation,
            self.vertices[:, :0].copy(),
        )

    @staticmethod
    def concatenate(parts: Sequence[FrameFeatures]) -> FrameFeatures:
        """One batch from several, in order. All parts with or all without vertices."""
        return FrameFeatures(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(FrameFeatures)
            )
        )


@dataclass(frozen=True)
class FusedHands:
    """The answer for the current moment of B right hands; float32.

    Attributes:
        vertices: (B, V, 3) in the camera's axes, metres, relative to the wrist joint.
        joints: (B, 21, 3) likewise.
        rotation: (B, 3, 3) from the canonical orientation to the camera.
        occlusion: (B, 6) probability of being occluded, thumb..little, whole hand; NaN where the bundle has
            no classifier (single-frame).
    """

    vertices: np.ndarray
    joints: np.ndarray
    rotation: np.ndarray
    occlusion: np.ndarray


class Engine(Protocol):
    """A weights bundle ready to run.

    Attributes:
        name: what `create_engine` calls it.
        description: library and version, device, precision, threads.
        bundle: the weights it runs.
    """

    name: str
    description: str
    bundle: WeightsBundle

    def encode(self, crops: np.ndarray) -> FrameFeatures:
        """Features of right-hand crops (B, 3, 128, 128), float32 RGB in 0..1."""
        ...

    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands:
        """The current hands, from the same B hands now, a short and a long time ago."""
        ...


def require_precision(engine: str, precision: str, offered: Sequence[str]) -> None:
    """Check that an engine computes in a precision.

    Raises:
        EngineError: it is not one of those offered.
    """
    if precision not in offered:
        *others, last = offered
        choice = f"{', '.join(others)} or {last}" if others else last
        raise EngineError(f"engine {engine} computes in {choice}, not {precision!r}")


def int8_network(bundle: WeightsBundle, engine: str) -> Path:
    """The bundle's 8 bit encoding network for an engine.

    Raises:
        EngineError: it holds none.
    """
    path = bundle.int8_path(engine)
    if path is None:
        raise EngineError(
            f"the weights {bundle.info.name} hold no 8 bit network for engine {engine}; "
            f"make one with `h2onet weights quantise --engine {engine}`, or choose another precision"
        )
    return path


ENCODE_OUTPUTS = ("uv", "occlusion_logits", "vertex_features", "orientation", "vertices")
FUSE_OUTPUTS = ("vertices", "joints", "rotation", "occlusion")
CLASSIFIER_OUTPUTS = ("occlusion_logits", "vertex_features", "occlusion")
"""Outputs that single-frame networks do not have."""


def encode_outputs(multi_frame: bool) -> tuple[str, ...]:
    """Output names of `encode.onnx`."""
    return ENCODE_OUTPUTS if multi_frame else tuple(x for x in ENCODE_OUTPUTS if x not in CLASSIFIER_OUTPUTS)


def fuse_inputs(multi_frame: bool) -> tuple[str, ...]:
    """Input names of `fuse.onnx`: MOMENT_FEATURE."""
    if not multi_frame:
        return ("now_orientation", "now_vertices")
    kept = ("occlusion_logits", "vertex_features", "orientation")
    return (*(f"{moment}_{name}" for moment in ("now", "short", "long") for name in kept), "now_vertices")


def fuse_outputs(multi_frame: bool) -> tuple[str, ...]:
    """Output names of `fuse.onnx`."""
    return FUSE_OUTPUTS if multi_frame else tuple(x for x in FUSE_OUTPUTS if x not in CLASSIFIER_OUTPUTS)


class NetworkEngine(ABC):
    """Common part of the engines: checks what comes in, and fills what single-frame networks do not give.

    A concrete engine runs the two networks on arrays by name.
    """

    name: str
    description: str

    def __init__(self, bundle: WeightsBundle) -> None:
        self.bundle = bundle

    @abstractmethod
    def run_encode(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        """Outputs of `encode.onnx` for contiguous float32 crops, B >= 1."""

    @abstractmethod
    def run_fuse(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Outputs of `fuse.onnx`, B >= 1."""

    def encode(self, crops: np.ndarray) -> FrameFeatures:
        size = self.bundle.image_size
        crops = np.ascontiguousarray(crops, dtype=np.float32)
        if crops.ndim != 4 or crops.shape[1:] != (3, size, size):
            raise EngineError(f"encode needs crops of shape (B, 3, {size}, {size}), got {crops.shape}")
        hands = len(crops)
        if hands == 0:
            return self._no_features()
        outputs = dict(self.run_encode(crops))
        if not self.bundle.multi_frame:
            outputs["occlusion_logits"] = np.full((hands, 2, 6), np.nan, np.float32)
            outputs["vertex_features"] = np.empty((hands, self.bundle.topology.vertex_count, 0), np.float32)
        return FrameFeatures(**{name: outputs[name] for name in ENCODE_OUTPUTS})

    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands:
        hands, vertices = len(now), self.bundle.topology.vertex_count
        if now.vertices.shape != (hands, vertices, 3):
            raise EngineError(
                f"fuse needs current vertices of shape ({hands}, {vertices}, 3), got {now.vertices.shape}; "
                "as_past is for past moments only"
            )
        if not len(short) == len(long) == hands:
            raise EngineError(
                f"fuse needs the same hands at every moment, got {hands} now, {len(short)} and {len(long)} "
                "before"
            )
        if hands == 0:
            return FusedHands(
                *(np.empty((0, *shape), np.float32) for shape in ((vertices, 3), (21, 3), (3, 3), (6,)))
            )
        moments = {"now": now, "short": short, "long": long}
        inputs = {}
        for name in fuse_inputs(self.bundle.multi_frame):
            moment, feature = name.split("_", 1)
            inputs[name] = getattr(moments[moment], feature)
        outputs = dict(self.run_fuse(inputs))
        if not self.bundle.multi_frame:
            outputs["occlusion"] = np.full((hands, 6), np.nan, np.float32)
        return FusedHands(**{name: outputs[name] for name in FUSE_OUTPUTS})

    def _no_features(self) -> FrameFeatures:
        bundle = self.bundle
        shapes = (
            (21, 2),
            (2, 6),
            (bundle.topology.vertex_count, bundle.vertex_features),
            (bundle.orientation,),
            (bundle.topology.vertex_count, 3),
        )
        return FrameFeatures(*(np.empty((0, *shape), np.float32) for shape in shapes))
