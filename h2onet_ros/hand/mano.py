"""Reads MANO's own file, `MANO_RIGHT.pkl`, without trusting it and without chumpy.

MANO (Romero et al., "Embodied Hands", 2017) may be used for non-commercial research only, so no part of it is
here: the user downloads the file after accepting its licence. It is a Python 2 pickle, read by
`plain_pickle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from h2onet_ros.hand.joints import MANO_PARENTS
from h2onet_ros.hand.model import JOINT_COUNT, HandModel, HandModelError
from h2onet_ros.hand.parts import parts_from_weights
from h2onet_ros.hand.plain_pickle import PlainPickleError, StandIn, load_plain_pickle, plain

TIP_VERTICES = (745, 317, 444, 556, 673)
"""Fingertips thumb..little among MANO's vertices, as ground truths of hand data sets use them."""

_ANGLES = 3 * (JOINT_COUNT - 1)


class ManoFileError(HandModelError):
    """The file is not a usable MANO model of a right hand."""


@dataclass(frozen=True)
class ManoFile:
    """Content of a MANO file.

    Attributes:
        hand: the hand; its `pose` takes full axis-angle rotations, zero being the flat template. A MANO
            file says nothing of anatomy: `joint_axes` are the template's axes, `pose_limits` do not limit,
            and `uv` is one point.
        mean_pose: `(15, 3)`, to be added to the 15 finger rotations of data sets that use
            `flat_hand_mean=False`.
        pose_components: `(45, 45)`, principal components of finger poses, one a row.
    """

    hand: HandModel
    mean_pose: np.ndarray
    pose_components: np.ndarray

    def full_pose(self, pose: np.ndarray) -> np.ndarray:
        """Pose `(..., 16, 3)` for `hand.pose` from MANO parameters `(..., 48)` without components."""
        rotations = np.asarray(pose, dtype=np.float64).reshape(*np.shape(pose)[:-1], JOINT_COUNT, 3)
        return rotations + np.concatenate([np.zeros((1, 3)), self.mean_pose])


def load_mano(path: str | Path, tip_vertices: tuple[int, ...] = TIP_VERTICES) -> ManoFile:
    """Read `MANO_RIGHT.pkl`.

    Args:
        path: the file, as downloaded from MANO's site.
        tip_vertices: fingertips thumb..little.

    Raises:
        OSError: the file cannot be read.
        ManoFileError: it is not a MANO model, is a left hand, or tries to run code.
    """
    try:
        return _build(load_plain_pickle(path, {"chumpy": _Chumpy}), tip_vertices)
    except (PlainPickleError, HandModelError) as error:
        raise ManoFileError(f"{path} is not a usable MANO_RIGHT.pkl: {error}; download it again") from error


def load_pose_components(path: str | Path) -> np.ndarray:
    """Principal components of finger poses, `(45, 45)` float64, one a row, from a MANO file of either hand.

    Raises:
        OSError: the file cannot be read.
        ManoFileError: it is not a MANO model, or tries to run code.
    """
    try:
        content = load_plain_pickle(path, {"chumpy": _Chumpy})
        if not isinstance(content, dict):
            raise ManoFileError(f"expected a dictionary, got {type(content).__name__}")
        return _array(content, "hands_components", (_ANGLES, _ANGLES))
    except (PlainPickleError, HandModelError) as error:
        raise ManoFileError(f"{path} is not a usable MANO file: {error}; download it again") from error


def _build(content: object, tip_vertices: tuple[int, ...]) -> ManoFile:
    if not isinstance(content, dict):
        raise ManoFileError(f"expected a dictionary, got {type(content).__name__}")
    template = _array(content, "v_template", (-1, 3))
    vertex_count = len(template)
    faces = _array(content, "f", (-1, 3)).astype(np.int32)
    if faces.min(initial=0) < 0 or faces.max(initial=0) >= vertex_count:
        raise ManoFileError(f"'f' holds indices outside 0..{vertex_count - 1}")
    weights = _array(content, "weights", (vertex_count, JOINT_COUNT))
    regressor = _array(content, "J_regressor", (JOINT_COUNT, vertex_count))
    parents = _array(content, "kintree_table", (2, JOINT_COUNT))[0].astype(np.int64)
    if not np.array_equal(parents[1:], MANO_PARENTS[1:]):
        raise ManoFileError(f"expected MANO's joint tree {MANO_PARENTS.tolist()}, got {parents.tolist()}")
    vertex_part, face_part = parts_from_weights(weights, faces)
    hand = HandModel(
        template=template,
        faces=faces,
        shape_basis=_array(content, "shapedirs", (vertex_count, 3, -1)),
        joint_regressor=regressor,
        skin_weights=weights,
        parents=MANO_PARENTS,
        tip_vertices=np.array(tip_vertices),
        vertex_part=vertex_part,
        face_part=face_part,
        uv=np.zeros((1, 2)),
        uv_faces=np.zeros_like(faces),
        joint_axes=np.broadcast_to(np.eye(3), (JOINT_COUNT, 3, 3)),
        pose_limits=np.broadcast_to([-np.pi, np.pi], (JOINT_COUNT, 3, 2)),
        pose_basis=_array(content, "posedirs", (vertex_count, 3, 9 * (JOINT_COUNT - 1))),
    )
    if not _is_right(hand):
        raise ManoFileError(
            "it holds a left hand; take MANO_RIGHT.pkl, left hands are mirrored right hands here"
        )
    return ManoFile(
        hand=hand,
        mean_pose=_array(content, "hands_mean", (_ANGLES,)).reshape(-1, 3).astype(np.float32),
        pose_components=_array(content, "hands_components", (_ANGLES, _ANGLES)).astype(np.float32),
    )


def _is_right(hand: HandModel) -> bool:
    """Whether the thumb of the relaxed hand lies on the palm's side that a right hand has."""
    wrist = hand.joint_regressor[0] @ hand.template
    thumb, index, _, _, little = hand.template[hand.tip_vertices] - wrist
    return bool(np.cross(index, little) @ thumb > 0)


def _array(content: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The named array as float64, with -1 in `shape` for any size."""
    if name not in content:
        raise ManoFileError(f"it lacks '{name}'")
    array = content[name]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iufb":
        raise ManoFileError(f"'{name}' is no array of numbers")
    if array.ndim != len(shape) or any(n not in (-1, m) for n, m in zip(shape, array.shape)):
        raise ManoFileError(f"'{name}' must have the shape {shape}, got {array.shape}")
    return array.astype(np.float64)


class _Chumpy(StandIn):
    """An array of chumpy: plain, or a selection of the entries of another one."""

    def array(self) -> np.ndarray:
        state = self.state if isinstance(self.state, dict) else {}
        if "x" in state:
            return np.asarray(plain(state["x"]))
        if not {"a", "idxs"} <= set(state):
            raise PlainPickleError("a chumpy array that is neither plain nor a selection")
        chosen = np.asarray(plain(state["a"])).ravel()[np.asarray(plain(state["idxs"]))]
        return chosen.reshape(plain(state["preferred_shape"])) if "preferred_shape" in state else chosen
