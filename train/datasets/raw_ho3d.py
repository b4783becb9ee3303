"""Annotations of HO3D as its authors publish it, in the form in which HandOccNet passes them on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from h2onet_ros.hand.joints import MANO_TO_STANDARD
from h2onet_ros.hand.mano import ManoFile
from h2onet_ros.hand.plain_pickle import PlainPickleError, load_plain_pickle
from train.datasets.base import DataSetError
from train.datasets.files import read_image

OPENGL = np.array([1.0, -1.0, -1.0])
"""From the authors' camera axes (y up, z backward) to ours."""


def listed(root: Path, folder: str) -> list[str]:
    """Samples `SEQUENCE/NNNN` of `train.txt` or `evaluation.txt`.

    Raises:
        DataSetError: the list cannot be read or is empty.
    """
    path = root / f"{folder}.txt"
    try:
        names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataSetError(f"{path} cannot be read: {error}") from error
    if not names or any(name.count("/") != 1 or ".." in name for name in names):
        raise DataSetError(f"{path} is no list of samples like ABF10/0000; download it again")
    return names


def entries(
    root: Path, folder: str, name: str, mano: ManoFile
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Image and annotation entries, without ids, of a sample; None where the authors found no hand.

    Args:
        root: the folder with `train` and `evaluation`.
        folder: one of these.
        name: `SEQUENCE/NNNN`.
        mano: MANO's right hand, whose mean pose HandOccNet takes off.

    Raises:
        DataSetError: its files are missing or damaged.
    """
    sequence, number = name.split("/")
    path = root / folder / sequence / "meta" / f"{number}.pkl"
    try:
        content = load_plain_pickle(path)
    except (OSError, PlainPickleError) as error:
        raise DataSetError(f"{path} cannot be used: {error}") from error
    if not isinstance(content, dict):
        raise DataSetError(f"{path} holds no dictionary; download it again")
    if content.get("handJoints3D") is None:
        return None
    suffix = ".png" if (root / folder / sequence / "rgb" / f"{number}.png").exists() else ".jpg"
    file = f"{sequence}/rgb/{number}{suffix}"
    height, width = read_image(root / folder / file).shape[:2]
    try:
        matrix = _array(content, "camMat", (3, 3))
        entry: dict[str, Any] = {
            "cam_param": {
                "focal": [matrix[0, 0], matrix[1, 1]],
                "princpt": [matrix[0, 2], matrix[1, 2]],
            }
        }
        if folder == "evaluation":
            left, top, right, bottom = _array(content, "handBoundingBox", (4,)).tolist()
            entry["root_joint_cam"] = (_array(content, "handJoints3D", (3,)) * OPENGL).tolist()
            entry["bbox"] = [left, top, right - left, bottom - top]
        else:
            pose = _array(content, "handPose", (48,))
            turned = np.diag(OPENGL) @ Rotation.from_rotvec(pose[:3]).as_matrix()
            joints = _array(content, "handJoints3D", (21, 3)) * OPENGL
            entry["joints_coord_cam"] = joints[MANO_TO_STANDARD].tolist()
            entry["mano_param"] = {
                "pose": [*_rotation_vector(turned), *(pose[3:] - mano.mean_pose.reshape(-1)).tolist()],
                "shape": _array(content, "handBeta", (10,)).tolist(),
            }
    except ValueError as error:
        raise DataSetError(f"{path} is damaged: {error}; download it again") from error
    return {"file_name": file, "width": width, "height": height}, entry


def _rotation_vector(matrix: np.ndarray) -> list[float]:
    return Rotation.from_matrix(matrix).as_rotvec().tolist()


def _array(content: dict[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(content.get(name), np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} has the shape {array.shape}, expected {shape}")
    return array
