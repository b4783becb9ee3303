"""Image messages to RGB arrays and back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from h2onet_ros.perception.image import ENCODINGS, ImageError, compressed_to_rgb, image_to_rgb
from h2onet_ros.ros.image import rgb_to_compressed, rgb_to_image

RED, GREEN, BLUE = (0, 1, 2)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """An image message of pixels (H, W[, C]), with `padding` bytes of rubbish after each row."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return Image(height=height, width=width, encoding=encoding, step=padded.shape[1], data=padded.tobytes())


def interleaved(rgb: np.ndarray, encoding: str) -> np.ndarray:
    alpha = np.full_like(rgb[..., :1], 17)
    return {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "8UC3": rgb[..., ::-1],
        "rgba8": np.concatenate([rgb, alpha], -1),
        "bgra8": np.concatenate([rgb[..., ::-1], alpha], -1),
        "8UC4": np.concatenate([rgb[..., ::-1], alpha], -1),
    }[encoding]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4"])
def test_colours_come_out_in_rgb_order_whatever_the_row_padding(rgb, encoding, padding):
    got = image_to_rgb(message(interleaved(rgb, encoding), encoding, padding))
    assert got.dtype == np.uint8 and got.flags.c_contiguous
    np.testing.assert_array_equal(got, rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
@pytest.mark.parametrize("padding", [0, 3])
def test_grey_images_get_three_equal_channels(rgb, encoding, padding):
    got = image_to_rgb(message(rgb[..., 0], encoding, padding))
    np.testing.assert_array_equal(got, np.repeat(rgb[..., :1], 3, -1))


def wide(pixels: np.ndarray, encoding: str, big: bool, padding: int = 0) -> Image:
    """An image message of 16 bit values whose upper bytes are `pixels`."""
    noise = np.random.default_rng(1).integers(0, 256, pixels.shape)
    values = (pixels.astype(np.uint16) << 8 | noise.astype(np.uint16)).astype(">u2" if big else "<u2")
    height, width = pixels.shape[:2]
    data = np.frombuffer(values.tobytes(), np.uint8).reshape(height, width, -1)
    made = message(data, encoding, padding)
    made.is_bigendian = int(big)
    return made


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bgr16", "rgba16", "bgra16"])
def test_wide_values_keep_their_upper_half_in_either_byte_order(rgb, encoding, padding, big):
    if encoding == "mono16":
        pixels, expected = rgb[..., 0], np.repeat(rgb[..., :1], 3, -1)
    else:
        pixels, expected = interleaved(rgb, encoding.replace("16", "8")), rgb
    np.testing.assert_array_equal(image_to_rgb(wide(pixels, encoding, big, padding)), expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_patterns_are_told_apart(pattern, bits):
    colour = (200, 120, 40)
    mosaic = np.zeros((16, 16), np.uint8)
    for letter, (row, column) in zip(pattern, [(0, 0), (0, 1), (1, 0), (1, 1)]):
        mosaic[row::2, column::2] = colour["rgb".index(letter)]
    made = message(mosaic, f"bayer_{pattern}8") if bits == 8 else wide(mosaic, f"bayer_{pattern}16", False)
    got = image_to_rgb(made)
    np.testing.assert_array_equal(got, np.broadcast_to(colour, got.shape))


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv_orders_are_told_apart(encoding, order):
    # Pure red in BT.601 studio range, as OpenCV and V4L2 have it.
    red = {"y": 81, "u": 90, "v": 240}
    row = [red[letter] for letter in order] * 4
    got = image_to_rgb(message(np.array([row] * 4, np.uint8).reshape(4, 8, 2), encoding)).astype(int)
    assert got[..., RED].min() > 240
    assert got[..., GREEN].max() < 15 and got[..., BLUE].max() < 15


def test_the_last_row_may_lack_its_padding(rgb):
    padded = message(rgb, "rgb8", padding=4)
    padded.data = padded.data[:-4]
    np.testing.assert_array_equal(image_to_rgb(padded), rgb)


def test_an_rgb_image_is_not_copied(rgb):
    original = rgb_to_image(rgb, Header())
    view = image_to_rgb(original)
    original.data[0] = (original.data[0] + 1) % 256
    assert view[0, 0, 0] == original.data[0]
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0, 0] = 0


def test_encodings_that_cannot_be_read_are_named_with_those_that_can():
    with pytest.raises(ImageError, match=r"rgb8, bgr8.*got '32FC1'"):
        image_to_rgb(message(np.zeros((2, 2, 4), np.uint8), "32FC1"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"width": 0}, "got 0 x 10"),
        ({"step": 12}, "at least 36 bytes a row .* got step 12"),
        ({"height": 11}, "396 in all .* and 360 bytes"),
        ({"data": b""}, "and 0 bytes"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(rgb, change, complaint):
    wrong = message(rgb, "rgb8")
    for name, value in change.items():
        setattr(wrong, name, value)
    with pytest.raises(ImageError, match=complaint):
        image_to_rgb(wrong)


def test_yuv_images_of_odd_width_are_refused():
    with pytest.raises(ImageError, match="even width for yuyv, got 5"):
        image_to_rgb(message(np.zeros((2, 5, 2), np.uint8), "yuyv"))


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_images_survive_the_way_over_the_wire(rgb, encoding):
    header = Header(frame_id="camera")
    wire = serialize_message(rgb_to_image(rgb, header, encoding))
    back = deserialize_message(wire, Image)
    assert (back.encoding, back.width, back.height, back.header) == (encoding, 12, 10, header)
    np.testing.assert_array_equal(image_to_rgb(back), rgb)


def test_only_two_encodings_are_written(rgb):
    with pytest.raises(ImageError, match="got 'mono8'"):
        rgb_to_image(rgb, Header(), "mono8")


def test_jpeg_images_survive_the_way_over_the_wire():
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    smooth = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 128), -1).astype(np.uint8)
    wire = serialize_message(rgb_to_compressed(smooth, Header(), quality=95))
    back = compressed_to_rgb(deserialize_message(wire, CompressedImage))
    assert np.abs(back.astype(int) - smooth).max() <= 8


def test_png_images_are_read_exactly(rgb):
    png = cv2.imencode(".png", rgb[..., ::-1])[1]
    np.testing.assert_array_equal(compressed_to_rgb(CompressedImage(format="png", data=png.tobytes())), rgb)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_the_beginning_of_an_image_is_no_image(kind, part):
    rough = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    whole = cv2.imencode(kind, rough)[1].tobytes()
    assert compressed_to_rgb(CompressedImage(format="x", data=whole + bytes(100))).shape == (64, 80, 3)
    with pytest.raises(ImageError, match="cut off"):
        compressed_to_rgb(CompressedImage(format="x", data=whole[: int(part * len(whole))]))


def test_pixels_keep_their_places_however_the_camera_was_held():
    picture = np.zeros((4, 16, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    # A quarter turn, as cameras note it in the file's Exif part.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (16, 4, 3)
    assert compressed_to_rgb(CompressedImage(format="jpeg", data=turned)).shape == (4, 16, 3)


@pytest.mark.parametrize("encoding", ["bayer_rggb8", "mono8", "yuyv", "rgb8"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (1, 2), (2, 2), (2, 3)])
def test_tiny_images_are_read_or_refused(encoding, width, height):
    channels = ENCODINGS[encoding].channels
    tiny = message(np.zeros((height, width, channels), np.uint8), encoding)
    if (encoding == "yuyv" and width % 2) or (encoding.startswith("bayer") and min(width, height) < 2):
        with pytest.raises(ImageError, match="expected"):
            image_to_rgb(tiny)
    else:
        assert image_to_rgb(tiny).shape == (height, width, 3)


@pytest.mark.parametrize("data", [b"", b"no image", bytes(100)])
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(ImageError, match=f"got {len(data)} bytes of format 'jpeg'"):
        compressed_to_rgb(CompressedImage(format="jpeg", data=data))


def test_compressed_depth_is_refused():
    with pytest.raises(ImageError, match="colour"):
        compressed_to_rgb(CompressedImage(format="16UC1; compressedDepth png", data=b"x"))


def test_every_encoding_is_tried_above():
    tried = {"rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4", "mono8", "8UC1"}
    tried |= {"mono16", "rgb16", "bgr16", "rgba16", "bgra16"}
    tried |= {f"bayer_{pattern}{bits}" for pattern in ("rggb", "bggr", "gbrg", "grbg") for bits in (8, 16)}
    tried |= {"yuv422", "uyvy", "yuv422_yuy2", "yuyv"}
    assert tried == set(ENCODINGS)
