"""Pictures for the miniature data sets: a hand that moves, a box in front of it, and the exact truth.

They come from the synthetic renderer where there is off-screen OpenGL, else from a plain painter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from h2onet_ros.hand.joints import FINGER_NAMES, MANO_JOINT_NAMES
from h2onet_ros.hand.mano import ManoFile
from h2onet_ros.hand.model import HandModel, open_hand
from train.datasets import raw_dexycb
from train.occlusion.raster import draw_parts
from train.synthetic import labels
from train.synthetic.geometry import NO_TEXTURE, soup, thing_soup

WIDTH, HEIGHT = 640, 480
ID_THING = 9
CAMERAS = {
    serial: (600.0 + number, 602.0 - number, 316.0 + 1.7 * number, 243.0 - 1.3 * number)
    for number, serial in enumerate(raw_dexycb.CAMERAS)
}
"""Focal lengths and principal points of DexYCB's cameras in the miniature."""


@dataclass
class Shown:
    """One picture and its truth, as stored (left hands not mirrored)."""

    image: np.ndarray
    hand_pixels: np.ndarray
    thing_pixels: np.ndarray
    camera: np.ndarray
    joints: np.ndarray
    vertices: np.ndarray
    points: np.ndarray
    pose: np.ndarray
    shape: np.ndarray
    left: bool
    occluded: np.ndarray
    visible: np.ndarray
    visible_share: float


class Painter:
    """Draws a hand, a thing and a background: with OpenGL where there is, else with the label rasteriser."""

    def __init__(self, hand: HandModel) -> None:
        self._hand = hand
        self._gl: Any = None
        try:
            from train.synthetic.renderer import Renderer

            self._gl = Renderer(np.full((1, 8, 8, 3), 255, np.uint8), (WIDTH, HEIGHT), 1, 1, 256)
        except (ImportError, RuntimeError):
            pass

    @property
    def exact(self) -> bool:
        """Whether pictures and labels come from the synthetic renderer."""
        return self._gl is not None

    def close(self) -> None:
        if self._gl is not None:
            self._gl.close()

    def draw(
        self, vertices: np.ndarray, thing: np.ndarray, camera: np.ndarray, background: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Picture, ids of what is in front (parts 1..6, `ID_THING`), and pixels of the hand alone."""
        draw = self._with_opengl if self._gl is not None else self._plainly
        return draw(vertices, thing, camera, background)

    def _corners(self, vertices: np.ndarray) -> np.ndarray:
        hand = self._hand
        a, b, c = (vertices[hand.faces[:, k]] for k in range(3))
        normals = np.zeros_like(vertices)
        for k in range(3):
            np.add.at(normals, hand.faces[:, k], np.cross(b - a, c - a))
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        corners = hand.faces.reshape(-1)
        parts = np.repeat(hand.face_part, 3)
        # Fingers differ a little in colour, so that a network can tell them apart.
        colours = np.array([(0.62, 0.36, 0.26), (0.6, 0.3, 0.3), (0.7, 0.42, 0.28)])[parts % 3]
        return soup(vertices[corners], normals[corners], colour=colours, identity=parts + 1.0)

    def _with_opengl(
        self, vertices: np.ndarray, thing: np.ndarray, camera: np.ndarray, background: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        from train.synthetic.backgrounds import Light
        from train.synthetic.renderer import Shot

        corners = self._corners(vertices)
        ambient = np.zeros((9, 3), np.float32)
        ambient[0] = 1.2
        sun = np.array([-0.4, -0.7, -0.6])
        light = Light(ambient, sun / np.linalg.norm(sun), np.full(3, 1.1))
        matrix = np.array([[camera[0], 0, camera[2]], [0, camera[1], camera[3]], [0, 0, 1]])
        shot = Shot(np.concatenate([corners, thing]), len(corners), matrix, light, vertices.mean(0), 1.0)
        drawn = self._gl.draw([shot])[0]
        picture = np.where(drawn.image[..., 3:] > 0, drawn.image[..., :3], background)
        return picture, np.array(drawn.ids), np.array(drawn.alone)

    def _plainly(
        self, vertices: np.ndarray, thing: np.ndarray, camera: np.ndarray, background: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hand = self._hand
        ids, near = draw_parts(vertices, hand.faces, hand.face_part, camera, (WIDTH, HEIGHT))
        alone = ids > 0
        thing_ids, thing_near = draw_parts(
            thing[:, :3],
            np.arange(len(thing)).reshape(-1, 3),
            np.zeros(len(thing) // 3, np.int8),
            camera,
            (WIDTH, HEIGHT),
        )
        hidden = (thing_ids > 0) & (thing_near > near)
        ids[hidden] = ID_THING
        relief = np.clip(0.75 + 60 * cv2.Sobel(near, cv2.CV_32F, 1, 1), 0.3, 1)
        table = np.array([background.mean((0, 1))] + [(215, 165, 140), (205, 150, 145)] * 3 + [(0, 0, 0)] * 3)
        table[ID_THING] = (60, 90, 160)
        picture = np.where(ids[..., None] > 0, table[ids] * relief[..., None], background)
        return picture.astype(np.uint8), ids, alone


class Clip:
    """A short recording: a hand that turns and bends while a box passes in front of it."""

    def __init__(
        self, mano: ManoFile, painter: Painter, seed: int, left: bool, person: int, camera: str
    ) -> None:
        self._mano, self._painter, self._left = mano, painter, left
        rng = np.random.default_rng(seed)
        self._rng = rng
        self._bend = rng.uniform(0.0, 0.9, (2, 5))
        self._turn = rng.normal(0, 0.35, (2, 3))
        self._place = np.array([rng.uniform(-0.06, 0.06), 0.1, rng.uniform(0.55, 0.75)])
        self._shape = np.random.default_rng([person, 5]).normal(0, 0.5, 10)
        self._camera = np.array(CAMERAS[camera])
        self._thing_size = rng.uniform(0.025, 0.065, 3)
        coarse = rng.integers(30, 225, (4, 5, 3), dtype=np.uint8)
        self._background = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)

    def frame(self, time: float) -> Shown:
        """What there is to see at `time` in 0..1."""
        hand, mano, left = self._mano.hand, self._mano, self._left
        angles = np.zeros((16, 3))
        bend = (1 - time) * self._bend[0] + time * self._bend[1]
        for finger, name in enumerate(FINGER_NAMES):
            joints = [i for i, joint in enumerate(MANO_JOINT_NAMES) if joint.startswith(name)]
            angles[joints, 0] = bend[finger] * (0.4 if name == "thumb" else 1.0)
        # A MANO file does not tell how fingers bend; the open hand does.
        full = open_hand().pose_from_angles(angles)
        pose = full - np.concatenate([np.zeros((1, 3)), mano.mean_pose])
        pose[0] = (1 - time) * self._turn[0] + time * self._turn[1]
        full = mano.full_pose(pose.reshape(48))
        posed = hand.pose(full, self._shape)
        wrist = posed.joints[0]
        place = self._place + np.array([0.03 * time, 0, 0])
        vertices, joints = (a.astype(np.float64) - wrist + place for a in (posed.vertices, posed.joints))
        camera = self._camera.copy()
        if left:
            # The scene is that of a right hand, photographed through a mirror.
            camera[2] = WIDTH - 1 - camera[2]
        middle = joints[[5, 9, 17]].mean(0)
        thing = thing_soup(
            "box",
            self._thing_size,
            np.eye(3),
            middle * 0.8 + [0.13 * (time - 0.6), -0.02, 0],
            np.array([0.1, 0.25, 0.6]),
            NO_TEXTURE,
            1.0,
            0.3,
            ID_THING,
        )
        background = self._background[:, ::-1] if left else self._background
        picture, ids, alone = self._painter.draw(vertices.astype(np.float32), thing, camera, background)
        noise = self._rng.integers(-3, 4, (*picture.shape[:2], 1))
        picture = np.clip(picture.astype(np.int16) + noise, 0, 255).astype(np.uint8)
        hand_pixels = (ids >= 1) & (ids <= 6)
        corners = vertices[:, :2] / vertices[:, 2:] * camera[:2] + camera[2:]
        visible = labels.visible_vertices(ids, corners, hand.vertex_part)
        sizes = np.bincount(hand.vertex_part, minlength=6)
        share = float(hand_pixels.sum() / max(int(alone.sum()), 1))
        occluded = labels.occlusion(visible, sizes, share)
        points = joints[:, :2] / joints[:, 2:] * camera[:2] + camera[2:]
        thing_pixels = ids == ID_THING
        if left:
            picture, hand_pixels, thing_pixels = (
                np.ascontiguousarray(a[:, ::-1]) for a in (picture, hand_pixels, thing_pixels)
            )
            camera[2] = WIDTH - 1 - camera[2]
            points = points * [-1, 1] + [WIDTH - 1, 0]
            joints, vertices = joints * [-1, 1, 1], vertices * [-1, 1, 1]
            pose = pose * [1, -1, -1]
        return Shown(
            picture,
            hand_pixels,
            thing_pixels,
            camera,
            joints,
            vertices,
            points,
            pose,
            self._shape,
            left,
            occluded,
            visible,
            share,
        )
