"""Annotations of DexYCB as its authors publish it, in the form in which HandOccNet passes them on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from train.datasets.base import DataSetError
from train.datasets.files import read_npz

CAMERAS = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
SEQUENCES = 100
"""Recordings of each subject; the splits count them in the order of their names."""

SIZE = (640, 480)


def split_of(setup: str, subject: int, sequence: int, camera: int) -> str:
    """To which of `train`, `val` and `test` a recording belongs (Chao et al., 2021, and their toolkit).

    Args:
        setup: `s0` seen subjects, cameras and objects; unseen subjects `s1`, cameras `s2`, objects `s3`.
        subject: 0..9.
        sequence: 0..99, of the subject's.
        camera: 0..7.
    """
    if setup == "s0":
        return "train" if sequence % 5 != 4 else "val" if subject < 2 else "test"
    if setup == "s1":
        return {6: "val", 7: "test", 8: "test"}.get(subject, "train")
    if setup == "s2":
        return {6: "val", 7: "test"}.get(camera, "train")
    if setup == "s3":
        return {3: "val", 19: "val", 7: "test", 11: "test", 15: "test"}.get(sequence // 5, "train")
    raise DataSetError(f"Unknown setup {setup!r}: expected s0, s1, s2 or s3.")


@dataclass(frozen=True)
class Recording:
    """What one camera saw of one sequence; `path` is SUBJECT/SEQUENCE/CAMERA."""

    path: str
    split: str
    frames: int
    side: str
    shape: list[float]
    camera: dict[str, list[float]]


def recordings(root: Path, setup: str, incomplete: bool = False) -> list[Recording]:
    """All recordings of the data set in its own order.

    Args:
        root: the folder with the subjects' folders and `calibration`.
        setup: see `split_of`.
        incomplete: allow subjects with fewer sequences than there are, whose splits are then others.

    Raises:
        DataSetError: something is missing or not of the expected form.
    """
    cameras = [_intrinsics(root, serial) for serial in CAMERAS]
    subjects = sorted(p for p in root.iterdir() if re.fullmatch(r"\d{8}-subject-\d\d", p.name))
    if not subjects:
        raise DataSetError(f"No folders like 20200709-subject-01 in {root}: expected DexYCB's own there.")
    found = []
    for folder in subjects:
        sequences = sorted(p for p in folder.iterdir() if re.fullmatch(r"\d{8}_\d{6}", p.name))
        if len(sequences) != SEQUENCES and not incomplete:
            raise DataSetError(
                f"{folder} holds {len(sequences)} sequences, expected {SEQUENCES}: the splits count them, so "
                "all must be there (--incomplete goes on without)."
            )
        for number, sequence in enumerate(sequences):
            meta = _yaml(sequence / "meta.yml")
            try:
                frames, side = int(meta["num_frames"]), str(meta["mano_sides"][0])
                calibration = root / "calibration" / f"mano_{meta['mano_calib'][0]}" / "mano.yml"
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise DataSetError(f"{sequence / 'meta.yml'} lacks {error}; download it again") from error
            shape = np.asarray(_yaml(calibration).get("betas"), float)
            if shape.shape != (10,) or side not in ("left", "right"):
                raise DataSetError(
                    f"{calibration} or {sequence / 'meta.yml'} is damaged; download them again"
                )
            for index, serial in enumerate(CAMERAS):
                if incomplete and not (sequence / serial).is_dir():
                    continue
                split = split_of(setup, int(folder.name[-2:]) - 1, number, index)
                path = f"{folder.name}/{sequence.name}/{serial}"
                found.append(Recording(path, split, frames, side, shape.tolist(), cameras[index]))
    return found


def entries(
    root: Path, recording: Recording, components: dict[str, np.ndarray]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Image and annotation entries, without ids, of the frames of a recording that show the hand.

    `components` `(45, 45)` of each side's MANO hand: the authors keep finger poses as coefficients.
    """
    for frame in range(recording.frames):
        labels = root / recording.path / f"labels_{frame:06d}.npz"
        pose, joints, points = read_npz(labels, ("pose_m", "joint_3d", "joint_2d"))
        if pose.shape != (1, 51) or joints.shape != (1, 21, 3) or points.shape != (1, 21, 2):
            raise DataSetError(f"{labels}: unexpected shapes {pose.shape}, {joints.shape}, {points.shape}")
        if not pose.any() and (joints == -1).all() and (points == -1).all():
            continue
        turned = np.concatenate([pose[0, :3], pose[0, 3:48] @ components[recording.side]])
        image = {
            "file_name": f"{recording.path}/color_{frame:06d}.jpg",
            "width": SIZE[0],
            "height": SIZE[1],
        }
        yield (
            image,
            {
                "joints_coord_cam": joints[0].tolist(),
                "joints_img": points[0].tolist(),
                "cam_param": recording.camera,
                "mano_param": {"pose": turned.tolist(), "shape": recording.shape},
                "hand_type": recording.side,
            },
        )


def _intrinsics(root: Path, serial: str) -> dict[str, list[float]]:
    path = root / "calibration" / "intrinsics" / f"{serial}_{SIZE[0]}x{SIZE[1]}.yml"
    try:
        colour = {key: float(value) for key, value in _yaml(path)["color"].items() if key in _INTRINSICS}
        fx, fy, cx, cy = (colour[key] for key in _INTRINSICS)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataSetError(f"{path} lacks {error}; download DexYCB's calibration again") from error
    return {"focal": [fx, fy], "princpt": [cx, cy]}


_INTRINSICS = ("fx", "fy", "ppx", "ppy")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataSetError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DataSetError(f"{path} is empty or damaged; download it again")
    return content
