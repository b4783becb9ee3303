"""Turns planned scenes into triangles, pictures and labels, a batch of frames at a time."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from h2onet_ros.hand.model import HandModel
from train.synthetic import labels, sensor
from train.synthetic.backgrounds import BackgroundLibrary
from train.synthetic.geometry import (
    ID_FOREARM,
    ID_OTHER_HAND,
    HandSurface,
    contact_shade,
    forearm_soup,
    soup,
    thing_soup,
)
from train.synthetic.renderer import Drawn, Renderer, Shot
from train.synthetic.scene import HandPlan, Held, Scene

CROP_SIZE = 160
CROP_MARGIN = 2.0
"""The crop is a square about the joints' box, of this many times its longer side."""
SUPERSAMPLING = 1.5

MIRROR = np.diag([-1.0, 1, 1])


@dataclass(frozen=True)
class Posed:
    """A hand of one frame in camera axes: vertices, normals `(V, 3)`, joints `(21, 3)`, openness `(V,)`."""

    vertices: np.ndarray
    normals: np.ndarray
    joints: np.ndarray
    openness: np.ndarray
    rotation: np.ndarray
    pose: np.ndarray
    canonical_wrist: np.ndarray


@dataclass(frozen=True)
class RenderedFrame:
    """One finished crop `image` RGB uint8 and its labels, named and shaped as in `shards`.

    `in_view` is the share of the joints within the camera's image.
    """

    image: np.ndarray
    labels: dict[str, np.ndarray]
    in_view: float


class Assembler:
    """Draws scenes with one renderer, whose tiles must be `CROP_SIZE * SUPERSAMPLING` square."""

    def __init__(self, surface: HandSurface, renderer: Renderer, backgrounds: BackgroundLibrary) -> None:
        self.surface, self.renderer, self.backgrounds = surface, renderer, backgrounds
        self._part = np.asarray(surface.hand.vertex_part).astype(int)
        rest = surface.hand.joints(np.asarray(surface.hand.template))
        self._reach = float(np.linalg.norm(rest[9] - rest[0]))
        self._part_sizes = np.bincount(self._part, minlength=6)

    def render(self, scenes: list[tuple[Scene, np.random.Generator]]) -> list[list[RenderedFrame]]:
        """Frames of each scene, now first. The generators make the sensor's noise."""
        moments = [(scene, rng, time) for scene, rng in scenes for time in scene.times]
        hands = pose_plans(self.surface, [(scene.hand, time) for scene, _, time in moments])
        with_other = [k for k, (scene, _, _) in enumerate(moments) if scene.other is not None]
        others: dict[int, Posed] = {}
        if with_other:
            plans = [(moments[k][0].other, moments[k][2]) for k in with_other]
            others = dict(zip(with_other, pose_plans(self.surface, plans, mirrored=True)))  # type: ignore[arg-type]
        frames: list[RenderedFrame] = []
        for start in range(0, len(moments), self.renderer.capacity):
            rows = range(start, min(start + self.renderer.capacity, len(moments)))
            crops = [crop_camera(moments[k][0].camera, hands[k].joints) for k in rows]
            shots = [
                self._shot(moments[k][0], moments[k][2], hands[k], others.get(k), hands, k, crop)
                for k, (crop, _) in zip(rows, crops)
            ]
            for k, (crop, side), drawn in zip(rows, crops, self.renderer.draw(shots)):
                frames.append(self._finish(*moments[k], hands[k], crop, side, drawn))
        finished, at = [], 0
        for scene, _ in scenes:
            finished.append(frames[at : at + len(scene.times)])
            at += len(scene.times)
        return finished

    def _shot(
        self,
        scene: Scene,
        time: float,
        hand: Posed,
        other: Posed | None,
        hands: list[Posed],
        index: int,
        crop: np.ndarray,
    ) -> Shot:
        pieces = hand_pieces(self.surface, scene.hand, hand)
        if other is not None and scene.other is not None:
            pieces += hand_pieces(self.surface, scene.other, other, ID_OTHER_HAND, mirrored=True)
        for thing in scene.things:
            position = thing.position + thing.velocity * time
            pieces.append(
                thing_soup(
                    thing.shape, thing.size, thing.rotation, position, thing.colour, thing.layer,
                    thing.texture_scale, thing.gloss,
                )
            )  # fmt: skip
        if scene.held is not None:
            # The grip is found now and kept in the hand: what one holds moves along.
            now = hands[index - scene.times.index(time)]
            size, turn, position = grip_in_hand(
                scene.held, (now.joints - now.joints[0]) @ now.rotation, self._reach
            )
            looks = scene.held.looks
            pieces.append(
                thing_soup(
                    looks.shape, size, hand.rotation @ turn, hand.rotation @ position + hand.joints[0],
                    looks.colour, looks.layer, looks.texture_scale, looks.gloss,
                )
            )  # fmt: skip
        return Shot(
            soup=np.concatenate(pieces),
            hand_corners=len(pieces[0]),
            camera=scaled_camera(crop, SUPERSAMPLING),
            light=scene.backdrop.light,
            centre=hand.joints[[0, 9]].mean(0),
            exposure=scene.exposure,
        )

    def _finish(
        self,
        scene: Scene,
        rng: np.random.Generator,
        time: float,
        hand: Posed,
        crop: np.ndarray,
        side: float,
        drawn: Drawn,
    ) -> RenderedFrame:
        outside = outside_image(scene, crop, side, CROP_SIZE)
        outside_fine = cv2.resize(
            outside.astype(np.uint8), drawn.ids.shape[::-1], interpolation=cv2.INTER_NEAREST
        )
        ids = np.where(outside_fine > 0, 0, drawn.ids)
        alone = np.count_nonzero(drawn.alone & (outside_fine == 0))
        share = np.count_nonzero((ids >= 1) & (ids <= 6)) / max(int(alone), 1)
        points = project(hand.vertices, scaled_camera(crop, SUPERSAMPLING))
        visible = labels.visible_vertices(ids, points, self._part)

        shift = (float(scene.shake[0] * time), float(scene.shake[1] * time))
        background = self.backgrounds.view(scene.backdrop, crop, CROP_SIZE, shift)
        brightness = np.float32(np.clip(scene.exposure, 0.45, 1.6) ** 0.45)
        picture = sensor.composite(drawn.image, np.clip(background * brightness, 0, 255))
        ahead = project(hand.joints[9:10] + scene.hand.velocity * 0.01, crop) - project(
            hand.joints[9:10], crop
        )
        picture = sensor.expose(picture, scene.sensor, ahead[0] / 0.01, side, rng)
        picture[outside] = 0
        wrist = hand.joints[0]
        return RenderedFrame(
            picture,
            {
                "time": np.asarray(time, np.float32),
                "vertices": (hand.vertices - wrist).astype(np.float32),
                "joints": (hand.joints - wrist).astype(np.float32),
                "wrist": wrist.astype(np.float32),
                "rotation": hand.rotation.astype(np.float32),
                "canonical_wrist": hand.canonical_wrist.astype(np.float32),
                "pose": hand.pose.astype(np.float32),
                "shape": scene.hand.shape.astype(np.float32),
                "joints2d": project(hand.joints, crop).astype(np.float32),
                "camera": crop.astype(np.float32),
                "occluded": labels.occlusion(visible, self._part_sizes, share),
                "visible_vertices": visible.astype(np.int16),
                "visible_share": np.asarray(share, np.float32),
                "native_size": np.asarray(side, np.float32),
            },
            joints_in_view(scene, hand.joints),
        )


def pose_plans(
    surface: HandSurface, plans: list[tuple[HandPlan, float]], mirrored: bool = False
) -> list[Posed]:
    """Pose hands as planned at their times, in camera axes; `mirrored` makes left hands of them."""
    hand: HandModel = surface.hand
    pose = hand.pose_from_angles(np.stack([plan.angles_at(time) for plan, time in plans]))
    pose[:, 0] = 0
    unturned = hand.pose(pose, np.stack([plan.shape for plan, _ in plans]))
    rotation = np.stack([plan.rotation_at(time) for plan, time in plans])
    flip = MIRROR if mirrored else np.eye(3)
    turn = rotation @ flip
    wrist = unturned.joints[:, :1].astype(np.float64)
    offset = np.stack([plan.offset_at(time) for plan, time in plans])[:, None]
    vertices = (unturned.vertices - wrist) @ turn.transpose(0, 2, 1) + offset
    joints = (unturned.joints - wrist) @ turn.transpose(0, 2, 1) + offset
    normals = surface.normals(vertices.astype(np.float32)) * (-1 if mirrored else 1)
    own = np.asarray(hand.vertex_part)
    posed = []
    for begin in range(0, len(plans), 16):
        rows = slice(begin, begin + 16)
        openness = contact_shade(
            vertices[rows].astype(np.float32), normals[rows], joints[rows].astype(np.float32), own
        )
        for k, shade in enumerate(openness, begin):
            pose[k, 0] = cv2.Rodrigues(rotation[k])[0][:, 0]
            posed.append(Posed(vertices[k], normals[k], joints[k], shade, rotation[k], pose[k], wrist[k, 0]))
    return posed


def hand_pieces(
    surface: HandSurface, plan: HandPlan, posed: Posed, identity: int | None = None, mirrored: bool = False
) -> list[np.ndarray]:
    """Soups of a hand (with its parts' ids unless `identity` is given) and of its fore-arm."""
    corners = surface.corners
    ids = surface.part_ids if identity is None else float(identity)
    colour = plan.skin_colour.astype(np.float32)
    hand = soup(
        posed.vertices[corners], posed.normals[corners], surface.texture, plan.skin_layer, colour,
        posed.openness[corners], plan.gloss, ids,
    )  # fmt: skip
    ring = surface.ring
    arm = forearm_soup(
        surface,
        plan.forearm,
        posed.vertices[ring],
        posed.normals[ring],
        posed.openness[ring],
        posed.rotation @ MIRROR if mirrored else posed.rotation,
        plan.skin_layer,
        colour,
        ID_FOREARM if identity is None else identity,
    )
    return [hand, arm]


def grip_in_hand(held: Held, joints: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Size `(3,)`, rotation `(3, 3)` and position `(3,)` of a held thing in the hand's frame, wrist at the
    origin.

    `joints` `(21, 3)` are the hand's, unrotated, relative to the wrist; `reach` is the distance from wrist to
    middle knuckle of the hand that the grip was made for.
    """
    radius = held.radius
    if held.grip is None:  # between thumb and index finger
        axis = held.tilt * 4 + (0, -0.6, -0.8)
        centre = joints[[4, 8]].mean(0)
    else:
        larger = float(np.linalg.norm(joints[9])) / reach
        axis, centre, radius = held.grip.axis, held.grip.centre * larger, radius * larger
    axis = axis / np.linalg.norm(axis)
    side = np.cross(axis, (1.0, 0, 0) if abs(axis[0]) < 0.8 else (0, 1.0, 0))
    side /= np.linalg.norm(side)
    turn = np.stack([side, np.cross(axis, side), axis], 1)
    size = held.looks.size * radius
    if held.looks.shape == "sphere":
        size = np.full(3, radius)
    elif held.looks.shape == "box":
        size = size * (0.72, 0.72, 1)
    slide = axis * held.tilt[2] * size[2] if held.looks.shape != "sphere" else 0.0
    return size, turn, centre + slide


def crop_camera(camera: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, float]:
    """Intrinsics `(3, 3)` of the square crop about joints `(21, 3)`, and its side in the camera's pixels."""
    points = project(joints, camera)
    low, high = points.min(0), points.max(0)
    side = float((high - low).max() * CROP_MARGIN)
    corner = (low + high) / 2 - side / 2
    scale = CROP_SIZE / side
    move = np.array([[scale, 0, -corner[0] * scale - 0.5], [0, scale, -corner[1] * scale - 0.5], [0, 0, 1]])
    return move @ camera, side


def scaled_camera(camera: np.ndarray, factor: float) -> np.ndarray:
    """Intrinsics of the same image with `factor` times the pixels along each side."""
    shift = (factor - 1) / 2
    return np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1]]) @ camera


def project(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Pixels `(n, 2)` of points `(n, 3)` in the camera frame."""
    image = points @ camera.T
    return image[:, :2] / image[:, 2:]


def joints_in_view(scene: Scene, joints: np.ndarray) -> float:
    """The share of joints `(21, 3)` that lie within the camera's image."""
    points = project(joints, scene.camera)
    return float(((points >= 0) & (points <= (scene.width - 1, scene.height - 1))).all(1).mean())


def outside_image(scene: Scene, crop: np.ndarray, side: float, size: int) -> np.ndarray:
    """Which pixels of the crop `(size, size)` lie beyond the camera's image."""
    scale = crop[0, 0] / scene.focal
    left, top = crop[0, 2] - scene.camera[0, 2] * scale, crop[1, 2] - scene.camera[1, 2] * scale
    column, row = np.arange(size), np.arange(size)
    x, y = (column - left) / scale, (row - top) / scale
    out_x = (x < -0.5) | (x > scene.width - 0.5)
    out_y = (y < -0.5) | (y > scene.height - 0.5)
    return out_y[:, None] | out_x[None, :]
