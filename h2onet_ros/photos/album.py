"""The hands of photographs on disk: what each shows in a folder, all of them on a sheet."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.calibration import fit_camera
from h2onet_ros.bag.contact_sheet import arrange, captioned, write_image
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.overlay import fit
from h2onet_ros.bag.image_folder import read_picture
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.hand_files import write_hands
from h2onet_ros.perception.photo import PhotoPipeline
from h2onet_ros.perception.types import Frame, Hand
from h2onet_ros.photos.exif import field_of_view, focal_length_35mm

FIELD_OF_VIEW_DEG = 60.0
"""Of a camera that nobody tells of."""
SHEET_PHOTOS = 48
"""Most photographs on the sheet."""
SHEET_TILE = (360, 480)
"""Height and width of each, pixels."""

_WRITTEN = r"hands\.json|overlay\.jpg|hand_\d+\.obj"


class Album:
    """Finds and writes the hands of photographs.

    Args:
        out: folder of the sheet.
        find: finds them.
        mesh: of its network.
        calibration: the camera of all photographs.
        field_of_view_deg: across their longer side, where there is no calibration. None: as each file tells,
            else `FIELD_OF_VIEW_DEG`.

    Attributes:
        tiles: small overlays for the sheet.
        count, hands: how many photographs and hands there were so far.
    """

    def __init__(
        self,
        out: Path,
        find: PhotoPipeline,
        mesh: HandTopology,
        calibration: Camera | None = None,
        field_of_view_deg: float | None = None,
    ) -> None:
        self.tiles: list[NDArray[np.uint8]] = []
        self.count = self.hands = 0
        self._out = out
        self._find = find
        self._mesh = mesh
        self._calibration = calibration
        self._field_of_view_deg = field_of_view_deg

    def add(self, photo: Path, folder: Path) -> str:
        """Write what is found in a photograph to a folder; what that is in words.

        Raises:
            BagError: it is no picture, or the calibration is of another one.
            OSError: the folder cannot be written, or holds something else than hands of a photograph.
        """
        bgr = read_picture(photo)
        if bgr is None:
            raise BagError("it cannot be read as a picture")
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        camera, origin = self._camera(photo, bgr.shape[1], bgr.shape[0])
        result = self._find(rgb, camera)
        overlay = draw_overlay(rgb, result.hands, camera, self._mesh.faces, self._mesh.face_part)
        if is_replaceable(folder):
            shutil.rmtree(folder)
        frame = Frame(rgb, 0, camera)
        write_hands(folder, frame, result, overlay, self._mesh.faces, picture="jpg", with_image=False)
        self.count += 1
        self.hands += len(result.hands)
        if len(self.tiles) < SHEET_PHOTOS:
            small = fit(np.asarray(overlay[..., ::-1], np.uint8), (*SHEET_TILE, 3))
            self.tiles.append(captioned(small, SHEET_TILE[1], photo.name))
        return f"{photo.name}: {_described(result.hands)}; {origin}"

    def write_sheet(self) -> Path:
        """Write `photos.jpg`. Raises BagError where it cannot be written."""
        path = self._out / "photos.jpg"
        write_image(path, arrange(self.tiles, min(4, math.ceil(math.sqrt(len(self.tiles))))))
        return path

    def _camera(self, photo: Path, width: int, height: int) -> tuple[Camera, str]:
        """The camera of a photograph, and where it is known from."""
        if self._calibration is not None:
            return fit_camera(self._calibration, width, height), "calibrated camera"
        degrees = self._field_of_view_deg
        if degrees is None and (noted := focal_length_35mm(photo)):
            camera = Camera.assumed(width, height, field_of_view(noted, width, height))
            return camera, f"focal length as noted in the file, {noted:g} mm"
        degrees = degrees or FIELD_OF_VIEW_DEG
        return Camera.assumed(width, height, math.radians(degrees)), f"assumed to see {degrees:g} degrees"


def _described(hands: Sequence[Hand]) -> str:
    if not hands:
        return "no hand"
    each = ", ".join(f"{hand.handedness} at {hand.position[2]:.2f} m" for hand in hands)
    return f"{amount(len(hands), 'hand')}: {each}"


def is_replaceable(folder: Path) -> bool:
    """Whether there is nothing in a folder but what was found in a photograph before."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return "hands.json" in names and all(re.fullmatch(_WRITTEN, name) for name in names)


def amount(count: int, what: str) -> str:
    """As "2 hands"."""
    return f"{count} {what}{'s' * (count != 1)}"
