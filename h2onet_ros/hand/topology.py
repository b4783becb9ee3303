"""What a network must know of the mesh it predicts: template, faces, parts, joint regressor and hierarchy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from h2onet_ros.hand.hierarchy import EdgeRows, MeshHierarchy

if TYPE_CHECKING:
    from h2onet_ros.hand.model import HandModel

_FIELDS = ("template", "faces", "vertex_part", "face_part", "joint_regressor")


@dataclass(frozen=True)
class HandTopology:
    """Mesh and joints of the hand a network predicts; stored beside its weights.

    Attributes:
        template: (V, 3) float32 vertices in the rest pose, metres.
        faces: (F, 3) int32.
        vertex_part: (V,) int32 part of each vertex: 0..4 thumb to little finger, 5 palm.
        face_part: (F,) int32 part of each face.
        joint_regressor: (21, V) float32, joints in the standard order from vertices.
        hierarchy: mesh levels, spirals and up-sampling of the decoder; its finest level is this mesh.
    """

    template: np.ndarray
    faces: np.ndarray
    vertex_part: np.ndarray
    face_part: np.ndarray
    joint_regressor: np.ndarray
    hierarchy: MeshHierarchy

    def __post_init__(self) -> None:
        for name in _FIELDS:
            dtype = np.float32 if name in ("template", "joint_regressor") else np.int32
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))
        vertices, faces = len(self.template), len(self.faces)
        expected = {
            "template": (vertices, 3),
            "faces": (faces, 3),
            "vertex_part": (vertices,),
            "face_part": (faces,),
            "joint_regressor": (21, vertices),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"topology: {name} must have shape {shape}, got {getattr(self, name).shape}")
        if self.hierarchy.vertex_counts[0] != vertices:
            raise ValueError(
                f"topology: the finest level of the hierarchy has {self.hierarchy.vertex_counts[0]} "
                f"vertices, the template {vertices}; build the hierarchy from this template"
            )
        if faces == 0 or self.faces.min() < 0 or self.faces.max() >= vertices:
            raise ValueError(f"topology: faces must index the {vertices} vertices of the template")
        for name in ("vertex_part", "face_part"):
            part = getattr(self, name)
            if part.min() < 0 or part.max() > 5:
                raise ValueError(f"topology: {name} must lie between 0 (thumb) and 5 (palm)")
        if not (np.isfinite(self.template).all() and np.isfinite(self.joint_regressor).all()):
            raise ValueError("topology: template and joint_regressor must be finite")

    @property
    def vertex_count(self) -> int:
        return len(self.template)

    @classmethod
    def from_hand(cls, hand: HandModel, edge_rows: EdgeRows = "barycentric") -> HandTopology:
        """Topology of a hand model, with a mesh hierarchy computed for its template."""
        return cls(
            template=hand.template,
            faces=hand.faces,
            vertex_part=hand.vertex_part,
            face_part=hand.face_part,
            joint_regressor=hand.standard_regressor(),
            hierarchy=MeshHierarchy.build(hand.template, hand.faces, edge_rows=edge_rows),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for an npz file. `faces` is the hierarchy's `faces_0` and is not stored twice."""
        arrays = {name: getattr(self, name) for name in _FIELDS if name != "faces"}
        return arrays | self.hierarchy.to_arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> HandTopology:
        """Inverse of `to_arrays`.

        Raises:
            ValueError: arrays are missing or do not fit each other.
        """
        missing = [name for name in _FIELDS if name != "faces" and name not in arrays]
        if missing:
            raise ValueError(f"topology lacks {', '.join(missing)}")
        hierarchy = MeshHierarchy.from_arrays(arrays)
        fields = {name: arrays[name] for name in _FIELDS if name != "faces"}
        return cls(faces=hierarchy.faces[0], hierarchy=hierarchy, **fields)

    def save(self, path: str | Path) -> None:
        """Write a compressed npz file."""
        np.savez_compressed(path, **self.to_arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> HandTopology:
        """Read what `save` wrote; never unpickles.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not a topology.
        """
        with np.load(path, allow_pickle=False) as arrays:
            return cls.from_arrays({name: arrays[name] for name in arrays.files})
