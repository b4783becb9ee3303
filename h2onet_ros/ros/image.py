"""RGB arrays -> ROS images; the way back is in `perception.image`."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from h2onet_ros.perception.image import ImageError, RgbImage


def rgb_to_image(rgb: RgbImage, header: Header, encoding: str = "rgb8") -> Image:
    """The raw image message (rgb8 or bgr8) of an RGB image `(H, W, 3)` uint8."""
    if encoding not in ("rgb8", "bgr8"):
        raise ImageError(f"expected the encoding rgb8 or bgr8, got {encoding!r}")
    pixels = rgb if encoding == "rgb8" else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    height, width = rgb.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding, step=3 * width)
    # Any other way of filling the field goes through a Python object for every byte.
    message.data = array("B")
    message.data.frombytes(np.ascontiguousarray(pixels).data)
    return message


def rgb_to_compressed(rgb: RgbImage, header: Header, quality: int = 90) -> CompressedImage:
    """The JPEG message of an RGB image `(H, W, 3)` uint8."""
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
    message.data = array("B")
    message.data.frombytes(jpeg.data)
    return message
