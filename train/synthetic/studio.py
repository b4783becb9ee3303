"""Draws whole camera images of a right and a left hand, and tells exactly what is in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from h2onet_ros.hand.model import HandModel, open_hand
from train.synthetic import labels, sensor
from train.synthetic.assemble import MIRROR, Posed, hand_pieces, pose_plans, project, scaled_camera
from train.synthetic.backgrounds import Light
from train.synthetic.geometry import ID_OTHER_HAND, NO_TEXTURE, Forearm, HandSurface
from train.synthetic.renderer import Drawn, Renderer, Shot
from train.synthetic.scene import HandPlan, Sensor
from train.synthetic.textures import SkinPainter, TextureSet, noise_surface

SUPERSAMPLING = 2


@dataclass(frozen=True, eq=False)
class HandTruth:
    """A hand of one picture, in camera axes and metres.

    Attributes:
        is_left: whether it is a left hand, the mirror image of the model's.
        posed: vertices, joints, rotation, pose.
        image_points: `(21, 2)` the joints in the picture, pixels.
        occluded: `(6,)` bool: thumb, index, middle, ring, little, whole hand; see `labels`.
        visible_share: of the hand's pixels, had nothing else been there; 0 where none is in the picture.
    """

    is_left: bool
    posed: Posed
    image_points: np.ndarray
    occluded: np.ndarray
    visible_share: float


class Studio:
    """One camera, one light, one person's hands.

    Args:
        camera: `(3, 3)` intrinsics.
        behind: `(H, W, 3)` RGB, what is behind the hands; the pictures have its size.
        light: in camera axes.
        rng: draws the skin and the hands' shape.
        noise: of the sensor, share of full scale.
    """

    def __init__(
        self,
        camera: np.ndarray,
        behind: np.ndarray,
        light: Light,
        rng: np.random.Generator,
        hand: HandModel | None = None,
        tone: float = 2.0,
        noise: float = 0.006,
    ) -> None:
        self.hand = hand or open_hand()
        self.surface = HandSurface(self.hand)
        self.camera, self.behind, self.light = camera, behind, light
        self.textures = TextureSet(
            np.stack([SkinPainter(self.surface).paint(rng, tone=tone), noise_surface(rng)]), 1
        )
        self._size = (behind.shape[1], behind.shape[0])
        self._renderer = Renderer(
            self.textures.layers,
            (self._size[0] * SUPERSAMPLING, self._size[1] * SUPERSAMPLING),
            columns=1,
            rows=1,
            shadow_size=1024,
        )
        self.shape = np.clip(rng.normal(0, 0.7, self.hand.shape_count), -1.5, 1.5)
        self._part = np.asarray(self.hand.vertex_part).astype(int)
        self._part_sizes = np.bincount(self._part, minlength=6)
        self._sensor = Sensor(0.6, 0.004, noise, 92, np.ones(3), 1.0, 0.0)
        self._depth: np.ndarray | None = None

    def draw(
        self,
        right: HandPlan | None,
        left: HandPlan | None,
        things: list[np.ndarray],
        centre: np.ndarray,
        radius: float,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, list[HandTruth]]:
        """A picture RGB `(H, W, 3)` uint8 and the hands in it, the right one first.

        Args:
            right, left: the hands; a left one is planned as it is in the picture (see `left_hand`).
            things: soups of what else is there (see `geometry`).
            centre, radius: the ball `(3,)`, metres, within which shadows are cast.
            rng: makes the sensor's noise.
        """
        plans = [(plan, is_left) for plan, is_left in ((right, False), (left, True)) if plan is not None]
        posed = [pose_plans(self.surface, [(plan, 0.0)], mirrored=is_left)[0] for plan, is_left in plans]
        picture: np.ndarray | None = None
        truths = []
        for own, (plan, is_left) in enumerate(plans):
            pieces = hand_pieces(self.surface, plan, posed[own], mirrored=is_left)
            for other, (its_plan, its_left) in enumerate(plans):
                if other != own:
                    pieces += hand_pieces(self.surface, its_plan, posed[other], ID_OTHER_HAND, its_left)
            drawn = self._draw([*pieces, *things], len(pieces[0]), centre, radius)
            if picture is None:
                picture = sensor.composite(drawn.image, self.behind)
                self._depth = self._renderer.depth()
            truths.append(self._truth(is_left, posed[own], drawn))
        if picture is None:
            picture = self.behind.astype(np.float32)
            self._depth = np.full((self._size[1] * SUPERSAMPLING, self._size[0] * SUPERSAMPLING), np.inf)
        return sensor.expose(picture, self._sensor, np.zeros(2), float(max(self._size)), rng), truths

    def depth(self, wall: float) -> np.ndarray:
        """What a depth camera in the same place sees of the last picture: `(H, W)` float32 metres.

        `wall` is the distance, along the optical axis, of what is behind everything.
        """
        assert self._depth is not None
        rows, columns = (side // SUPERSAMPLING for side in self._depth.shape)
        blocks = self._depth.reshape(rows, SUPERSAMPLING, columns, SUPERSAMPLING)
        return np.minimum(blocks.min((1, 3)), wall).astype(np.float32)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def _draw(self, soups: list[np.ndarray], hand_corners: int, centre: np.ndarray, radius: float) -> Drawn:
        camera = scaled_camera(self.camera, SUPERSAMPLING)
        shot = Shot(np.concatenate(soups), hand_corners, camera, self.light, centre, 1.0, radius)
        return self._renderer.draw([shot])[0]

    def _truth(self, is_left: bool, posed: Posed, drawn: Drawn) -> HandTruth:
        alone = int(np.count_nonzero(drawn.alone))
        share = np.count_nonzero((drawn.ids >= 1) & (drawn.ids <= 6)) / max(alone, 1)
        points = project(posed.vertices, scaled_camera(self.camera, SUPERSAMPLING))
        visible = labels.visible_vertices(drawn.ids, points, self._part)
        return HandTruth(
            is_left,
            posed,
            project(posed.joints, self.camera),
            labels.occlusion(visible, self._part_sizes, share),
            float(share),
        )


def plain_plan(
    angles: np.ndarray, rotation: np.ndarray, wrist: np.ndarray, shape: np.ndarray, forearm: Forearm
) -> HandPlan:
    """A hand that does not move while the picture is taken."""
    still = np.zeros(3)
    return HandPlan(
        angles, angles, shape, rotation, still, wrist, still, 0.0, np.ones(3), 0.25, forearm
    )  # fmt: skip


def left_hand(plan: HandPlan) -> HandPlan:
    """The plan of a left hand, from that of a right one in the picture's mirror image."""
    return HandPlan(
        **{**plan.__dict__, "rotation": MIRROR @ plan.rotation @ MIRROR, "offset": MIRROR @ plan.offset}
    )


def sleeve(colour: tuple[float, float, float]) -> Forearm:
    """A fore-arm in a sleeve of the given linear colour."""
    return Forearm(
        length=0.45,
        wrist_flexion=0.12,
        wrist_deviation=0.05,
        width=0.042,
        thickness=0.036,
        sleeve_start=0.065,
        sleeve_gap=0.009,
        sleeve_colour=np.array(colour),
        sleeve_layer=NO_TEXTURE,
        band_start=2.0,
        band_width=0.01,
        band_colour=np.zeros(3),
    )
