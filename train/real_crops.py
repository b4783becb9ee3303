"""Real photographs of hands with labels from a landmark network: partial supervision, and the yardstick.

A folder (or a zip file of it) holds square crops and `labels.npz`:

=================== =================== ============================================
image               (N,) str            path of the crop in the folder, `SOURCE/NAME.jpg`
joints2d            (N, 21, 2) float32  pixels of the crop, standard order
joints3d_world      (N, 21, 3) float32  metres, camera axes, about the hand's middle; weak
right_hand_score    (N,) float32        > 0.5: a right hand
presence            (N,) float32
=================== =================== ============================================

The network knows right hands only, so the pictures and labels of left hands are given mirrored.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

HELD_OUT = "dwivedi"
"""The source kept for validation: other people and views than in the rest."""

DRAWN_OVER = frozenset(f"dwivedi/{i:05d}.jpg" for i in range(12))
"""Montages of a detector's results. The rule: out goes every picture in which boxes, points or lettering lie
over a hand; captions and watermarks beside it stay. All 706 pictures of that source were looked at."""

_LABELS = {
    "joints2d": (21, 2),
    "joints3d_world": (21, 3),
    "right_hand_score": (),
    "presence": (),
}


class RealCropsError(ValueError):
    """A folder or zip file of real crops cannot be used."""


@dataclass(frozen=True, eq=False)
class RealCrops:
    """Crops of right hands (left ones mirrored); labels as in the table above.

    Attributes:
        names: (N,) paths within the source.
        files: the encoded pictures; decoded by `image`.
        joints2d: (N, 21, 2) float32, pixels, after mirroring.
        joints3d: (N, 21, 3) float32, metres, camera axes, after mirroring.
        mirrored: (N,) bool, true where the photograph shows a left hand.
    """

    names: np.ndarray
    files: list[bytes]
    joints2d: np.ndarray
    joints3d: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def load(cls, path: str | Path) -> RealCrops:
        """All usable crops of a folder or zip file, without the drawn-over ones.

        Raises:
            RealCropsError: labels or pictures are missing or broken.
        """
        path = Path(path)
        try:
            if path.is_dir():
                return cls._read(path, (path / "labels.npz").read_bytes(), lambda n: (path / n).read_bytes())
            with zipfile.ZipFile(path) as archive:
                return cls._read(path, archive.read("labels.npz"), archive.read)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise RealCropsError(
                f"{path}: expected a folder or zip file of crops with labels.npz ({error})"
            ) from error

    @classmethod
    def _read(cls, path, labels: bytes, read) -> RealCrops:
        with np.load(io.BytesIO(labels), allow_pickle=False) as stored:
            missing = {"image", *_LABELS} - set(stored.files)
            if missing:
                raise RealCropsError(f"{path}: labels.npz lacks {', '.join(sorted(missing))}")
            arrays = {name: stored[name] for name in ("image", *_LABELS)}
        count = len(arrays["image"])
        for name, tail in _LABELS.items():
            if arrays[name].shape != (count, *tail):
                raise RealCropsError(
                    f"{path}: {name} must have the shape {(count, *tail)}, got {arrays[name].shape}"
                )
        finite = np.isfinite(arrays["joints2d"]).all((1, 2)) & np.isfinite(arrays["joints3d_world"]).all(
            (1, 2)
        )
        extent = np.ptp(arrays["joints2d"], axis=1).max(1)
        keep = finite & (extent > 8) & ~np.isin(arrays["image"], list(DRAWN_OVER))
        names = arrays["image"][keep]
        files = [read(str(name)) for name in names]
        mirrored = arrays["right_hand_score"][keep] <= 0.5
        joints2d = arrays["joints2d"][keep].astype(np.float32)
        joints3d = arrays["joints3d_world"][keep].astype(np.float32)
        for i in np.flatnonzero(mirrored):
            width = _width(files[i], str(names[i]))
            joints2d[i, :, 0] = width - 1 - joints2d[i, :, 0]
        joints3d[mirrored, :, 0] *= -1
        return cls(names, files, joints2d, joints3d, mirrored)

    def image(self, index: int) -> np.ndarray:
        """The crop as RGB `(H, W, 3)` uint8, mirrored if it shows a left hand."""
        image = cv2.imdecode(np.frombuffer(self.files[index], np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise RealCropsError(f"{self.names[index]} is not a readable picture; remove it from labels.npz")
        return np.ascontiguousarray(image[:, ::-1]) if self.mirrored[index] else image

    def select(self, rows: np.ndarray) -> RealCrops:
        """Only these crops (indices or a mask)."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        return RealCrops(
            self.names[rows],
            [self.files[i] for i in rows],
            self.joints2d[rows],
            self.joints3d[rows],
            self.mirrored[rows],
        )

    @property
    def sources(self) -> np.ndarray:
        """(N,) where each crop comes from."""
        return np.array([str(name).split("/")[0] for name in self.names])

    def split(self) -> tuple[RealCrops, RealCrops]:
        """Crops for training, and the held-out source."""
        held_out = self.sources == HELD_OUT
        return self.select(~held_out), self.select(held_out)


def _width(file: bytes, name: str) -> int:
    image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise RealCropsError(f"{name} is not a readable picture; remove it from labels.npz")
    return image.shape[1]
