"""What lies beside the pictures of DexYCB and HO3D as their authors publish them, for the miniature trees."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from mano_file import mano_content
from mano_file import write_mano as write_mano_pickle
from miniature_scene import CAMERAS, HEIGHT, WIDTH, Shown
from scipy.spatial.transform import Rotation

from h2onet_ros.hand.joints import MANO_TO_STANDARD
from h2onet_ros.hand.mano import ManoFile
from h2onet_ros.hand.model import open_hand

OPENGL = np.array([1.0, -1.0, -1.0])
_LEFT_COMPONENTS = np.linalg.qr(np.random.default_rng(4).standard_normal((45, 45)))[0]


def write_left_mano(path: Path) -> None:
    """A file of the left hand, whose finger poses have other components than the right hand's."""
    hand = open_hand()
    content = mano_content(hand, np.zeros((hand.vertex_count, 3, 135)), np.zeros((15, 3)))
    content["v_template"] = content["v_template"] * [-1, 1, 1]
    content["hands_components"] = _LEFT_COMPONENTS
    write_mano_pickle(path, content)


def dexycb_labels(shown: Shown, mano: ManoFile) -> dict[str, np.ndarray]:
    """Arrays of `labels_NNNNNN.npz`: object 3 and the hand, 255, segmented, and the hand's pose."""
    marks = np.zeros((HEIGHT, WIDTH), np.uint8)
    marks[shown.thing_pixels], marks[shown.hand_pixels] = 3, 255
    components = _LEFT_COMPONENTS if shown.left else mano.pose_components.astype(np.float64)
    pose = shown.pose.reshape(48)
    # The rows are orthonormal, so that a product with them gives the coefficients.
    pose = np.concatenate([pose[:3], components @ pose[3:], np.zeros(3)])
    return {
        "seg": marks,
        "pose_y": np.zeros((1, 3, 4), np.float32),
        "pose_m": pose[None].astype(np.float32),
        "joint_3d": shown.joints[None].astype(np.float32),
        "joint_2d": shown.points[None].astype(np.float32),
    }


def write_dexycb_meta(root: Path, recordings: Iterable[tuple[str, Shown]]) -> None:
    """Calibration, `meta.yml`, and labels without a hand for frames that nobody is to read.

    `recordings` are paths SUBJECT/SEQUENCE/CAMERA/NNNNNN and what the picture shows.
    """
    intrinsics = root / "calibration" / "intrinsics"
    intrinsics.mkdir(parents=True, exist_ok=True)
    for serial, (fx, fy, cx, cy) in CAMERAS.items():
        colour = f"color:\n  fx: {fx}\n  fy: {fy}\n  ppx: {cx}\n  ppy: {cy}\n"
        (intrinsics / f"{serial}_{WIDTH}x{HEIGHT}.yml").write_text(colour + "depth:\n  fx: 1.0\n")
    sequences: dict[str, tuple[int, Shown]] = {}
    folders = set()
    for name, shown in recordings:
        folder, number = name.rsplit("/", 1)
        folders.add(folder)
        sequence = folder.rsplit("/", 1)[0]
        last = max(int(number), sequences[sequence][0] if sequence in sequences else 0)
        sequences[sequence] = (last, shown)
    for sequence, (last, shown) in sequences.items():
        side = "left" if shown.left else "right"
        calibration = f"20200709_{sequence.split('/')[0][-10:]}_{side}"
        (root / sequence / "meta.yml").write_text(
            f"num_frames: {last + 1}\nmano_sides:\n- {side}\nmano_calib:\n- {calibration}\nycb_ids:\n- 3\n"
        )
        path = root / "calibration" / f"mano_{calibration}" / "mano.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("betas:\n" + "".join(f"- {float(b)!r}\n" for b in shown.shape))
    for folder in folders:
        for number in range(sequences[folder.rsplit("/", 1)[0]][0] + 1):
            path = root / folder / f"labels_{number:06d}.npz"
            if not path.exists():
                np.savez_compressed(
                    path,
                    seg=np.zeros((HEIGHT, WIDTH), np.uint8),
                    pose_m=np.zeros((1, 51), np.float32),
                    joint_3d=np.full((1, 21, 3), -1, np.float32),
                    joint_2d=np.full((1, 21, 2), -1, np.float32),
                )


def write_ho3d_meta(path: Path, shown: Shown, mano: ManoFile, evaluation: bool) -> None:
    """`meta/NNNN.pkl`: axes of OpenGL, MANO's order of joints, poses that include the mean."""
    fx, fy, cx, cy = shown.camera
    content: dict[str, object] = {
        "camMat": np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
        "objName": "006_mustard_bottle",
        "objTrans": np.zeros(3),
    }
    if evaluation:
        low, high = shown.points.min(0), shown.points.max(0)
        content |= {
            "handJoints3D": shown.joints[0] * OPENGL,
            "handBoundingBox": [float(v) for v in (*low, *high)],
        }
    else:
        joints = np.empty((21, 3))
        joints[MANO_TO_STANDARD] = shown.joints * OPENGL
        turned = np.diag(OPENGL) @ Rotation.from_rotvec(shown.pose[0]).as_matrix()
        pose = shown.pose.copy()
        pose[0], pose[1:] = Rotation.from_matrix(turned).as_rotvec(), pose[1:] + mano.mean_pose
        content |= {"handJoints3D": joints, "handPose": pose.reshape(48), "handBeta": shown.shape}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
