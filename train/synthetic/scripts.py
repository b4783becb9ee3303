"""Scripted recordings for tests and measurements of perception: what happens is known, and so is the truth.

Each script asks for one thing: hands that cross, one that is hidden for a while, one that leaves and comes
back, one that rests, one that waves, and cameras of several focal lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from h2onet_ros.hand.model import HandModel, open_hand
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import Frame
from train.synthetic.backgrounds import random_light
from train.synthetic.geometry import thing_soup
from train.synthetic.recording import Track
from train.synthetic.studio import HandTruth, Studio, left_hand, plain_plan, sleeve
from train.synthetic.textures import noise_surface

WALL = 1.6
"""Distance of the background, metres."""

Things = Callable[[float], list[np.ndarray]]


def _nothing(second: float) -> list[np.ndarray]:
    return []


def _camera(width: int, height: int, focal: float, centre: tuple[float, float] = (0.5, 0.5)) -> Camera:
    """`centre`: the principal point as parts of the image's size."""
    k = np.array([[focal, 0, centre[0] * width - 0.5], [0, focal, centre[1] * height - 0.5], [0, 0, 1.0]])
    return Camera(width, height, k)


@dataclass(frozen=True, eq=False)
class Script:
    """What happens before the camera.

    Attributes:
        seconds: how long.
        right, left: the hands' courses (see `recording.Track`); the left one's is of the picture's mirror
            image.
        camera: the pinhole camera.
        things: soups of other things in front of it at a second.
        size: factor on the hand's size.
        rate: frames per second.
        seed: of skin, light, background, noise and the hand's shape.
    """

    seconds: float
    right: Track | None = None
    left: Track | None = None
    camera: Camera = field(default_factory=lambda: _camera(480, 360, 409.0, (0.503, 0.494)))
    things: Things = _nothing
    size: float = 1.0
    rate: float = 30.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Shown:
    """A frame with its depth image, and the hands in it, the right one first."""

    frame: Frame
    hands: list[HandTruth]

    @property
    def without_depth(self) -> Frame:
        return replace(self.frame, depth=None)


def perform(script: Script) -> Iterator[Shown]:
    """The frames of a script, in order.

    Raises:
        RuntimeError: no off-screen OpenGL.
    """
    camera = script.camera
    rng = np.random.default_rng(script.seed)
    side = max(camera.width, camera.height)
    surface = cv2.resize(noise_surface(rng), (side, side))[: camera.height, : camera.width]
    behind = cv2.GaussianBlur(surface, (0, 0), side / 60)
    studio = Studio(camera.k, behind, random_light(rng), rng, _sized(open_hand(), script.size))
    cover = sleeve((0.05, 0.08, 0.16))
    try:
        for index in range(round(script.seconds * script.rate)):
            second = index / script.rate
            right, left = (
                None if track is None else plain_plan(*track.at(studio.hand, second), studio.shape, cover)
                for track in (script.right, script.left)
            )
            picture, truths = studio.draw(
                right,
                None if left is None else left_hand(left),
                script.things(second),
                np.array([0, 0.0, 0.5]),
                0.4,
                np.random.default_rng([script.seed, index]),
            )
            stamp = round(second * 1e9)
            yield Shown(Frame(picture, stamp, camera, "camera", studio.depth(WALL)), truths)
    finally:
        studio.close()


def _sized(hand: HandModel, factor: float) -> HandModel:
    if factor == 1:
        return hand
    return replace(hand, template=hand.template * factor, shape_basis=hand.shape_basis * factor)


def _course(*rows: tuple[float, str, tuple[float, float, float], tuple[float, float, float]]) -> Track:
    return Track(list(rows))


def crossing() -> Script:
    """Two hands change sides and come back, the left one behind the right one."""
    near = _course(
        (0.0, "open", (0, 0, 4), (-0.11, 0.08, 0.44)),
        (0.8, "open", (-10, 0, 0), (-0.10, 0.08, 0.44)),
        (1.8, "relaxed", (10, -5, 6), (0.12, 0.09, 0.43)),
        (2.2, "open", (0, 0, 0), (0.12, 0.08, 0.44)),
        (3.2, "open", (0, 0, 4), (-0.11, 0.08, 0.44)),
    )
    far = _course(
        (0.0, "relaxed", (0, 0, 0), (-0.13, 0.07, 0.60)),
        (0.8, "open", (8, 0, 4), (-0.12, 0.07, 0.60)),
        (1.8, "open", (0, 0, -4), (0.14, 0.08, 0.61)),
        (2.2, "victory", (0, 0, 0), (0.14, 0.08, 0.60)),
        (3.2, "relaxed", (0, 0, 0), (-0.13, 0.07, 0.60)),
    )
    return Script(3.2, near, far, seed=18)


def hidden() -> Script:
    """A board passes in front of a hand that keeps still but for its fingers."""
    still = _course(
        (0.0, "open", (0, 0, 0), (-0.04, 0.09, 0.52)),
        (1.2, "relaxed", (-10, 0, 5), (-0.02, 0.09, 0.52)),
        (2.4, "open", (0, -5, 0), (-0.03, 0.09, 0.52)),
    )

    def board(second: float) -> list[np.ndarray]:
        if not 0.7 < second < 1.7:
            return []
        place = np.array([-0.45 + (second - 0.7) * 0.9, 0.0, 0.36])
        looks = np.array([0.2, 0.3, 0.5])
        size = np.array([0.07, 0.2, 0.004])
        return [thing_soup("box", size, np.eye(3), place, looks, -1.0, 1.0, 0.2)]

    return Script(2.4, still, things=board, seed=2)


def leaving() -> Script:
    """A hand goes out of the image, to its side, and comes back half a second later."""
    course = _course(
        (0.0, "open", (0, 0, 0), (-0.10, 0.08, 0.50)),
        (0.6, "open", (0, 0, 0), (-0.12, 0.08, 0.50)),
        (1.05, "open", (0, 0, 0), (-0.42, 0.08, 0.50)),
        (1.25, "open", (0, 0, 0), (-0.42, 0.08, 0.50)),
        (1.7, "open", (0, 0, 0), (-0.12, 0.08, 0.50)),
        (2.4, "relaxed", (0, 0, 0), (-0.10, 0.08, 0.50)),
    )
    return Script(2.4, course, seed=14)


def resting() -> Script:
    """A hand held still."""
    row = ("open", (10.0, -8.0, 5.0), (-0.02, 0.08, 0.5))
    return Script(2.0, _course((0.0, *row), (2.0, *row)), seed=8)


def waving(across: float = 0.12, along: float = 0.0) -> Script:
    """A hand that goes back and forth by `across` metres to the side and `along` metres in depth, at 1 Hz."""
    rows = []
    for k in range(13):
        phase = np.sin(2 * np.pi * k / 6)
        rows.append((k / 6, "open", (0.0, 0.0, 12 * phase), (across * phase, 0.08, 0.5 + along * phase)))
    return Script(2.0, _course(*rows), seed=5)


CAMERAS = {
    "wide": (_camera(480, 360, 240.0), 0.30),
    "usual": (_camera(480, 360, 409.0, (0.503, 0.494)), 0.50),
    "long": (_camera(480, 360, 820.0), 1.0),
    "off centre": (_camera(480, 360, 409.0, (0.12, 0.9)), 0.50),
}
"""Cameras, and the distance of a hand that looks as large in all of them."""


def two_hands(camera: str, size: float = 1.0, seconds: float = 1.6) -> Script:
    """Both hands before one of `CAMERAS`, moving and turning."""
    lens, distance = CAMERAS[camera]
    middle = lens.normalise(np.array([lens.width / 2, lens.height / 2])) * distance
    near, far = distance * size, distance * size + 0.05
    apart = 0.19 * distance * size

    def course(sign: float, away: float, turns: tuple[float, ...]) -> Track:
        poses = ("open", "relaxed", "open", "victory", "open")
        rows = []
        for k, (pose, turn) in enumerate(zip(poses, turns, strict=True)):
            x = (sign * middle[0] - apart + 0.02 * (k % 2)) * away / distance
            y = (middle[1] + 0.15 * distance * size + 0.01 * (k % 3)) * away / distance
            rows.append((k * seconds / 4, pose, (turn, turn / 3, -turn / 4), (x, y, away + 0.02 * (k % 2))))
        return Track(rows)

    return Script(
        seconds,
        course(1, near, (0, 25, -20, 15, 0)),
        course(-1, far, (-10, 20, 10, -25, 0)),
        camera=lens,
        size=size,
        rate=15.0,
        seed=6,
    )
