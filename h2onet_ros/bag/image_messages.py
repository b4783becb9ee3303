"""Images and cameras -> serialised messages of a recording, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.typesys.store import Typestore

from h2onet_ros.bag.calibration import Calibration
from h2onet_ros.bag.message_maker import RosbagsMessages
from h2onet_ros.bag.message_types import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE

Compression = Literal["jpeg", "png"]


class ImageSerialiser:
    """Makes the messages of one camera.

    Args:
        typestore: knows the common message types.
        frame_id: the camera's optical frame.
    """

    def __init__(self, typestore: Typestore, frame_id: str) -> None:
        self._store = typestore
        self._types: dict[str, Any] = dict(typestore.types)
        self._header = RosbagsMessages(typestore).header
        self._frame_id = frame_id

    def image(self, bgr: NDArray[np.uint8], stamp: int) -> bytes:
        """A serialised `Image` (bgr8) of an image `(H, W, 3)`; `stamp` in nanoseconds."""
        return self._image(bgr, "bgr8", stamp)

    def depth(self, depth: NDArray[np.floating], stamp: int) -> bytes:
        """A serialised depth `Image` (16UC1, REP 118) of `(H, W)` metres; 0 where there is none."""
        millimetres = np.rint(np.nan_to_num(depth) * 1000).clip(0, np.iinfo(np.uint16).max)
        return self._image(millimetres.astype(np.uint16), "16UC1", stamp)

    def compressed(
        self, bgr: NDArray[np.uint8], stamp: int, compression: Compression, quality: int = 95
    ) -> bytes:
        """A serialised `CompressedImage` of an image `(H, W, 3)`; `quality` is JPEG's, 1 to 100."""
        parameters = (cv2.IMWRITE_JPEG_QUALITY, quality) if compression == "jpeg" else ()
        return self.encoded(cv2.imencode(f".{compression}", bgr, parameters)[1], stamp, compression)

    def encoded(self, data: bytes | NDArray[np.uint8], stamp: int, compression: Compression) -> bytes:
        """A serialised `CompressedImage` of a file's content."""
        message = self._types[COMPRESSED_IMAGE](
            header=self._header(stamp, self._frame_id),
            # As image_transport names them, whose subscribers look for both words.
            format=f"bgr8; {compression} compressed bgr8",
            data=np.frombuffer(data, np.uint8),
        )
        return bytes(self._store.serialize_cdr(message, COMPRESSED_IMAGE))

    def camera_info(self, calibration: Calibration, stamp: int) -> bytes:
        """A serialised `CameraInfo`."""
        camera = calibration.camera
        distortion: Sequence[float] | NDArray[np.float64] = (
            np.zeros(5) if camera.distortion is None or not camera.distortion.size else camera.distortion
        )
        message = self._types[CAMERA_INFO](
            header=self._header(stamp, self._frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob" if camera.distortion_model == "none" else camera.distortion_model,
            d=distortion,
            k=camera.k.ravel(),
            r=calibration.rectification.ravel(),
            p=calibration.projection.ravel(),
            binning_x=0,
            binning_y=0,
            roi=self._types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
        )
        return bytes(self._store.serialize_cdr(message, CAMERA_INFO))

    def _image(self, pixels: NDArray[Any], encoding: str, stamp: int) -> bytes:
        height, width = pixels.shape[:2]
        message = self._types[IMAGE](
            header=self._header(stamp, self._frame_id),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=pixels[0].nbytes,
            data=np.ascontiguousarray(pixels).view(np.uint8).ravel(),
        )
        return bytes(self._store.serialize_cdr(message, IMAGE))
