"""Parametric hands with MANO's structure: linear shape, 16 joints, linear blend skinning.

The joint order, the regressor from vertices to joints and the meaning of pose and shape follow MANO (Romero
et al., "Embodied Hands", 2017), so that both the open hand of this project and a MANO file fit in.

Frame of the open hand's template, and of the network's canonical vertices: metres, the wrist at the origin,
axes of the camera optical frame (REP 103) for a right hand held up with its palm towards the camera. That
is, x to the thumb's side, y from the fingertips to the wrist, z from the palm to the back of the hand.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path

import numpy as np

from h2onet_ros.hand.joints import MANO_TO_STANDARD, PART_NAMES

FORMAT = "h2onet_ros hand model 1"
"""Marks the npz files of `HandModel.save`."""

JOINT_COUNT = 16
OPEN_HAND_PATH = Path(__file__).resolve().parent.parent / "assets" / "open_hand" / "open_hand.npz"


class HandModelError(ValueError):
    """A file or a set of arrays is not a usable hand model."""


@dataclass(frozen=True)
class PosedHand:
    """A posed hand, or a batch of them.

    Attributes:
        vertices: `(..., V, 3)` float32, metres.
        joints: `(..., 21, 3)` float32, metres, standard order; from the posed skeleton and the tip vertices.
    """

    vertices: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True, eq=False)
class HandModel:
    """Arrays of a parametric right hand with V vertices, F faces, T texture points and S shape components.

    Attributes:
        template: `(V, 3)` float32, metres.
        faces: `(F, 3)` int32, counter-clockwise seen from outside.
        shape_basis: `(V, 3, S)` float32, metres per standard deviation.
        joint_regressor: `(16, V)` float32, rows sum to 1; gives the joints of an unposed hand, in MANO's
            order.
        skin_weights: `(V, 16)` float32, rows sum to 1.
        parents: `(16,)` int32; -1 for the wrist.
        tip_vertices: `(5,)` int32, the fingertips thumb..little.
        vertex_part: `(V,)` int8, indices into `PART_NAMES`.
        face_part: `(F,)` int8, indices into `PART_NAMES`.
        uv: `(T, 2)` float32, texture points, origin at the lower left.
        uv_faces: `(F, 3)` int32, the texture point of each face corner.
        joint_axes: `(16, 3, 3)` float32 rotations whose columns are the axes of flexion (towards the palm),
            abduction (towards the thumb's side; for the thumb's base away from the palm) and twist of each
            joint, in the template's frame.
        pose_limits: `(16, 3, 2)` float32, smallest and largest angle about each of these axes, radians,
            counted from the template's pose.
        wrist_ring: `(R,)` int32, the vertices around the wrist cut, in order; empty where the cut is open.
        pose_basis: `(V, 3, 135)` float32, metres, what MANO adds to the template for the entries of its 15
            finger rotation matrices less the identity; None where a hand has no such correction.
    """

    template: np.ndarray
    faces: np.ndarray
    shape_basis: np.ndarray
    joint_regressor: np.ndarray
    skin_weights: np.ndarray
    parents: np.ndarray
    tip_vertices: np.ndarray
    vertex_part: np.ndarray
    face_part: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    joint_axes: np.ndarray
    pose_limits: np.ndarray
    wrist_ring: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    pose_basis: np.ndarray | None = None

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, array in self._arrays().items():
            kind, shape = _ARRAYS[name]
            checked = _checked(name, array, kind, shape)
            object.__setattr__(self, name, checked)
            for letter, size in zip(shape, checked.shape):
                if isinstance(letter, str) and sizes.setdefault(letter, size) != size:
                    raise HandModelError(f"{name} has {size} entries where other arrays have {sizes[letter]}")
        for name, letter in _INDICES.items():
            indices = getattr(self, name)
            limit = len(PART_NAMES) if letter == "P" else sizes[letter]
            if indices.size and (indices.min() < 0 or indices.max() >= limit):
                raise HandModelError(f"{name} holds indices outside 0..{limit - 1}")
        if self.parents[0] != -1 or np.any(self.parents[1:] < 0) or np.any(self.parents >= np.arange(16)):
            raise HandModelError("parents must be -1 for the wrist and an earlier joint for every other")
        for name in ("joint_regressor", "skin_weights"):
            if np.abs(getattr(self, name).sum(axis=1) - 1).max() > 1e-4:
                raise HandModelError(f"the rows of {name} must sum to 1")

    @classmethod
    def load(cls, path: str | Path) -> HandModel:
        """Read an npz file written by `save`; never unpickles.

        Raises:
            OSError: the file cannot be read.
            HandModelError: it is not a hand model.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                if "format" not in archive or str(archive["format"]) != FORMAT:
                    raise HandModelError(f"{path} is not a hand model: expected the format mark '{FORMAT}'")
                missing = [name for name in _ARRAYS if name not in archive and name not in _OPTIONAL]
                if missing:
                    raise HandModelError(f"{path} lacks {', '.join(missing)}; write it with HandModel.save")
                return cls(**{name: archive[name] for name in _ARRAYS if name in archive})
        except (zipfile.BadZipFile, EOFError) as error:
            raise HandModelError(f"{path} is damaged or not an npz file: {error}") from error
        except ValueError as error:
            if isinstance(error, HandModelError):
                raise
            raise HandModelError(f"{path} is not a hand model: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write a compressed npz file."""
        np.savez_compressed(path, format=np.array(FORMAT), **self._arrays())  # type: ignore[arg-type]

    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays this hand has, by name."""
        arrays = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}

    @property
    def vertex_count(self) -> int:
        return len(self.template)

    @property
    def shape_count(self) -> int:
        return self.shape_basis.shape[2]

    def shaped(self, shape: np.ndarray | None = None) -> np.ndarray:
        """Vertices `(..., V, 3)` float64 of the unposed hand for `shape (..., S)` in standard deviations."""
        template = self.template.astype(np.float64)
        if shape is None:
            return template
        return template + np.einsum(
            "vcs,...s->...vc", self.shape_basis, self._expect("shape", shape, (self.shape_count,))
        )

    def pose(self, pose: np.ndarray | None = None, shape: np.ndarray | None = None) -> PosedHand:
        """Bend and shape the hand.

        Args:
            pose: `(..., 16, 3)` axis-angle rotations in radians, relative to the parent joint, in the
                template's axes; row 0 turns the whole hand about the wrist. None is the template's pose.
            shape: `(..., S)` in standard deviations; None is the mean shape. Leading dimensions broadcast.

        Raises:
            ValueError: a wrong shape.
        """
        angles = np.zeros((JOINT_COUNT, 3)) if pose is None else self._expect("pose", pose, (JOINT_COUNT, 3))
        unposed = self.shaped(shape)
        joints = self.joint_regressor.astype(np.float64) @ unposed
        rotations = rotation_matrices(angles)
        if self.pose_basis is not None:
            entries = (rotations[..., 1:, :, :] - np.eye(3)).reshape(*rotations.shape[:-3], -1)
            unposed = unposed + np.einsum("vck,...k->...vc", self.pose_basis, entries)
        posed, posed_joints = skin(unposed, joints, rotations, self.parents, self.skin_weights)
        with_tips = np.concatenate([posed_joints, posed[..., self.tip_vertices, :]], axis=-2)
        return PosedHand(posed.astype(np.float32), with_tips[..., MANO_TO_STANDARD, :].astype(np.float32))

    def pose_from_angles(self, angles: np.ndarray) -> np.ndarray:
        """Axis-angle pose `(..., 16, 3)` from angles `(..., 16, 3)` about `joint_axes`, radians.

        The three angles are the coordinates of one rotation vector, so small angles add up and each alone
        is a rotation about its axis.
        """
        return np.einsum(
            "jck,...jk->...jc", self.joint_axes, self._expect("angles", angles, (JOINT_COUNT, 3))
        )

    def joints(self, vertices: np.ndarray) -> np.ndarray:
        """Joints `(..., 21, 3)` of vertices `(..., V, 3)`, posed or not, by regressor and tip vertices."""
        return self.standard_regressor() @ self._expect("vertices", vertices, (self.vertex_count, 3))

    def standard_regressor(self) -> np.ndarray:
        """Matrix `(21, V)` float32 from vertices to joints in standard order, tips included."""
        tips = np.zeros((len(self.tip_vertices), self.vertex_count), dtype=np.float32)
        tips[np.arange(len(tips)), self.tip_vertices] = 1
        return np.concatenate([self.joint_regressor, tips])[MANO_TO_STANDARD]

    @staticmethod
    def _expect(name: str, array: np.ndarray, tail: tuple[int, ...]) -> np.ndarray:
        array = np.asarray(array)
        if array.shape[-len(tail) :] != tail:
            raise ValueError(
                f"{name} must have the shape (..., {', '.join(map(str, tail))}), got {array.shape}"
            )
        return array


_ARRAYS: dict[str, tuple[type, tuple[int | str, ...]]] = {
    "template": (np.float32, ("V", 3)),
    "faces": (np.int32, ("F", 3)),
    "shape_basis": (np.float32, ("V", 3, "S")),
    "joint_regressor": (np.float32, (JOINT_COUNT, "V")),
    "skin_weights": (np.float32, ("V", JOINT_COUNT)),
    "parents": (np.int32, (JOINT_COUNT,)),
    "tip_vertices": (np.int32, (5,)),
    "vertex_part": (np.int8, ("V",)),
    "face_part": (np.int8, ("F",)),
    "uv": (np.float32, ("T", 2)),
    "uv_faces": (np.int32, ("F", 3)),
    "joint_axes": (np.float32, (JOINT_COUNT, 3, 3)),
    "pose_limits": (np.float32, (JOINT_COUNT, 3, 2)),
    "wrist_ring": (np.int32, ("R",)),
    "pose_basis": (np.float32, ("V", 3, 9 * (JOINT_COUNT - 1))),
}
_OPTIONAL = ("pose_basis",)
_INDICES = {
    "faces": "V",
    "tip_vertices": "V",
    "wrist_ring": "V",
    "uv_faces": "T",
    "vertex_part": "P",
    "face_part": "P",
}


def _checked(name: str, value: np.ndarray, kind: type, shape: tuple[int | str, ...]) -> np.ndarray:
    """`value` as an array of `kind`; a letter in `shape` stands for any size."""
    array = np.asarray(value)
    if array.ndim != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, array.shape)):
        wanted = ", ".join(map(str, shape))
        raise HandModelError(f"{name} must have the shape ({wanted}), got {array.shape}")
    if not np.all(np.isfinite(array)):
        raise HandModelError(f"{name} holds values that are not finite")
    return np.ascontiguousarray(array, dtype=kind)


def rotation_matrices(axis_angle: np.ndarray) -> np.ndarray:
    """Rotation matrices `(..., 3, 3)` float64 of rotation vectors `(..., 3)` in radians, by Rodrigues."""
    vector = np.asarray(axis_angle, dtype=np.float64)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vector.shape[:-1], 3, 3)
    # np.sinc keeps both quotients exact at angle 0: sin(a)/a, and (1 - cos(a))/a^2 = sinc(a/2)^2 / 2.
    return (
        np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)
    )


def skin(
    vertices: np.ndarray, joints: np.ndarray, rotations: np.ndarray, parents: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Linear blend skinning.

    Args:
        vertices: `(..., V, 3)` unposed.
        joints: `(..., J, 3)` unposed.
        rotations: `(..., J, 3, 3)` relative to the parent.
        parents: `(J,)`, each before its children; -1 for the root.
        weights: `(V, J)`.

    Returns:
        posed vertices `(..., V, 3)` and joints `(..., J, 3)`.
    """
    turned: list[np.ndarray] = [rotations[..., 0, :, :]]
    placed: list[np.ndarray] = [joints[..., 0, :]]
    for joint in range(1, len(parents)):
        parent = parents[joint]
        bone = joints[..., joint, :] - joints[..., parent, :]
        turned.append(turned[parent] @ rotations[..., joint, :, :])
        placed.append(placed[parent] + np.einsum("...ij,...j->...i", turned[parent], bone))
    turns = np.stack(np.broadcast_arrays(*turned), axis=-3)
    places = np.stack(np.broadcast_arrays(*placed), axis=-2)
    shifts = places - np.einsum("...jik,...jk->...ji", turns, joints)
    blended_turns = np.einsum("vj,...jik->...vik", weights, turns, optimize=True)
    blended_shifts = np.einsum("vj,...ji->...vi", weights, shifts, optimize=True)
    return np.einsum("...vik,...vk->...vi", blended_turns, vertices) + blended_shifts, places


@lru_cache(maxsize=1)
def open_hand() -> HandModel:
    """The project's own hand, free of research licences (see the asset's README)."""
    return HandModel.load(OPEN_HAND_PATH)
