"""Make the annotation files that training reads from the data sets as their authors publish them.

    python -m train.convert_annotations dexycb DEX_YCB --setup s1 --mano MANO_RIGHT.pkl \\
        --mano-left MANO_LEFT.pkl
    python -m train.convert_annotations ho3d_v3 HO3D --mano MANO_RIGHT.pkl

Needed only where HandOccNet's pre-processed files are not at hand: they exist for DexYCB's setup s0 and for
HO3D v2. The files written have the same form and names. DexYCB must be complete with its folder
`calibration`, since its splits count recordings; HO3D needs the `meta` folders beside the pictures.

Exit code: 0 done, 2 it could not be done, 130 stopped; a file appears only when complete.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from h2onet_ros.hand.mano import ManoFileError, load_mano, load_pose_components
from train.datasets import raw_dexycb, raw_ho3d
from train.datasets.base import DataSetError
from train.datasets.command import SPLITS, ended_like_ctrl_c


class AnnotationWriter:
    """A COCO-style file, written entry by entry; it takes its name at the end of the `with` block.

    Raises:
        DataSetError: the file is there already, and `overwrite` is not set.
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        if path.exists() and not overwrite:
            raise DataSetError(f"{path} is there already; --overwrite replaces it.")
        self.path, self.count = path, 0
        self._partial = path.with_suffix(f".{os.getpid()}.partial")
        self._images: list[dict[str, Any]] = []
        self._file: IO[str] | None = None

    def __enter__(self) -> AnnotationWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._partial.open("w", encoding="utf-8")
        self._file.write('{"annotations": [')
        return self

    def add(self, image: dict[str, Any], annotation: dict[str, Any]) -> None:
        """Add a picture with its annotation; ids count up."""
        assert self._file is not None
        number = {"id": self.count}
        self._images.append({**number, **image})
        self._file.write(",\n" if self.count else "\n")
        json.dump({**number, "image_id": self.count, **annotation}, self._file)
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._file is not None
        try:
            if kind is None:
                self._file.write('\n], "images": ')
                json.dump(self._images, self._file)
                self._file.write("}\n")
            self._file.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)


def convert_dexycb(
    root: Path,
    setup: str,
    mano: Path,
    mano_left: Path | None,
    incomplete: bool = False,
    overwrite: bool = False,
) -> Iterator[str]:
    """Write `annotations/DEX_YCB_SETUP_SPLIT_data.json` of all splits; tells a line of each.

    Raises:
        DataSetError: something of the data set, or the left hand's file, is missing or damaged.
        ManoFileError, OSError: a MANO file cannot be used.
    """
    recordings = raw_dexycb.recordings(root, setup, incomplete)
    components = {"right": load_pose_components(mano)}
    if any(recording.side == "left" for recording in recordings):
        if mano_left is None:
            raise DataSetError(
                "DexYCB keeps poses of left hands as coefficients of MANO's left hand: give "
                "--mano-left MANO_LEFT.pkl."
            )
        components["left"] = load_pose_components(mano_left)
    for split in SPLITS["dexycb"]:
        chosen = [recording for recording in recordings if recording.split == split]
        if not chosen:
            continue
        path = root / "annotations" / f"DEX_YCB_{setup}_{split}_data.json"
        with AnnotationWriter(path, overwrite) as writer:
            for recording in tqdm(chosen, desc=path.name, unit=" recordings"):
                for image, entry in raw_dexycb.entries(root, recording, components):
                    writer.add(image, entry)
        yield f"{path}: {writer.count} annotations of {len(chosen)} recordings"


def convert_ho3d(root: Path, mano: Path, overwrite: bool = False) -> Iterator[str]:
    """Write `annotations/HO3D_train_data.json` and `..._evaluation_data.json`; tells a line of each.

    Raises:
        DataSetError: something of the data set is missing or damaged.
        ManoFileError, OSError: the MANO file cannot be used.
    """
    model = load_mano(mano)
    for folder in ("train", "evaluation"):
        names, without = raw_ho3d.listed(root, folder), 0
        path = root / "annotations" / f"HO3D_{folder}_data.json"
        with AnnotationWriter(path, overwrite) as writer:
            for name in tqdm(names, desc=path.name, unit=" samples"):
                found = raw_ho3d.entries(root, folder, name, model)
                if found is None:
                    without += 1
                else:
                    writer.add(*found)
        yield f"{path}: {writer.count} annotations" + (
            f", {without} samples without a hand" if without else ""
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(SPLITS), help="data set")
    parser.add_argument("root", type=Path, help="its folder, where `annotations` comes to lie")
    parser.add_argument("--mano", type=Path, required=True, help="MANO_RIGHT.pkl")
    parser.add_argument("--mano-left", type=Path, help="MANO_LEFT.pkl, for DexYCB")
    parser.add_argument("--setup", default="s0", choices=("s0", "s1", "s2", "s3"), help="of DexYCB (s0)")
    parser.add_argument("--incomplete", action="store_true", help="take a part of DexYCB for the whole")
    parser.add_argument("--overwrite", action="store_true", help="replace annotation files that are there")
    arguments = parser.parse_args()
    try:
        with ended_like_ctrl_c():
            if not arguments.root.is_dir():
                raise DataSetError(f"No folder {arguments.root}.")
            if arguments.name == "dexycb":
                lines = convert_dexycb(
                    arguments.root,
                    arguments.setup,
                    arguments.mano,
                    arguments.mano_left,
                    arguments.incomplete,
                    arguments.overwrite,
                )
            else:
                lines = convert_ho3d(arguments.root, arguments.mano, arguments.overwrite)
            for line in lines:
                print(line, flush=True)
    except KeyboardInterrupt:
        print("Stopped; files that were complete are kept.", file=sys.stderr)
        return 130
    except (DataSetError, ManoFileError, OSError) as error:
        print(f"convert_annotations: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
