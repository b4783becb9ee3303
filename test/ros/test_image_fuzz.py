"""More than ten thousand malformed images: each is refused with an `ImageError` or comes out whole."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from h2onet_ros.perception.depth import depth_from_message
from h2onet_ros.perception.image import ENCODINGS, ImageError, compressed_to_rgb, image_to_rgb
from h2onet_ros.ros.image import rgb_to_compressed

RAW, COMPRESSED, DEPTH = 8000, 2500, 2000
SIZES = (0, 1, 2, 3, 7, 8, 64, 65535, 2**31 - 1, 2**31, 2**32 - 1)


def outcome(read, message) -> str:
    """What became of it. Anything but an `ImageError` ends the test."""
    try:
        result = read(message)
    except ImageError as error:
        assert str(error)
        return "refused"
    assert result.ndim >= 2 and result.size > 0
    return "read"


def random_image(random: np.random.Generator, encodings: list[str]) -> Image:
    width, height, step = (int(value) for value in random.choice(SIZES, 3))
    if random.random() < 0.5:
        # Nearly right: one of the fields is off.
        width, height = (int(value) for value in random.integers(1, 16, 2))
        step = width * int(random.integers(1, 9)) + int(random.integers(-2, 3))
    size = max(0, min(height * step, 4096) + int(random.integers(-9, 9)))
    encoding = str(random.choice(encodings))
    return Image(
        width=width,
        height=height,
        step=max(step, 0),
        encoding=encoding,
        is_bigendian=int(random.integers(0, 3)),
        data=random.bytes(size),
    )


def test_raw_images():
    random = np.random.default_rng(0)
    strange = ["", "rgb", "RGB8", "32FC1", "64FC4", "bayer_xxxx8", "\x00", "é" * 40, "rgb8; jpeg"]
    encodings = [*ENCODINGS, *strange]
    outcomes = [outcome(image_to_rgb, random_image(random, encodings)) for _ in range(RAW)]
    assert outcomes.count("read") > 200 and outcomes.count("refused") > 2000


def test_depth_images():
    random = np.random.default_rng(1)
    encodings = ["16UC1", "mono16", "32FC1", "rgb8", ""]
    outcomes = [outcome(depth_from_message, random_image(random, encodings)) for _ in range(DEPTH)]
    assert outcomes.count("read") > 50 and outcomes.count("refused") > 500


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Small images as files, of every kind that image_transport writes."""
    import cv2

    random = np.random.default_rng(2)
    rgb = random.integers(0, 256, (24, 32, 3), np.uint8)
    encoded = [bytes(rgb_to_compressed(rgb, Header()).data)]
    for ending in (".png", ".bmp", ".tiff", ".webp"):
        done, data = cv2.imencode(ending, rgb)
        assert done
        encoded.append(data.tobytes())
    return encoded


def test_compressed_images(files):
    """Bytes changed, cut off, put in, put together from two files."""
    random = np.random.default_rng(3)
    outcomes = []
    for number in range(COMPRESSED):
        data = bytearray(files[number % len(files)])
        kind = number % 4
        if kind == 0:
            for _ in range(int(random.integers(1, 8))):
                data[int(random.integers(len(data)))] = int(random.integers(256))
        elif kind == 1:
            del data[int(random.integers(len(data))) :]
        elif kind == 2:
            place = int(random.integers(len(data)))
            data[place:place] = random.bytes(int(random.integers(1, 50)))
        else:
            other = files[int(random.integers(len(files)))]
            data = data[: int(random.integers(len(data)))] + other[int(random.integers(len(other))) :]
        outcomes.append(outcome(compressed_to_rgb, CompressedImage(format="jpeg", data=bytes(data))))
    assert outcomes.count("refused") > COMPRESSED / 10


def test_a_file_that_claims_to_be_enormous_is_refused():
    """A PNG of a few bytes whose header says 100,000 x 100,000 pixels: no memory is asked for."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
    with pytest.raises(ImageError):
        compressed_to_rgb(CompressedImage(format="png", data=data))
