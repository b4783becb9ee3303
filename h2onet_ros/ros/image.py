"""ROS images <-> RGB arrays, without cv_bridge: it is not on PyPI, and it copies where a view will do."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

RgbImage = NDArray[np.uint8]


class ImageError(ValueError):
    """An image message that cannot be read."""


@dataclass(frozen=True)
class Encoding:
    """How an encoding's bytes lie in a row, and OpenCV's conversion of them to RGB (None: they are RGB)."""

    channels: int
    conversion: int | None


# sensor_msgs/image_encodings. OpenCV names Bayer patterns by the second row's second and third pixel.
ENCODINGS = {
    "rgb8": Encoding(3, None),
    "bgr8": Encoding(3, cv2.COLOR_BGR2RGB),
    "8UC3": Encoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": Encoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": Encoding(4, cv2.COLOR_BGRA2RGB),
    "8UC4": Encoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": Encoding(1, cv2.COLOR_GRAY2RGB),
    "8UC1": Encoding(1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": Encoding(1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": Encoding(1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGB2RGB),
    "yuv422": Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": Encoding(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": Encoding(2, cv2.COLOR_YUV2RGB_YUY2),
}


def image_to_rgb(message: Image) -> RgbImage:
    """The RGB image `(H, W, 3)` uint8 of a raw image message.

    An rgb8 image without padding is a read-only view of the message's own memory.

    Raises:
        ImageError: for an encoding that is not in `ENCODINGS`, or sizes that contradict each other.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"expected an image with one of the encodings {', '.join(ENCODINGS)}, got {message.encoding!r}; "
            "convert it before this node"
        )
    width, height, step = message.width, message.height, message.step
    row = width * encoding.channels
    if not (width and height):
        raise ImageError(f"expected an image with pixels, got {width} x {height}")
    if step < row or len(message.data) < step * (height - 1) + row:
        raise ImageError(
            f"expected at least {row} bytes a row and {row * height} in all for {width} x {height} "
            f"{message.encoding}, got step {step} and {len(message.data)} bytes"
        )
    if message.encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv") and width % 2:
        raise ImageError(f"expected an even width for {message.encoding}, got {width}")
    # The last row may come without its padding.
    pixels = np.lib.stride_tricks.as_strided(
        np.frombuffer(message.data, np.uint8),
        (height, width, encoding.channels),
        (step, encoding.channels, 1),
        writeable=False,
    )
    if encoding.conversion is None:
        return np.ascontiguousarray(pixels)
    if encoding.channels == 1:
        pixels = pixels[:, :, 0]
    return np.asarray(cv2.cvtColor(pixels, encoding.conversion), np.uint8)


def compressed_to_rgb(message: CompressedImage) -> RgbImage:
    """The RGB image `(H, W, 3)` uint8 of a compressed image message (JPEG, PNG, ...).

    Raises:
        ImageError: if the bytes are no image.
    """
    if "compressedDepth" in message.format:
        raise ImageError(f"expected a colour image, got the format {message.format!r}")
    data = np.frombuffer(message.data, np.uint8)
    # Decoded images are BGR whatever the original was: image_transport converts before it compresses.
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise ImageError(
            f"expected a JPEG or PNG image, got {len(data)} bytes of format {message.format!r} "
            "that do not decode"
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


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
