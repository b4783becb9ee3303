"""Reads the files that belong to a sample: picture, hand segmentation, occlusion labels."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import simplejpeg

from train.datasets.base import DataSetError
from train.datasets.layout import OCCLUSION_KEYS

HAND_LEVEL = 200
"""Segmentations mark the hand with values above this; below lie objects, and what JPEG makes of edges."""

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"
_ENDS = {_JPEG: b"\xff\xd9", _PNG: b"IEND"}


def read_image(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture as RGB `(H, W, 3)` uint8; `size` is the width and height it must have.

    Raises:
        DataSetError: it is missing, damaged, cut short or of another size.
    """
    image = _decode(path, "RGB")
    if size is not None and image.shape[1::-1] != tuple(size):
        raise DataSetError(
            f"{path} has {image.shape[1]} x {image.shape[0]} pixels, expected {size[0]} x {size[1]}"
        )
    return image


def read_segmentation(path: Path, size: tuple[int, int], channel: int = 0) -> np.ndarray:
    """Pixels that show the hand, `(H, W)` bool.

    Args:
        path: DexYCB's npz with the array `seg`, or HO3D's coloured picture.
        size: width and height that come out; HO3D's pictures are smaller and are enlarged.
        channel: colour of the hand in a picture: 0 blue, 1 green, 2 red.

    Raises:
        DataSetError: it is missing, damaged or of another form.
    """
    if path.suffix == ".npz":
        (marks,) = read_npz(path, ("seg",))
        if marks.shape != (size[1], size[0]):
            raise DataSetError(f"{path}: 'seg' has the shape {marks.shape}, expected {(size[1], size[0])}")
        return marks > HAND_LEVEL
    hand = _decode(path, "BGR")[..., channel] > HAND_LEVEL
    if hand.shape != (size[1], size[0]):
        # Thresholded first: interpolation between hand and background would shave the hand's edge.
        hand = cv2.resize(hand.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return hand


def read_occlusion(path: Path) -> np.ndarray:
    """Occlusion classes `(6,)` float32 (`OCCLUSION_NAMES`, 1 is occluded) from a label file.

    Raises:
        DataSetError: it is missing or damaged.
    """
    try:
        labels = json.loads(path.read_bytes())
        values = np.array([labels[key] for key in OCCLUSION_KEYS if key != "palm"], np.float32)
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"expected 0 or 1, got {values.tolist()}")
    except FileNotFoundError:
        raise DataSetError(f"{path} is missing; `python -m train.label_occlusion` makes it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataSetError(
            f"{path} is no label file ({type(error).__name__}: {error}); delete it and run "
            "`python -m train.label_occlusion` again"
        ) from error
    return values


def _decode(path: Path, colours: Literal["RGB", "BGR"]) -> np.ndarray:
    content = _content(path)
    start = next((mark for mark in _ENDS if content.startswith(mark)), None)
    if start is None:
        raise DataSetError(f"{path} is neither a JPEG nor a PNG file; download it again")
    if _ENDS[start] not in content[-64:]:
        raise DataSetError(
            f"{path} is cut short ({len(content)} bytes without an end mark); download it again"
        )
    if start == _JPEG:
        # OpenCV decodes what there is of a damaged JPEG and makes up the rest; strict decoding refuses it.
        try:
            return simplejpeg.decode_jpeg(content, colorspace=colours, strict=True)
        except ValueError as error:
            raise DataSetError(f"{path} is damaged ({error}); download it again") from error
    flags = cv2.IMREAD_COLOR_RGB if colours == "RGB" else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataSetError(f"{path} is damaged and cannot be decoded; download it again")
    return image


def read_npz(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    """Arrays of an npz file by name; never unpickles.

    Raises:
        DataSetError: the file or one of them is missing or damaged.
    """
    _content(path, 4)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataSetError(
            f"{path} is damaged or lacks one of {', '.join(names)} ({error}); download it again"
        ) from error


def _content(path: Path, count: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(count)
    except FileNotFoundError:
        raise DataSetError(f"{path} is missing") from None
    except OSError as error:
        raise DataSetError(f"{path} cannot be read: {error}") from error
    if not content:
        raise DataSetError(f"{path} is empty; download it again")
    return content
