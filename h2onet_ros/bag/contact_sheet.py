"""A video at a glance: some of its images side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.errors import BagError

WIDTH = 640
"""Width of one image in pixels."""


def contact_sheet(
    path: str | os.PathLike[str], columns: int = 3, rows: int = 2, width: int = WIDTH
) -> NDArray[np.uint8]:
    """The first, the last and evenly spaced images of a video between them, each with its time.

    Returns:
        `(H, W, 3)` uint8, BGR; fewer images where the video has fewer.

    Raises:
        BagError: for a video that cannot be read.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        wanted = np.unique(np.linspace(0, max(count - 1, 0), columns * rows).round().astype(int))
        rate = capture.get(cv2.CAP_PROP_FPS) or 30.0
        tiles = []
        # From the start on: seeking in a video without many key frames costs more, and is off by some.
        for index in range(count):
            if index not in wanted:
                capture.grab()
                continue
            is_read, bgr = capture.read()
            if is_read:
                tiles.append(captioned(np.asarray(bgr, np.uint8), width, f"{index / rate:.1f} s"))
    finally:
        capture.release()
    if not tiles:
        raise BagError(f"Expected a video with images, {Path(path)} has none that can be read.")
    return arrange(tiles, columns)


def arrange(tiles: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """One image of images of the same size, row by row, black where the last row is not full."""
    columns = min(columns, len(tiles))
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)])


def captioned(bgr: NDArray[np.uint8], width: int, text: str) -> NDArray[np.uint8]:
    """The image `(H, W, 3)` made `width` pixels wide, with a text in its lower left corner."""
    height = round(bgr.shape[0] * width / bgr.shape[1])
    tile = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
    place, font = (10, height - 12), cv2.FONT_HERSHEY_SIMPLEX
    for colour, thickness in ((0, 0, 0), 3), ((255, 255, 255), 1):
        cv2.putText(tile, text, place, font, 0.6, colour, thickness, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)


def write_image(path: Path, bgr: NDArray[np.uint8]) -> None:
    """Write a PNG or JPEG. Raises `BagError` where that fails, as without room on the disk."""
    try:
        path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise BagError(f"Cannot write the picture {path}: {error.strerror}.") from error
