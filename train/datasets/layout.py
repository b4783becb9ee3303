"""Where the files of DexYCB and HO3D lie, and what their names tell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from train.datasets.base import DataSetError

OCCLUSION_KEYS = ("thumb", "index", "middle", "ring", "little", "palm", "global")
"""Entries of an occlusion label file, each 0 or 1 (occluded)."""


@dataclass(frozen=True)
class Place:
    """What the name of an image tells: its recording, its number in it, and how lists call it."""

    sequence: str
    number: int
    name: str


@dataclass(frozen=True)
class Layout:
    """Files of one split of a data set.

    Attributes:
        name: `dexycb`, `ho3d_v2` or `ho3d_v3`.
        root: the folder that holds `annotations`.
        split: as `open_dataset` takes it.
        annotations: the COCO-style file.
        short, long: how many frames back the past frames lie.
        short_jitter, long_jitter: how far training moves them (see `history`).
    """

    name: str
    root: Path
    split: str
    annotations: Path
    short: int
    long: int
    short_jitter: int
    long_jitter: int

    def place(self, file_name: str) -> Place:
        """Raises ValueError if the name is not one of this data set's."""
        raise NotImplementedError

    def image(self, file_name: str) -> Path:
        raise NotImplementedError

    def segmentation(self, file_name: str) -> Path:
        """The file that tells which pixels show the hand."""
        raise NotImplementedError

    def occlusion(self, file_name: str) -> Path:
        """The file of occlusion labels, named as the published training program reads it."""
        raise NotImplementedError

    @property
    def has_truth(self) -> bool:
        """Whether the annotations tell joints, pose and shape."""
        return True

    @property
    def order(self) -> Path | None:
        """The list of samples that decides their order, if the data set has one."""
        return None


_DEXYCB_FILE = re.compile(r"([^/]+/[^/]+/[^/]+)/color_(\d{6})\.jpg")
_HO3D_FILE = re.compile(r"([^/]+)/rgb/(\d{4,})\.(?:png|jpg)")


class DexYCB(Layout):
    """`SUBJECT/SEQUENCE/CAMERA/color_NNNNNN.jpg` (Chao et al., 2021)."""

    def place(self, file_name: str) -> Place:
        match = _match(_DEXYCB_FILE, file_name, "SUBJECT/SEQUENCE/CAMERA/color_NNNNNN.jpg")
        return Place(match[1], int(match[2]), f"{match[1]}/{match[2]}")

    def image(self, file_name: str) -> Path:
        return self.root / file_name

    def segmentation(self, file_name: str) -> Path:
        path = self.root / file_name
        return path.with_name(path.name.replace("color_", "labels_")).with_suffix(".npz")

    def occlusion(self, file_name: str) -> Path:
        path = self.root / file_name
        return path.with_name(path.name.replace("color_", "occ_v2_")).with_suffix(".json")


class HO3D(Layout):
    """`train/SEQUENCE/rgb/NNNN.png` (Hampali et al., 2020); version 3 has JPEGs."""

    @property
    def folder(self) -> Path:
        return self.root / ("evaluation" if self.split == "evaluation" else "train")

    @property
    def has_truth(self) -> bool:
        return self.split != "evaluation"

    @property
    def order(self) -> Path | None:
        return self.root / f"{self.folder.name}.txt"

    def place(self, file_name: str) -> Place:
        match = _match(_HO3D_FILE, file_name, "SEQUENCE/rgb/NNNN.png")
        return Place(match[1], int(match[2]), f"{match[1]}/{match[2]}")

    def image(self, file_name: str) -> Path:
        return self.folder / file_name

    def segmentation(self, file_name: str) -> Path:
        wanted = self._beside(file_name, "seg", ".png" if self.name == "ho3d_v3" else ".jpg")
        other = wanted.with_suffix(".jpg" if wanted.suffix == ".png" else ".png")
        return other if not wanted.exists() and other.exists() else wanted

    def occlusion(self, file_name: str) -> Path:
        return self._beside(file_name, "occ_v2", ".json")

    def _beside(self, file_name: str, kind: str, suffix: str) -> Path:
        path = self.folder / file_name
        return (path.parent.parent / kind / path.name).with_suffix(suffix)


def find_layout(name: str, root: str | Path, split: str, setup: str = "s0") -> Layout:
    """The layout of a data set's split.

    Raises:
        DataSetError: unknown name, setup or split, or no annotation file where it should be.
    """
    root = Path(root)
    layout: Layout
    if name == "dexycb":
        _among("setup", setup, ("s0", "s1", "s2", "s3"))
        _among("split of DexYCB", split, ("train", "val", "test"))
        file = root / "annotations" / f"DEX_YCB_{setup}_{split}_data.json"
        layout = DexYCB(name, root, split, file, 5, 10, 2, 1)
    elif name in ("ho3d_v2", "ho3d_v3"):
        _among("split of HO3D", split, ("train", "val", "evaluation"))
        stored = "evaluation" if split == "evaluation" else "train"
        file = root / "annotations" / f"HO3D_{stored}_data.json"
        layout = HO3D(name, root, split, file, 30, 60, 5, 4)
    else:
        raise DataSetError(f"Unknown data set {name!r}: expected dexycb, ho3d_v2 or ho3d_v3.")
    if not file.is_file():
        found = sorted(p.name for p in file.parent.glob("*_data.json")) if file.parent.is_dir() else []
        raise DataSetError(
            f"No {file}: expected HandOccNet's pre-processed annotations there"
            + (f" (found {', '.join(found)})" if found else "")
            + "; docs/datasets.md tells where they come from and how the folders must look."
        )
    return layout


def _match(pattern: re.Pattern[str], file_name: str, wanted: str) -> re.Match[str]:
    match = pattern.fullmatch(file_name)
    # Annotation files come from elsewhere: they must not lead out of the data set's folder.
    if match is None or ".." in PurePosixPath(file_name).parts:
        raise ValueError(f"file name {file_name!r} is not of the form {wanted}")
    return match


def _among(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise DataSetError(f"Unknown {what} {value!r}: expected {', '.join(allowed)}.")
