"""Reads HandOccNet's COCO-style annotation files into arrays, and judges every sample in them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from h2onet_ros.perception.crop import region_from_points
from train.datasets.base import DataSetError
from train.datasets.layout import Layout

MAX_PROJECTION_ERROR = 5.0
"""Pixels between annotated image points and projected joints, mean over a hand, that still pass."""

_REASON = 160


class _Bad(ValueError):
    """Why a sample cannot be used."""


def read_annotations(layout: Layout, progress: bool = False) -> dict[str, np.ndarray]:
    """Arrays of all N annotations of `layout.annotations`, in the order of the file.

    All as in the file (left hands not mirrored), zero where a split has no such entry:

    file_name, name: bytes.
    sequence: `(N,)` indices into `sequences`, the names of the recordings, bytes.
    number: `(N,)` frame in the recording.
    size: `(N, 2)` width and height.
    camera: `(N, 4)` fx, fy, cx, cy.
    joints: `(N, 21, 3)` metres. points: `(N, 21, 2)` pixels.
    pose: `(N, 16, 3)`. shape: `(N, 10)`. left: `(N,)`.
    box: `(N, 4)` x, y, width, height. wrist: `(N, 3)`.
    problem: `(N,)` bytes, the reason why a sample cannot be used, or empty.
    outside: `(N,)` whether no joint lies in the image.

    Raises:
        DataSetError: the file is no such annotation file.
    """
    images: dict[int, tuple[str, int, int]] = {}
    rows: list[dict[str, Any]] = []
    with tqdm(desc=f"reading {layout.annotations.name}", unit=" samples", disable=not progress) as bar:
        content = _load(layout.annotations, _hook(layout, images, rows, bar.update))
    for name in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise DataSetError(
                f"{layout.annotations} is not a COCO-style annotation file: expected an object with the "
                "lists 'images' and 'annotations'; download it again."
            )
    if not rows:
        raise DataSetError(f"{layout.annotations} holds no annotations; download it again.")
    return _columns(layout, images, rows)


def _load(path: Path, hook: Callable[[dict], Any]) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file, object_hook=hook)
    except json.JSONDecodeError as error:
        raise DataSetError(
            f"{path} is damaged or truncated ({error.msg} at line {error.lineno}, column {error.colno} of "
            f"{path.stat().st_size} bytes); download it again."
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataSetError(f"{path} cannot be read: {error}") from error


def _hook(
    layout: Layout, images: dict[int, tuple[str, int, int]], rows: list[dict[str, Any]], count: Callable
) -> Callable[[dict], Any]:
    """Turns annotations into compact arrays while the file is parsed.

    DexYCB's file holds hundreds of millions of bytes of numbers; as Python objects they would need gigabytes.
    """

    def convert(entry: dict) -> Any:
        if "file_name" in entry:
            # The annotation that needs a broken entry is reported as one without an image.
            with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
                images[int(entry["id"])] = (
                    str(entry["file_name"]),
                    int(entry["width"]),
                    int(entry["height"]),
                )
            return None
        if "image_id" in entry:
            rows.append(_annotation(layout, entry))
            count()
            return None
        return entry

    return convert


def _annotation(layout: Layout, entry: dict) -> dict[str, Any]:
    """Arrays of one annotation; `problem` is set if something is missing or no number."""
    row: dict[str, Any] = {"problem": "", "left": entry.get("hand_type", "right") == "left"}
    try:
        row["image_id"] = int(entry["image_id"])
    except (TypeError, ValueError, OverflowError):
        row["image_id"] = -1
    try:
        if entry.get("hand_type", "right") not in ("left", "right"):
            raise _Bad(f"hand_type is {entry['hand_type']!r}, expected left or right")
        camera = _part(entry, "cam_param")
        row["camera"] = np.concatenate([_numbers(camera, "focal", (2,)), _numbers(camera, "princpt", (2,))])
        if layout.has_truth:
            row["joints"] = _numbers(entry, "joints_coord_cam", (21, 3))
            mano = _part(entry, "mano_param")
            row["pose"] = _numbers(mano, "pose", (48,)).reshape(16, 3)
            row["shape"] = _numbers(mano, "shape", (10,))
            if layout.name == "dexycb":
                row["points"] = _numbers(entry, "joints_img", (21, 2))
        else:
            row["box"] = _numbers(entry, "bbox", (4,))
            row["wrist"] = _numbers(entry, "root_joint_cam", (3,))
    except _Bad as bad:
        row["problem"] = str(bad)
    return row


def _part(entry: dict, name: str) -> dict:
    if not isinstance(entry.get(name), dict) or not entry[name]:
        raise _Bad(f"{name} is missing or empty")
    return entry[name]


def _numbers(entry: dict, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if entry.get(name) in (None, [], {}):
        raise _Bad(f"{name} is missing or empty")
    try:
        array = np.asarray(entry[name], np.float64)
    except (TypeError, ValueError):
        raise _Bad(f"{name} is not an array of numbers of shape {shape}") from None
    if name == "joints_img" and array.ndim == 2 and array.shape[1] == 3:
        array = array[:, :2]
    if array.shape != shape:
        raise _Bad(f"{name} has the shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise _Bad(f"{name} holds numbers that are not finite")
    return array


_SHAPES: dict[str, tuple[int, ...]] = {
    "camera": (4,),
    "joints": (21, 3),
    "points": (21, 2),
    "pose": (16, 3),
    "shape": (10,),
    "box": (4,),
    "wrist": (3,),
}


def _columns(
    layout: Layout, images: dict[int, tuple[str, int, int]], rows: list[dict[str, Any]]
) -> dict[str, np.ndarray]:
    count = len(rows)
    columns: dict[str, np.ndarray] = {
        name: np.zeros((count, *shape), np.float64 if name == "camera" else np.float32)
        for name, shape in _SHAPES.items()
    }
    files, names, sequences = [""] * count, [""] * count, [""] * count
    problems = [row["problem"] for row in rows]
    number, size = np.zeros(count, np.int32), np.zeros((count, 2), np.int32)
    for i, row in enumerate(rows):
        for name in _SHAPES:
            if name in row:
                columns[name][i] = row[name]
        try:
            if row["image_id"] not in images:
                names[i] = f"annotation {i}"
                raise _Bad(f"no image of id {row['image_id']} in the file's 'images'")
            files[i], *size[i] = images[row["image_id"]]
            names[i] = files[i]
            place = layout.place(files[i])
            names[i], sequences[i], number[i] = place.name, place.sequence, place.number
            if size[i].min() <= 0:
                raise _Bad(f"the image's size is given as {size[i][0]} x {size[i][1]}")
        except ValueError as bad:
            problems[i] = problems[i] or str(bad)
    known, sequence = np.unique(np.array(sequences), return_inverse=True)
    columns |= {
        "file_name": np.char.encode(np.array(files), "utf-8"),
        "name": np.char.encode(np.array(names), "utf-8"),
        "sequence": sequence.astype(np.int32),
        "sequences": np.char.encode(known, "utf-8"),
        "number": number,
        "size": size,
        "left": np.array([row["left"] for row in rows]),
    }
    judged = [problem or _judge(layout, columns, i) for i, problem in enumerate(problems)]
    _note_doubles(columns, judged)
    columns["problem"] = np.char.encode(np.array([p[:_REASON] for p in judged]), "utf-8")
    inside = np.all((columns["points"] >= 0) & (columns["points"] <= size[:, None] - 1), axis=2)
    columns["outside"] = np.logical_not(inside.any(axis=1)) & layout.has_truth
    return columns


def _judge(layout: Layout, columns: dict[str, np.ndarray], i: int) -> str:
    """The reason why sample `i`, whose numbers are there, cannot be used, or nothing. Fills in `points`."""
    focal, principal = columns["camera"][i, :2], columns["camera"][i, 2:]
    width, height = columns["size"][i]
    if focal.min() <= 0:
        return f"focal lengths {focal.tolist()} are not positive"
    if not layout.has_truth:
        if columns["wrist"][i, 2] <= 0:
            return "root_joint_cam lies behind the camera"
        return "" if columns["box"][i, 2:].min() > 0 else "bbox has no area"
    joints = columns["joints"][i].astype(np.float64)
    if joints[:, 2].min() <= 0:
        return "joints_coord_cam has joints behind the camera (expected metres, z forward)"
    projected = joints[:, :2] / joints[:, 2:] * focal + principal
    if layout.name == "dexycb":
        error = np.linalg.norm(projected - columns["points"][i], axis=1).mean()
        if error > MAX_PROJECTION_ERROR:
            return f"joints_img lies {error:.0f} pixels from the projected joints_coord_cam"
    else:
        columns["points"][i] = projected
    columns["wrist"][i] = joints[0]
    points = columns["points"][i]
    extent = np.ptp(points, axis=0)
    if extent.min() <= 0:
        return f"the box of the joints has no area ({extent[0]:.1f} x {extent[1]:.1f} pixels)"
    if not ((points >= 0) & (points <= (width - 1, height - 1))).all(1).any() and layout.split != "test":
        return f"the hand lies outside the image of {width} x {height} pixels"
    try:
        region_from_points(points, image_size=(int(width), int(height)))
    except ValueError as error:
        return "" if layout.split == "test" else str(error)
    return ""


def _note_doubles(columns: dict[str, np.ndarray], problems: list[str]) -> None:
    """A picture with two annotations is ambiguous: the later ones are left out."""
    _, first = np.unique(columns["file_name"], return_index=True)
    later = np.ones(len(problems), bool)
    later[first] = False
    for i in np.flatnonzero(later):
        problems[i] = problems[i] or "a second annotation of the same image"
