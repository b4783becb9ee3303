"""ROS images -> RGB arrays, without cv_bridge: it is not on PyPI, and it copies where a view will do.

Messages are known by their fields, so that those of rclpy and of rosbags serve alike.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

RgbImage = NDArray[np.uint8]
Buffer = bytes | bytearray | memoryview | array | NDArray[np.uint8]


class ImageMessage(Protocol):
    """`sensor_msgs/Image`; `data` gives its bytes through the buffer protocol."""

    height: int
    width: int
    encoding: str
    step: int
    data: Buffer


class CompressedMessage(Protocol):
    """`sensor_msgs/CompressedImage`."""

    format: str
    data: Buffer


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


def image_to_rgb(message: ImageMessage) -> RgbImage:
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


def compressed_to_rgb(message: CompressedMessage) -> RgbImage:
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
