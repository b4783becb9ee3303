"""A folder of pictures as a source of images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.sources import Picture, SourceError
from h2onet_ros.bag.units import SECOND

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class ImageFolderSource:
    """The pictures of a folder in the order of their names, numbers in them by value.

    Those that cannot be read, or have another size than the first, are left out.

    Args:
        path: the folder; folders in it are not looked into.
        frame_rate: images a second.

    Attributes:
        files: all pictures of the folder, in order; image `n` of the source need not be `files[n]`.
        problems: what was left out, one sentence each, as far as `pictures` got.

    Raises:
        SourceError: for a folder without a picture that can be read.
    """

    is_live = False
    is_compressed = False

    def __init__(self, path: str | os.PathLike[str], frame_rate: float = 30.0) -> None:
        folder = Path(path)
        self.files = picture_files(folder)
        self.frame_rate = frame_rate
        self.frame_count = len(self.files)
        self.problems: list[str] = []
        first = next(self.pictures(), None)
        if first is None:
            raise SourceError(
                f"Expected pictures that can be read, none of the {len(self.files)} in {folder} can; "
                f"the first one's fault: {self.problems[0]}"
            )
        assert first.bgr is not None
        self.size = (first.bgr.shape[1], first.bgr.shape[0])
        self.description = (
            f"folder {folder.name} ({len(self.files)} pictures, {self.size[0]} x {self.size[1]}, "
            f"{frame_rate:g} a second)"
        )

    def pictures(self) -> Iterator[Picture]:
        for _, picture in self.numbered():
            yield picture

    def numbered(self) -> Iterator[tuple[Path, Picture]]:
        """Each picture with the file it is from. A file that is left out leaves a gap in time."""
        self.problems = []
        size: tuple[int, ...] | None = None
        for index, file in enumerate(self.files):
            bgr = read_picture(file)
            if bgr is None:
                self.problems.append(f"{file} cannot be read as a picture.")
            elif size is not None and bgr.shape != size:
                self.problems.append(
                    f"{file} has {bgr.shape[1]} x {bgr.shape[0]} pixels, the others {size[1]} x {size[0]}."
                )
            else:
                size = bgr.shape
                yield file, Picture(round(index / self.frame_rate * SECOND), bgr=bgr)

    def close(self) -> None:
        pass


def untouched(file: Path, bgr: NDArray[np.uint8]) -> bytes | None:
    """The file's content where it is an 8-bit colour picture that decodes to just `bgr`, else None.

    Not the case for grey, transparent or 16-bit pictures, nor where the camera noted that it was turned.
    """
    content = file.read_bytes()
    plain = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return content if plain is not None and np.array_equal(plain, bgr) else None


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers in them by value.

    Raises:
        SourceError: for a folder that cannot be read or has none.
    """
    try:
        there = sorted(folder.iterdir(), key=_natural)
    except OSError as error:
        raise SourceError(
            f"Expected a folder of pictures, cannot read {folder}: {error.strerror}."
        ) from error
    files = [file for file in there if file.suffix.lower() in ENDINGS]
    if not files:
        others = ", ".join(file.name for file in there[:3]) or "nothing"
        raise SourceError(
            f"Expected a folder with pictures ({', '.join(ENDINGS)}), {folder} holds {others}"
            f"{', ...' if len(there) > 3 else ''}; convert them, or name another folder."
        )
    return files


def read_picture(file: Path) -> NDArray[np.uint8] | None:
    """The picture `(H, W, 3)` BGR, turned as its camera noted; None for what is none."""
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError:
        return None
    bgr = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    return None if bgr is None else np.asarray(bgr, np.uint8)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sorts frame_10 behind frame_9."""
    parts = re.split(r"(\d+)", path.name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
