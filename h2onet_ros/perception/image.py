"""ROS images -> RGB arrays, without cv_bridge: it is not on PyPI, and it copies where a view will do.

Messages are known by their fields, so that those of rclpy and of rosbags serve alike.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any, Protocol

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
    is_bigendian: int
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
    """How an encoding's values lie in a row, and OpenCV's conversion of them to RGB (None: they are RGB).

    Attributes:
        channels: values of a pixel.
        conversion: code of `cv2.cvtColor`.
        is_wide: values are 16 bits, of which the upper 8 are kept.
    """

    channels: int
    conversion: int | None
    is_wide: bool = False


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
    "rgb16": Encoding(3, None, True),
    "bgr16": Encoding(3, cv2.COLOR_BGR2RGB, True),
    "rgba16": Encoding(4, cv2.COLOR_RGBA2RGB, True),
    "bgra16": Encoding(4, cv2.COLOR_BGRA2RGB, True),
    "mono16": Encoding(1, cv2.COLOR_GRAY2RGB, True),
    "bayer_rggb8": Encoding(1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": Encoding(1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": Encoding(1, cv2.COLOR_BayerBG2RGB, True),
    "bayer_bggr16": Encoding(1, cv2.COLOR_BayerRG2RGB, True),
    "bayer_gbrg16": Encoding(1, cv2.COLOR_BayerGR2RGB, True),
    "bayer_grbg16": Encoding(1, cv2.COLOR_BayerGB2RGB, True),
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
    if encoding.channels == 2 and message.width % 2:
        raise ImageError(f"expected an even width for {message.encoding}, got {message.width}")
    pixels = image_values(message, "u2" if encoding.is_wide else "u1", encoding.channels)
    if encoding.is_wide:
        pixels = (pixels >> 8).astype(np.uint8)
    if encoding.conversion is None:
        return np.ascontiguousarray(pixels)
    if encoding.channels == 1:
        pixels = pixels[:, :, 0]
    if message.encoding.startswith("bayer") and min(pixels.shape) < 2:
        raise ImageError(
            f"expected at least 2 x 2 pixels for {message.encoding}, got {message.width} x {message.height}"
        )
    return np.asarray(cv2.cvtColor(pixels, encoding.conversion), np.uint8)


def image_values(message: ImageMessage, kind: str, channels: int) -> NDArray[Any]:
    """A read-only view `(H, W, channels)` of a raw image's values, without the padding of its rows.

    Args:
        message: the image.
        kind: NumPy's name of the values' type, without byte order: "u1", "u2", "f4".
        channels: values of a pixel.

    Raises:
        ImageError: for an image without pixels, and for fewer bytes than it needs.
    """
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    width, height, step = message.width, message.height, message.step
    pixel = channels * dtype.itemsize
    row = width * pixel
    if not (width and height):
        raise ImageError(f"expected an image with pixels, got {width} x {height}")
    if step < row or len(message.data) < step * (height - 1) + row:
        raise ImageError(
            f"expected at least {row} bytes a row and {row * height} in all for {width} x {height} "
            f"{message.encoding}, got step {step} and {len(message.data)} bytes"
        )
    # Rows may be padded to any length, and the last one may come without its padding.
    values = np.ndarray(
        (height, width, channels),
        dtype,
        np.frombuffer(message.data, np.uint8),
        0,
        (step, pixel, dtype.itemsize),
    )
    values.flags.writeable = False
    return values


def compressed_to_rgb(message: CompressedMessage) -> RgbImage:
    """The RGB image `(H, W, 3)` uint8 of a compressed image message (JPEG, PNG, ...).

    Raises:
        ImageError: if the bytes are no image, or only the beginning of one.
    """
    if "compressedDepth" in message.format:
        raise ImageError(f"expected a colour image, got the format {message.format!r}")
    data = np.frombuffer(message.data, np.uint8)
    _check_end(bytes(message.data), message.format)
    try:
        # Decoded images are BGR whatever the original was: image_transport converts before it compresses.
        # The calibration belongs to the pixels as they come, however the camera was held.
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except cv2.error:  # Larger than OpenCV reads.
        bgr = None
    if bgr is None:
        raise ImageError(
            f"expected a JPEG or PNG image, got {len(data)} bytes of format {message.format!r} "
            "that do not decode"
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


# First bytes of a file and what its end contains. OpenCV paints what is missing grey and does not tell.
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}
_PADDING = 4096  # bytes that cameras may send after the end


def _check_end(data: bytes, format_name: str) -> None:
    for begin, end in _ENDS.items():
        if data.startswith(begin) and end not in data[-_PADDING:]:
            raise ImageError(
                f"expected a whole image, got {len(data)} bytes of format {format_name!r} that are cut off"
            )
