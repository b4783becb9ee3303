"""Published H2ONet checkpoints to our networks. The files are untrusted: no code in them is run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from h2onet_ros.hand.hierarchy import MeshHierarchy
from h2onet_ros.hand.joints import PART_NAMES
from h2onet_ros.hand.plain_pickle import PlainPickleError, load_plain_pickle
from h2onet_ros.hand.spirals import spirals
from h2onet_ros.hand.topology import HandTopology

from .config import H2ONetConfig
from .network import H2ONet

PALM = PART_NAMES.index("palm")
REGRESSOR = "mano_joint_reg"
UNUSED = ("backbone.dense_stack1.senet3.",)
"""Entries the published checkpoints carry but the published network never applies."""

FIFTH_HEAD = "decoder3d.occ_pred.finger_cls_layer."
FIFTH_HEAD_IN_LIST = "decoder3d.occ_pred.finger_cls_layer_list.4."
SPACE_TO_DEPTH_WEIGHT = "backbone.thrink.0.weight"
CLASSIFIER = "decoder3d.occ_pred."
SPIRAL_LENGTH = 9
LEVELS = 4


class ReferenceImportError(ValueError):
    """A published file cannot be imported. The message says what is wrong with it."""


def import_reference(
    checkpoint: str | Path, template: str | Path, parts: tuple[np.ndarray, np.ndarray] | None = None
) -> H2ONet:
    """The network of a published checkpoint, single- or multi-frame, in evaluation mode.

    Args:
        checkpoint: `.pth` file.
        template: the published template folder, or the `transform.pkl` in it.
        parts: part of each vertex (V,) and each face (F,), as in `HandTopology`. The multi-frame weights
            depend on them. Without them a single-frame hand is all palm.

    Raises:
        OSError: a file cannot be read.
        ReferenceImportError: a file is damaged, holds code, or belongs to another network or template.
    """
    state = load_checkpoint(checkpoint)
    multi_frame = any(name.startswith(CLASSIFIER) for name in state)
    config = H2ONetConfig("multi_frame" if multi_frame else "single_frame")
    hierarchy, vertices = load_template(template)
    if parts is None:
        if multi_frame:
            raise ReferenceImportError(
                "multi-frame weights fuse the frames finger by finger and need to know each vertex's finger: "
                "give MANO_RIGHT.pkl or the parts"
            )
        parts = np.full(len(vertices), PALM), np.full(len(hierarchy.faces[0]), PALM)
    regressor = state.get(REGRESSOR)
    if regressor is None or tuple(regressor.shape) != (21, len(vertices)):
        found = "none" if regressor is None else tuple(regressor.shape)
        raise ReferenceImportError(
            f"the checkpoint's {REGRESSOR} must have the shape (21, {len(vertices)}) of the template, "
            f"found {found}"
        )
    try:
        topology = HandTopology(
            template=vertices,
            faces=hierarchy.faces[0],
            vertex_part=parts[0],
            face_part=parts[1],
            joint_regressor=regressor.numpy(),
            hierarchy=hierarchy,
        )
        network = H2ONet(config, topology).eval()
    except ValueError as error:
        raise ReferenceImportError(f"template and parts do not fit the network: {error}") from error
    converted = convert_state_dict(state)
    check_entries(converted, network.state_dict(), config.variant)
    network.load_state_dict(converted, strict=False)
    return network


def load_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, names without `module.`.

    Only tensors, plain Python data and NumPy scalars are loaded; anything else is refused before it is
    called.

    Raises:
        OSError: the file cannot be read.
        ReferenceImportError: it is no checkpoint, damaged, holds code, or NaN.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        if name is None:
            raise ReferenceImportError(f"checkpoint {path} is damaged or no PyTorch file") from error
        raise ReferenceImportError(
            f"checkpoint {path} asks for {name.group(1)}, which no checkpoint needs; refused"
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        message = str(error).splitlines()[0] if str(error) else ""
        raise ReferenceImportError(
            f"checkpoint {path} is damaged or no PyTorch file: {type(error).__name__}: {message[:120]}"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ReferenceImportError(
            f"checkpoint {path} holds no state dict: expected names to tensors, alone or under 'state_dict'"
        )
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise ReferenceImportError(
            f"checkpoint {path} has NaN or infinity in {len(broken)} entries: {_listed(broken)}"
        )
    return state


def load_template(path: str | Path) -> tuple[MeshHierarchy, np.ndarray]:
    """Mesh hierarchy and template vertices (V, 3), metres, of the published `transform.pkl`.

    Spirals are not in the file; they follow from the faces.

    Raises:
        OSError: the file cannot be read.
        ReferenceImportError: it is damaged, holds code, or is another kind of file.
    """
    path = Path(path)
    path = path / "transform.pkl" if path.is_dir() else path
    try:
        content = load_plain_pickle(path)
    except PlainPickleError as error:
        raise ReferenceImportError(f"template {error}") from error
    try:
        vertices = [np.asarray(v, dtype=np.float32) for v in content["vertices"]]
        faces = tuple(np.asarray(f).astype(np.int32) for f in content["face"][: LEVELS + 1])
        upsample = tuple(np.asarray(m, dtype=np.float32) for m in content["up_transform"][:LEVELS])
        kept = tuple(np.asarray(m).argmax(1).astype(np.int32) for m in content["down_transform"][:LEVELS])
        walks = tuple(spirals(f, len(v), SPIRAL_LENGTH) for f, v in zip(faces[:LEVELS], vertices))
        hierarchy = MeshHierarchy(faces, walks, upsample, kept)
        if len(upsample) != LEVELS or vertices[0].shape != (hierarchy.vertex_counts[0], 3):
            raise ValueError(f"expected {LEVELS} levels below the template")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ReferenceImportError(
            f"{path} is not the published template (vertices, face, up_transform, down_transform of "
            f"{LEVELS + 1} levels): {type(error).__name__}: {error}"
        ) from error
    return hierarchy, vertices[0]


def check_entries(converted: Mapping[str, Tensor], expected: Mapping[str, Tensor], variant: str) -> None:
    """Compare names and shapes.

    Raises:
        ReferenceImportError: names the missing, unexpected and wrongly shaped entries.
    """
    missing = [n for n in expected if n not in converted and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in converted if name not in expected]
    wrong = [
        f"{name} {tuple(converted[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in converted and converted[name].shape != value.shape
    ]
    if missing or unexpected or wrong:
        report = [
            f"{len(entries)} {what}: {_listed(entries)}"
            for what, entries in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", wrong),
            )
            if entries
        ]
        raise ReferenceImportError(
            f"the checkpoint does not fit the published {variant} network; " + "; ".join(report)
        )


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _numpy_scalars() -> list:
    """What a pickled NumPy scalar names, in the spelling of NumPy 1 and 2."""
    scalar = np.float64(0).__reduce__()[0]
    kinds = [
        type(np.dtype(code))
        for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    ]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *kinds,
    ]


def convert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict with our names and shapes.

    The joint regressor is dropped (it belongs to the topology), entries that are never applied too. The fifth
    finger's head is stored under two names, of which the one outside the list counts.

    Args:
        state: names to tensors, with or without the `module.` prefix of multi-GPU training.
    """
    names = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    converted = {
        name: tensor
        for name, tensor in names.items()
        if name != REGRESSOR and not name.startswith((*UNUSED, FIFTH_HEAD))
    }
    for name, tensor in names.items():
        if name.startswith(FIFTH_HEAD):
            converted[FIFTH_HEAD_IN_LIST + name.removeprefix(FIFTH_HEAD)] = tensor
    weight = converted.get(SPACE_TO_DEPTH_WEIGHT)
    if weight is not None and weight.ndim == 4 and weight.shape[2:] == (1, 1) and weight.shape[1] % 4 == 0:
        # Space-to-depth orders its channels (input channel, row parity, column parity), like a 2 x 2 kernel.
        converted[SPACE_TO_DEPTH_WEIGHT] = weight.reshape(weight.shape[0], weight.shape[1] // 4, 2, 2)
    return converted
