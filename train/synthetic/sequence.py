"""Hands that move before a camera as a seed has it, image by image, with all that is known of them.

One hand wanders and changes its pose; two go past each other again and again, the left one behind. This is
what `h2onet make-bag --synthetic` records. The same arguments give the same truth, byte by byte, and on one
machine the same images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np

from h2onet_ros.bag.camera_recording import Moment
from h2onet_ros.bag.units import SECOND
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import FrameResult, Hand, Region
from train.synthetic.backgrounds import random_light
from train.synthetic.recording import Track
from train.synthetic.studio import HandTruth, Studio, left_hand, plain_plan, sleeve
from train.synthetic.textures import noise_surface

WALL = 1.6
"""Distance of the background in depth images, metres."""
_POSES = ("open", "relaxed", "open", "victory", "relaxed", "point", "grip", "fist")
_APART = 0.11
"""Metres between the planes in which two hands move, so that they do not touch."""
_HAND = 0.19
"""Metres from the wrist to the tip of the middle finger."""


class SyntheticFootage:
    """Rendered hands as footage for a recording; see `camera_recording.Footage`.

    Args:
        hands: 1 (a right hand) or 2.
        seconds: how long.
        seed: of everything that is drawn by chance: movement, shape, skin, light, background, noise.
        size: width and height of the images in pixels.
        focal: focal length in pixels; 0.85 times the width without it.
        frame_rate: images a second.
        has_depth: whether depth images are made.

    Raises:
        RuntimeError: no off-screen OpenGL.
        ValueError: for a camera so wide or so narrow that hands do not fit before it.
    """

    def __init__(
        self,
        hands: Literal[1, 2] = 1,
        seconds: float = 7.0,
        seed: int = 0,
        size: tuple[int, int] = (640, 480),
        focal: float | None = None,
        frame_rate: float = 30.0,
        has_depth: bool = False,
    ) -> None:
        focal = focal or 0.85 * size[0]
        distance = focal * _HAND / (0.42 * min(size))
        if not 0.2 < distance < 3:
            raise ValueError(
                f"A hand would fill the image at {distance:.2f} m, expected 0.2 to 3 m: a focal length of "
                f"{focal:g} pixels does not go with images of {size[0]} x {size[1]} pixels."
            )
        self.size, self.frame_rate, self.has_depth = size, frame_rate, has_depth
        self.frame_count = max(1, round(seconds * frame_rate))
        self.problems: list[str] = []
        self.description = f"{hands} rendered hand{'s' if hands == 2 else ''} (seed {seed})"
        self._seed = seed
        rng = np.random.default_rng(seed)
        k = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1.0]])
        # No camera's optical axis meets the middle of its image.
        k[:2, 2] += rng.normal(0, 0.01, 2) * size
        self.camera = Camera(*size, k)
        reach = size[0] / 2 / focal * distance
        right = _wander(rng, seconds, reach, distance, crosses=hands == 2)
        left = _wander(rng, seconds, reach * 1.1, distance + _APART, crosses=True)
        self._tracks = (right, left if hands == 2 else None)
        self._centre = np.array([0, 0, distance])
        self._radius = reach + 0.15
        behind = _background(rng, size)
        tint = np.square(behind[::8, ::8].reshape(-1, 3) / 255.0).mean(0)
        tone = float(rng.uniform(0, 5))
        self._studio = Studio(k, behind, random_light(rng, tint), rng, tone=tone)
        self._sleeve = sleeve(tuple(rng.uniform(0.02, 0.3, 3)))
        self.mesh = self._studio.hand

    def moments(self) -> Iterator[Moment]:
        for index in range(self.frame_count):
            yield self._moment(index)

    def _moment(self, index: int) -> Moment:
        right, left = (
            None
            if track is None
            else plain_plan(
                *track.at(self._studio.hand, index / self.frame_rate), self._studio.shape, self._sleeve
            )
            for track in self._tracks
        )
        picture, truths = self._studio.draw(
            right,
            None if left is None else left_hand(left),
            [],
            self._centre,
            self._radius,
            np.random.default_rng([self._seed, index]),
        )
        time = round(index / self.frame_rate * SECOND)
        hands = tuple(self._hand(truth) for truth in truths if self._is_in_view(truth))
        return Moment(
            time,
            np.ascontiguousarray(picture[..., ::-1]),
            depth=self._studio.depth(WALL) if self.has_depth else None,
            truth=FrameResult(time, "", hands, {}),
        )

    def _is_in_view(self, truth: HandTruth) -> bool:
        """Whether most joints are within the image: nobody could be asked to find the hand otherwise."""
        inside = (truth.image_points >= 0) & (truth.image_points <= np.array(self.size) - 1)
        return float(inside.all(1).mean()) > 0.5

    def _hand(self, truth: HandTruth) -> Hand:
        points = truth.image_points
        low, high = points.min(0), points.max(0)
        middle, joints = (low + high) / 2, truth.posed.joints
        return Hand(
            track_id=2 if truth.is_left else 1,
            handedness="left" if truth.is_left else "right",
            handedness_score=1.0,
            detection_score=1.0,
            region=Region(float(middle[0]), float(middle[1]), float((high - low).max() * 1.5)),
            position=joints[0].astype(np.float32),
            rotation=truth.posed.rotation.astype(np.float32),
            joints=joints.astype(np.float32),
            vertices=truth.posed.vertices.astype(np.float32),
            occlusion=truth.occluded.astype(np.float32),
            image_points=points.astype(np.float32),
            reprojection_error=0.0,
        )


def _wander(rng: np.random.Generator, seconds: float, reach: float, distance: float, crosses: bool) -> Track:
    """A right hand's course: at `distance` metres, within `reach` metres of the middle.

    One that crosses changes sides every other time, beginning at the side of its own.
    """
    rows: list[tuple[float, str, tuple[float, float, float], tuple[float, float, float]]] = []
    time, last = 0.0, ""
    while not rows or rows[-1][0] <= seconds:
        pose = str(rng.choice([name for name in _POSES if name != last]))
        turn = (rng.uniform(-35, 35), rng.uniform(-15, 10), rng.uniform(-18, 18))
        side = -1 if len(rows) // 2 % 2 == 0 else 1
        x = reach * (side * rng.uniform(0.35, 0.5) if crosses else rng.uniform(-0.45, 0.45))
        place = (x, _HAND * rng.uniform(0.35, 0.6), distance + rng.uniform(-0.02, 0.02))
        rows.append((time, pose, turn, place))
        time, last = time + rng.uniform(0.8, 1.3), pose
    return Track(rows)


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A made-up surface out of focus, RGB `(H, W, 3)` uint8: detail would be taken for a hand's."""
    surface = cv2.resize(noise_surface(rng), (max(size), max(size)), interpolation=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(surface[: size[1], : size[0]], (0, 0), max(size) / 60)
