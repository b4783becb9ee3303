"""Small DexYCB and HO3D trees in the real file formats, of the open hand, and the MANO file that fits them.

PYTHONPATH=. python test/train/miniature.py FOLDER     # to try the programs without the data sets
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "hand"))

from mano_file import mano_content
from mano_file import write_mano as write_mano_pickle
from miniature_raw import dexycb_labels, write_dexycb_meta, write_ho3d_meta, write_left_mano
from miniature_scene import HEIGHT, WIDTH, Clip, Painter, Shown

from h2onet_ros.hand.mano import TIP_VERTICES, ManoFile, load_mano
from h2onet_ros.hand.model import HandModel, open_hand

_FULL_COLOUR = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
DEXYCB_CAMERAS = ("836212060125", "932122060861")
FIRST_RECORDING = f"20200709-subject-01/20200709_141754/{DEXYCB_CAMERAS[0]}"


@dataclass
class Miniature:
    """A tree that was written.

    Attributes:
        root: the data set's folder.
        mano: the MANO file.
        truth: what each picture shows, by sample name.
        broken: samples that cannot be used, with words of the reason.
        exact: whether pictures and truth come from the synthetic renderer.
    """

    root: Path
    mano: Path
    truth: dict[str, Shown] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    exact: bool = False


def mano_like_hand() -> HandModel:
    """The open hand with its fingertips where MANO has them among its vertices."""
    hand = open_hand()
    order = np.arange(hand.vertex_count)
    for tip, wanted in zip(hand.tip_vertices, TIP_VERTICES):
        here = int(np.flatnonzero(order == tip)[0])
        order[[here, wanted]] = order[[wanted, here]]
    new = np.argsort(order)
    return HandModel(
        template=hand.template[order],
        faces=new[hand.faces],
        shape_basis=hand.shape_basis[order],
        joint_regressor=hand.joint_regressor[:, order],
        skin_weights=hand.skin_weights[order],
        parents=hand.parents,
        tip_vertices=np.array(TIP_VERTICES),
        vertex_part=hand.vertex_part[order],
        face_part=hand.face_part,
        uv=hand.uv,
        uv_faces=hand.uv_faces,
        joint_axes=hand.joint_axes,
        pose_limits=hand.pose_limits,
    )


def write_mano(path: Path, tip_shift: float = 0.0) -> ManoFile:
    """Write a MANO file of the open hand; `tip_shift` (metres) makes its shape another one."""
    hand = mano_like_hand()
    mean = hand.pose_from_angles(np.tile([0.25, 0.0, 0.0], (16, 1)))[1:]
    content = mano_content(hand, np.zeros((hand.vertex_count, 3, 135)), mean)
    content["v_template"] = content["v_template"] * (1 + tip_shift)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mano_pickle(path, content)
    return load_mano(path)


def _annotation(number: int, shown: Shown) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": number,
        "joints_coord_cam": shown.joints.tolist(),
        "cam_param": {"focal": shown.camera[:2].tolist(), "princpt": shown.camera[2:].tolist()},
        "mano_param": {"pose": shown.pose.reshape(48).tolist(), "shape": shown.shape.tolist()},
    }


def _image(number: int, file: str) -> dict[str, Any]:
    return {"id": number, "file_name": file, "width": WIDTH, "height": HEIGHT}


def _write_json(path: Path, images: list[dict], annotations: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations}))


def write_dexycb(
    folder: Path, frames: int = 12, test_frames: int = 4, broken: bool = False, setup: str = "s0"
) -> Miniature:
    """Two recordings of right hands (one does not begin with frame 0) and one of a left hand to train on, one
    of each to test; with `broken`, a recording more in which every training sample has another fault."""
    root = folder / "DEX_YCB"
    tree = Miniature(root, folder / "MANO_RIGHT.pkl")
    mano = write_mano(tree.mano)
    painter = Painter(mano.hand)
    first, second = DEXYCB_CAMERAS
    plan = {
        "train": [
            (FIRST_RECORDING, False, range(frames)),
            (f"20200709-subject-01/20200709_141754/{second}", False, range(3, 3 + frames)),
            (f"20200813-subject-02/20200813_145341/{first}", True, range(frames)),
        ],
        "test": [
            (f"20200820-subject-03/20200820_135508/{first}", False, range(test_frames)),
            (f"20200820-subject-03/20200820_135810/{second}", True, range(test_frames)),
        ],
    }
    for split, recordings in plan.items():
        images: list[dict] = []
        annotations: list[dict] = []
        for seed, (sequence, left, numbers) in enumerate(recordings):
            person, camera = int(sequence.split("/")[0][-2:]), sequence.split("/")[2]
            clip = Clip(mano, painter, 10 * len(split) + seed, left, person, camera)
            for i, number in enumerate(numbers):
                shown = clip.frame(i / max(len(numbers) - 1, 1))
                _add_dexycb(tree, mano, sequence, number, shown, images, annotations)
        if broken and split == "train":
            clip = Clip(mano, painter, 99, False, 2, first)
            _add_broken(tree, mano, clip, images, annotations)
        _write_json(root / "annotations" / f"DEX_YCB_{setup}_{split}_data.json", images, annotations)
    write_dexycb_meta(root, tree.truth.items())
    write_left_mano(tree.mano.with_name("MANO_LEFT.pkl"))
    tree.exact = painter.exact
    painter.close()
    return tree


def _add_dexycb(
    tree: Miniature,
    mano: ManoFile,
    sequence: str,
    number: int,
    shown: Shown,
    images: list[dict],
    annotations: list[dict],
) -> Path:
    file = f"{sequence}/color_{number:06d}.jpg"
    path = tree.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), shown.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    np.savez_compressed(path.with_name(f"labels_{number:06d}.npz"), **dexycb_labels(shown, mano))
    identity = len(images)
    images.append(_image(identity, file))
    hand_type = "left" if shown.left else "right"
    annotations.append(
        {**_annotation(identity, shown), "joints_img": shown.points.tolist(), "hand_type": hand_type}
    )
    tree.truth[f"{sequence}/{number:06d}"] = shown
    return path


BROKEN_SEQUENCE = f"20200813-subject-02/20200813_150000/{DEXYCB_CAMERAS[0]}"


def _add_broken(
    tree: Miniature, mano: ManoFile, clip: Clip, images: list[dict], annotations: list[dict]
) -> None:
    """One recording, every frame of it wrong in its own way."""
    reasons = {
        "missing image": "is missing",
        "truncated image": "cut short",
        "empty image": "is empty",
        "other size": "pixels",
        "not a picture": "neither a JPEG",
        "NaN": "not finite",
        "empty": "missing or empty",
        "few joints": "shape",
        "no area": "no area",
        "outside": "outside the image",
        "behind": "behind the camera",
        "points": "from the projected",
        "focal": "not positive",
        "other hand": "mm from",
        "hole": "is damaged",
    }
    for number, (fault, words) in enumerate(reasons.items()):
        path = _add_dexycb(tree, mano, BROKEN_SEQUENCE, number, clip.frame(0.1), images, annotations)
        entry = annotations[-1]
        tree.broken[f"{BROKEN_SEQUENCE}/{number:06d}"] = words
        content = path.read_bytes()
        if fault == "missing image":
            path.unlink()
        elif fault == "truncated image":
            path.write_bytes(content[: len(content) // 2])
        elif fault == "empty image":
            path.write_bytes(b"")
        elif fault == "other size":
            cv2.imwrite(str(path), np.zeros((240, 320, 3), np.uint8))
        elif fault == "not a picture":
            path.write_bytes(b"<html>" + content)
        elif fault == "hole":
            path.write_bytes(content[: len(content) // 3] + content[len(content) // 2 :])
        elif fault == "NaN":
            entry["joints_coord_cam"][7][1] = float("nan")
        elif fault == "empty":
            entry["mano_param"] = {}
        elif fault == "few joints":
            entry["joints_coord_cam"] = entry["joints_coord_cam"][:20]
        elif fault == "no area":
            entry["joints_coord_cam"] = [[0.01, 0.02, 0.7]] * 21
        elif fault == "outside":
            entry["joints_coord_cam"] = (np.array(entry["joints_coord_cam"]) - [2.0, 0, 0]).tolist()
        elif fault == "behind":
            entry["joints_coord_cam"] = (np.array(entry["joints_coord_cam"]) * [1, 1, -1]).tolist()
        elif fault == "focal":
            entry["cam_param"]["focal"][0] = 0.0
        elif fault == "other hand":
            entry["mano_param"]["pose"][3:] = (np.array(entry["mano_param"]["pose"][3:]) + 0.6).tolist()
        if fault == "points":
            entry["joints_img"] = (np.array(entry["joints_img"]) + 40).tolist()
        elif fault in ("no area", "outside"):
            joints, camera = np.array(entry["joints_coord_cam"]), entry["cam_param"]
            projected = joints[:, :2] / joints[:, 2:] * camera["focal"] + camera["princpt"]
            entry["joints_img"] = projected.tolist()


def write_ho3d(folder: Path, version: int = 2, frames: int = 24, evaluation_frames: int = 5) -> Miniature:
    """One long recording (every third frame) and one short one to train on, one to evaluate."""
    root = folder / f"HO3D_v{version}"
    tree = Miniature(root, folder / "MANO_RIGHT.pkl")
    mano = write_mano(tree.mano)
    painter = Painter(mano.hand)
    plan = {
        "train": [("ABF10", range(0, 3 * frames, 3)), ("MC1", range(frames // 2))],
        "evaluation": [("SM1", range(evaluation_frames))],
    }
    image_suffix, mark_suffix = (".png", ".jpg") if version == 2 else (".jpg", ".png")
    for split, recordings in plan.items():
        images: list[dict] = []
        annotations: list[dict] = []
        listed = []
        for seed, (sequence, numbers) in enumerate(recordings):
            clip = Clip(mano, painter, 50 + 10 * len(split) + seed, False, 20 + seed, DEXYCB_CAMERAS[0])
            for i, number in enumerate(numbers):
                shown = clip.frame(i / max(len(numbers) - 1, 1))
                name = f"{sequence}/{number:04d}"
                path = root / split / sequence / "rgb" / f"{number:04d}{image_suffix}"
                marks = root / split / sequence / "seg" / f"{number:04d}{mark_suffix}"
                for parent in (path.parent, marks.parent):
                    parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), shown.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
                coloured = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
                coloured[shown.thing_pixels, 1], coloured[shown.hand_pixels, 0] = 255, 255
                cv2.imwrite(str(marks), np.ascontiguousarray(coloured[::2, ::2]), _FULL_COLOUR)
                meta = root / split / sequence / "meta" / f"{number:04d}.pkl"
                write_ho3d_meta(meta, shown, mano, split == "evaluation")
                identity = len(images)
                images.append(_image(identity, f"{sequence}/rgb/{number:04d}{image_suffix}"))
                entry = _annotation(identity, shown)
                if split == "evaluation":
                    low, high = shown.points.min(0), shown.points.max(0)
                    entry = {key: entry[key] for key in ("id", "image_id", "cam_param")}
                    entry |= {"root_joint_cam": shown.joints[0].tolist(), "bbox": [*low, *(high - low)]}
                annotations.append(entry)
                listed.append(name)
                tree.truth[name] = shown
        _write_json(root / "annotations" / f"HO3D_{split}_data.json", images, annotations)
        (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
    tree.exact = painter.exact
    painter.close()
    return tree


if __name__ == "__main__":
    for written in (write_dexycb(Path(sys.argv[1]), broken=True), write_ho3d(Path(sys.argv[1]))):
        print(
            f"{written.root}: {len(written.truth)} pictures, {len(written.broken)} of them broken on purpose"
        )
