"""What flows through perception: frames in, hands out. Shapes are checked once, when an object is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.camera import Camera

Handedness = Literal["left", "right"]
FloatArray = NDArray[np.float32]


def check_array(owner: str, name: str, array: object, shape: tuple[int | None, ...]) -> None:
    """Raise a ValueError unless `array` is a NumPy array of `shape`, where None stands for any length."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{owner}.{name}: expected an array of shape {shape}, got {type(array).__name__}")
    matches = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=False)
    )
    if not matches:
        raise ValueError(f"{owner}.{name}: expected an array of shape {shape}, got {array.shape}")


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera image.

    Attributes:
        rgb: `(H, W, 3)` uint8, RGB order.
        stamp: time of exposure, integer nanoseconds.
        camera: intrinsics for exactly this image size.
        frame_id: name of the camera's optical frame (REP 103: x right, y down, z forward).
        depth: `(H', W')` float32, metres along the optical axis, registered to the image (REP 118) and maybe
            of another size; NaN, infinity or 0 where nothing is known. None: no depth camera.
    """

    rgb: NDArray[np.uint8]
    stamp: int
    camera: Camera
    frame_id: str = "camera"
    depth: FloatArray | None = None

    def __post_init__(self) -> None:
        check_array("Frame", "rgb", self.rgb, (None, None, 3))
        if self.rgb.dtype != np.uint8:
            raise ValueError(
                f"Frame.rgb: expected uint8, got {self.rgb.dtype}; scale and convert the image first"
            )
        height, width = self.rgb.shape[:2]
        if (width, height) != (self.camera.width, self.camera.height):
            raise ValueError(
                f"Frame: the image is {width} x {height} but the camera is calibrated for "
                f"{self.camera.width} x {self.camera.height}; use Camera.scaled for a resized image"
            )
        if self.depth is not None:
            check_array("Frame", "depth", self.depth, (None, None))
            if self.depth.dtype != np.float32:
                raise ValueError(f"Frame.depth: expected float32 metres, got {self.depth.dtype}")
            rows, columns = self.depth.shape
            unlike = abs(rows * width - columns * height) > max(rows, columns, width, height)
            if unlike or not (rows and columns):
                raise ValueError(
                    f"Frame.depth: expected the proportions of the image, {width} x {height}, got "
                    f"{columns} x {rows}; register the depth image to the colour image"
                )


@dataclass(frozen=True)
class Region:
    """A square part of an image: centre `(x, y)` and side `size` in pixels.

    `angle`, in radians, is how far its content must be turned anti-clockwise, as one sees it, for the hand in
    it to stand upright. Overlaps are compared as if squares were not turned.
    """

    x: float
    y: float
    size: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.x, self.y, self.size, self.angle]).all() and self.size > 0):
            raise ValueError(f"Region: expected a finite centre and a positive size, got {self}")

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge in pixels."""
        half = self.size / 2
        return self.x - half, self.y - half, self.x + half, self.y + half

    @property
    def outline(self) -> FloatArray:
        """The four corners `(4, 2)` of the turned square, in the order they are drawn in."""
        half = self.size / 2
        c, s = np.cos(self.angle), np.sin(self.angle)
        square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
        return (square @ [[c, s], [-s, c]] + [self.x, self.y]).astype(np.float32)

    def iou(self, other: Region) -> float:
        """Intersection over union of the two squares, 0 to 1."""
        return self._intersection(other) / (self.size**2 + other.size**2 - self._intersection(other))

    def overlap(self, other: Region) -> float:
        """Intersection over the smaller of the two squares, 0 to 1: high also for a square inside another."""
        return self._intersection(other) / min(self.size, other.size) ** 2

    def visible_fraction(self, width: int, height: int) -> float:
        """The part of the square's area that lies inside an image of `width` x `height` pixels."""
        left, top, right, bottom = self.corners
        inside_x = max(0.0, min(right, width) - max(left, 0.0))
        inside_y = max(0.0, min(bottom, height) - max(top, 0.0))
        return inside_x * inside_y / self.size**2

    def _intersection(self, other: Region) -> float:
        a, b = self.corners, other.corners
        return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


@dataclass(frozen=True)
class GivenRegion:
    """Where somebody else's detector saw a hand.

    Attributes:
        region: a square that holds the whole hand.
        handedness: of which side the hand is, where that is known.
        score: probability of a hand, 0 to 1.
        is_upright: `region.angle` turns the hand upright; otherwise the hand may point anywhere.
    """

    region: Region
    handedness: Handedness | None = None
    score: float = 1.0
    is_upright: bool = False

    def __post_init__(self) -> None:
        if self.handedness not in ("left", "right", None):
            raise ValueError(
                f'GivenRegion.handedness: expected "left", "right" or None, got {self.handedness!r}'
            )
        if not 0 <= self.score <= 1:
            raise ValueError(f"GivenRegion.score: expected 0 to 1, got {self.score}")


@dataclass(frozen=True, eq=False)
class Hand:
    """One reconstructed hand. Geometry is absolute, in the camera's optical frame, metres.

    Attributes:
        track_id: the same number as long as the same hand is followed; never used twice.
        handedness: whose hand it is as seen by its owner: a left or a right hand.
        handedness_score: confidence in `handedness`, 0.5 to 1.
        detection_score: confidence that the region shows a hand, 0 to 1.
        region: the square of the image the network looked at.
        position: `(3,)` the wrist joint.
        rotation: `(3, 3)` turns canonical directions of the hand into the camera's; a left hand's canonical
            shape is the mirror image (x -> -x) of the right hand's, so this is always a proper rotation.
        joints: `(21, 3)` in the order of `hand.joints.JOINT_NAMES`.
        vertices: `(V, 3)`; a left hand's are mirrored, so its faces turn the other way round.
        occlusion: `(6,)` probability of being hidden: thumb, index, middle, ring, little, whole hand.
        image_points: `(21, 2)` the joints in the image, as the network saw them, pixels.
        reprojection_error: root mean square distance of the projected joints to `image_points`, pixels.
        raw_length: metres from the wrist along the bones to the tip of the middle finger, as the network
            said, before its size was corrected.
        depth_scale: factor on the network's hand that depth asks for in this frame; NaN where none was used.
    """

    track_id: int
    handedness: Handedness
    handedness_score: float
    detection_score: float
    region: Region
    position: FloatArray
    rotation: FloatArray
    joints: FloatArray
    vertices: FloatArray
    occlusion: FloatArray
    image_points: FloatArray
    reprojection_error: float
    raw_length: float = float("nan")
    depth_scale: float = float("nan")

    def __post_init__(self) -> None:
        if self.handedness not in ("left", "right"):
            raise ValueError(f'Hand.handedness: expected "left" or "right", got {self.handedness!r}')
        check_array("Hand", "position", self.position, (3,))
        check_array("Hand", "rotation", self.rotation, (3, 3))
        check_array("Hand", "joints", self.joints, (21, 3))
        check_array("Hand", "vertices", self.vertices, (None, 3))
        check_array("Hand", "occlusion", self.occlusion, (6,))
        check_array("Hand", "image_points", self.image_points, (21, 2))


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The hands of one frame, ordered by track id, and where the time went.

    Attributes:
        stamp: the frame's stamp, nanoseconds.
        frame_id: the frame's camera frame.
        hands: at most the configured number of hands.
        timings: seconds spent per stage, in the order the stages ran; `total` is the whole call.
        warnings: what was wrong with this frame and was left out or forgotten, a sentence each.
    """

    stamp: int
    frame_id: str
    hands: tuple[Hand, ...]
    timings: dict[str, float]
    warnings: tuple[str, ...] = ()
