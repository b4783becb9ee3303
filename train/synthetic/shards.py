"""Shards: how rendered samples lie on disk, written atomically and read through memory maps.

A data set is a folder with `dataset.json` (what it was made of) and `shard_NNNNN.npz` files. A shard is an
uncompressed `.npz` without pickles, so that `ShardSet` maps its arrays straight from the file and
`numpy.load` opens it as well. Its arrays, for S samples of F frames in all and a hand of V vertices:

=================== ============== ===========================================================================
first_frame         (S,) int32     row of the sample's frame 0 (now) in the arrays below
frame_count         (S,) int32     1, or 3: now, short-term past, long-term past (in this order)
jpeg                (bytes,) uint8 the crops' JPEG files one after another; RGB, `image_size` square
jpeg_offset         (F + 1,) int64 where each frame's JPEG begins
time                (F,) float32   seconds relative to frame 0 (0 or negative)
vertices            (F, V, 3) f32  metres, camera axes, relative to the wrist joint
joints              (F, 21, 3) f32 metres, camera axes, relative to the wrist joint (standard order)
wrist               (F, 3) f32     the wrist joint in the camera frame, metres
rotation            (F, 3, 3) f32  global rotation R: camera axes = R @ canonical axes
canonical_wrist     (F, 3) f32     the wrist joint of the unrotated hand, metres
pose                (F, 16, 3) f32 axis-angle of MANO's joints; row 0 is the global rotation
shape               (F, S_) f32    the hand model's shape coefficients
joints2d            (F, 21, 2) f32 pixels of the crop
camera              (F, 3, 3) f32  intrinsics of the crop (pixel centres at integers; no distortion)
occluded            (F, 6) bool    thumb, index, middle, ring, little, whole hand (`labels.py`)
visible_vertices    (F, 6) int16   visible vertices of each part, the sixth being the palm
visible_share       (F,) f32       visible pixels of the hand / its pixels drawn alone
native_size         (F,) f32       side in pixels of the crop's square in the camera's image before scaling
=================== ============== ===========================================================================
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib import format as npy_format

FORMAT = "h2onet-synthetic-1"


class ShardError(RuntimeError):
    """A shard or data set cannot be read."""


def shard_path(folder: Path, index: int) -> Path:
    """Where shard number `index` of the data set in `folder` lies."""
    return folder / f"shard_{index:05d}.npz"


def write_shard(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write one shard; it appears under its name only when complete, whatever interrupts the writing."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def map_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an uncompressed `.npz` as read-only memory maps."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as stream:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ShardError(
                        f"{path}: {member.filename} is compressed; expected an array stored as it is."
                    )
                stream.seek(member.header_offset)
                header = stream.read(30)
                name, extra = (int.from_bytes(header[k : k + 2], "little") for k in (26, 28))
                stream.seek(member.header_offset + 30 + name + extra)
                version = npy_format.read_magic(stream)
                read = (
                    npy_format.read_array_header_1_0
                    if version == (1, 0)
                    else npy_format.read_array_header_2_0
                )
                shape, fortran, dtype = read(stream)
                if dtype.hasobject:
                    raise ShardError(
                        f"{path}: {member.filename} holds Python objects; expected plain numbers."
                    )
                order: Any = "F" if fortran else "C"
                arrays[Path(member.filename).stem] = (
                    np.memmap(path, dtype, "r", stream.tell(), shape, order)
                    if np.prod(shape)
                    else np.empty(shape, dtype, order)
                )
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ShardError(f"{path} is not a readable shard ({error}); delete it and render again.") from error
    return arrays


@dataclass(frozen=True)
class Sample:
    """One sample: its frames (1, or 3: now, short-term past, long-term past) in arrays of that length."""

    images: list[np.ndarray]
    labels: dict[str, np.ndarray]

    def canonical_vertices(self) -> np.ndarray:
        """Vertices `(frames, V, 3)` of the hand unrotated, metres, in the hand model's frame."""
        turned = np.einsum("fvi,fij->fvj", self.labels["vertices"], self.labels["rotation"])
        return turned + self.labels["canonical_wrist"][:, None]


class ShardSet:
    """All samples of a data set folder; opened cheaply, decoded on access, safe to use after a fork.

    Labels of a sample keep the names of the table above, without the jpeg and the index arrays.
    """

    _INDEX_ARRAYS = ("first_frame", "frame_count", "jpeg", "jpeg_offset")

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        paths = sorted(self.folder.glob("shard_*.npz"))
        if not paths:
            raise ShardError(
                f"No shard_*.npz in {folder}: make some, `python -m train.synthetic.render --out {folder}`."
            )
        description = self.folder / "dataset.json"
        self.description: dict[str, Any] = json.loads(description.read_text()) if description.exists() else {}
        if self.description.get("format", FORMAT) != FORMAT:
            raise ShardError(f"{description}: format {self.description['format']!r}, expected {FORMAT!r}.")
        self.shards = [map_npz(path) for path in paths]
        self._ends = np.cumsum([len(shard["first_frame"]) for shard in self.shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def locate(self, index: int) -> tuple[dict[str, np.ndarray], slice]:
        """The shard of sample `index` and the rows of its frames."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        k = int(np.searchsorted(self._ends, index, side="right"))
        shard = self.shards[k]
        row = index - (int(self._ends[k - 1]) if k else 0)
        first = int(shard["first_frame"][row])
        return shard, slice(first, first + int(shard["frame_count"][row]))

    def frame_counts(self) -> np.ndarray:
        """Frames of every sample, `(samples,)`: 1 or 3."""
        return np.concatenate([np.asarray(shard["frame_count"]) for shard in self.shards])

    def now(self, label: str) -> np.ndarray:
        """A label of every sample's frame 0, `(samples, ...)`."""
        return np.concatenate([shard[label][shard["first_frame"]] for shard in self.shards])

    def __getitem__(self, index: int) -> Sample:
        shard, rows = self.locate(index)
        images = [decode(shard, frame) for frame in range(rows.start, rows.stop)]
        labels = {k: np.asarray(v[rows]) for k, v in shard.items() if k not in self._INDEX_ARRAYS}
        return Sample(images, labels)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


def decode(shard: dict[str, np.ndarray], frame: int) -> np.ndarray:
    """The crop of one frame of a shard as RGB `(size, size, 3)` uint8."""
    begin, end = (int(v) for v in shard["jpeg_offset"][frame : frame + 2])
    image = cv2.imdecode(np.asarray(shard["jpeg"][begin:end]), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ShardError(f"Frame {frame} of a shard is not a JPEG; delete the shard and render it again.")
    return image
