"""Camera calibrations as files: the YAML that camera_calibration and camera_info_manager write and read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from h2onet_ros.bag.errors import BagError
from h2onet_ros.perception.camera import Camera, CameraError

_EXPECTED = (
    "Expected a camera_info file: image_width, image_height, camera_matrix (data: 9 numbers), "
    "distortion_model, distortion_coefficients (data)."
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """All of a `sensor_msgs/CameraInfo` that does not change from image to image.

    Attributes:
        camera: size, intrinsics and distortion.
        rectification: `(3, 3)`, R of the message.
        projection: `(3, 4)` of the rectified image, P of the message.
    """

    camera: Camera
    rectification: NDArray[np.float64]
    projection: NDArray[np.float64]

    @classmethod
    def of_camera(cls, camera: Camera) -> Calibration:
        """That of a single camera whose rectified image keeps its intrinsics."""
        return cls(camera, np.eye(3), np.column_stack([camera.k, np.zeros(3)]))

    def fit(self, width: int, height: int) -> Calibration:
        """The calibration for images of another size; see `fit_camera`."""
        camera = fit_camera(self.camera, width, height)
        if camera is self.camera:
            return self
        ratio = np.array([width / self.camera.width, height / self.camera.height])
        projection = self.projection.copy()
        projection[:2, 2] += 0.5
        projection[:2] *= ratio[:, None]
        projection[:2, 2] -= 0.5
        return replace(self, camera=camera, projection=projection)


def load_camera(path: str | os.PathLike[str]) -> Camera:
    """The camera that a calibration file describes; raises as `load_calibration` does."""
    return load_calibration(path).camera


def load_calibration(path: str | os.PathLike[str]) -> Calibration:
    """What a calibration file says; a single camera's rectification where it leaves that out.

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
        camera = Camera(
            int(content["image_width"]),
            int(content["image_height"]),
            _numbers(content["camera_matrix"]).reshape(3, 3),
            coefficients,
            model if coefficients.size else "none",
        )
        usual = Calibration.of_camera(camera)
        rectification = _numbers(content.get("rectification_matrix", usual.rectification)).reshape(3, 3)
        projection = _numbers(content.get("projection_matrix", usual.projection)).reshape(3, 4)
        return Calibration(camera, rectification, projection)
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
