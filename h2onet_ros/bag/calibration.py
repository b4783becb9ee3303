"""Camera calibrations as files: the YAML that camera_calibration and camera_info_manager write and read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from h2onet_ros.bag.errors import BagError
from h2onet_ros.perception.camera import Camera, CameraError

_EXPECTED = (
    "Expected a camera_info file: image_width, image_height, camera_matrix (data: 9 numbers), "
    "distortion_model, distortion_coefficients (data)."
)


def load_camera(path: str | os.PathLike[str]) -> Camera:
    """The camera that a calibration file describes.

    Raises:
        BagError: for a file that is not there, is no YAML, lacks an entry or describes no camera.
    """
    path = Path(path)
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BagError(f"Cannot read the calibration {path}: {reason}. {_EXPECTED}") from error
    if not isinstance(content, dict):
        raise BagError(f"The calibration {path} holds {type(content).__name__}, no entries. {_EXPECTED}")
    try:
        model = content.get("distortion_model", "plumb_bob")
        coefficients = _numbers(content.get("distortion_coefficients", []))
        return Camera(
            int(content["image_width"]),
            int(content["image_height"]),
            _numbers(content["camera_matrix"]).reshape(3, 3),
            coefficients,
            model if coefficients.size else "none",
        )
    except KeyError as error:
        raise BagError(f"The calibration {path} lacks {error.args[0]}. {_EXPECTED}") from error
    except (CameraError, TypeError, ValueError) as error:
        raise BagError(f"The calibration {path} describes no camera: {error}. {_EXPECTED}") from error


def fit_camera(camera: Camera, width: int, height: int) -> Camera:
    """The calibration for images of `width` x `height` pixels: the same, or scaled to the same proportions.

    Raises:
        BagError: for images of other proportions.
    """
    if (camera.width, camera.height) == (width, height):
        return camera
    # A pixel's rounding is allowed for.
    if abs(camera.width * height - camera.height * width) > max(camera.width, camera.height, width, height):
        raise BagError(
            f"The calibration is for images of {camera.width} x {camera.height} pixels or the same "
            f"proportions, but the images have {width} x {height}; give the calibration of this camera mode."
        )
    return camera.scaled(width, height)


def _numbers(entry: Any) -> np.ndarray:
    """Numbers of a matrix entry, which is a mapping with rows, cols and data, or the plain list."""
    return np.asarray(entry["data"] if isinstance(entry, dict) else entry, np.float64)
