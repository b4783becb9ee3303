"""Triangles of everything in a scene: the hand, its fore-arm, simple things; normals and soft contact shadow.

What is drawn is a *soup*: an array `(3 * triangles, 15)` of corners whose columns `SOUP_COLUMNS` names. A
soup needs no index buffers, so a whole batch of different scenes travels to the graphics card at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from h2onet_ros.hand.model import HandModel

SOUP_COLUMNS = (
    "x",
    "y",
    "z",
    "nx",
    "ny",
    "nz",
    "u",
    "v",
    "layer",
    "red",
    "green",
    "blue",
    "ambient",
    "gloss",
    "id",
)
SOUP_WIDTH = len(SOUP_COLUMNS)

ID_BACKGROUND, ID_FOREARM, ID_OTHER_HAND, ID_THING = 0, 7, 8, 9
"""Ids drawn beside 1..6, which are the labelled hand's parts in the order of `PART_NAMES`."""

NO_TEXTURE = -1.0
COARSE = 0.25
"""Added to a layer: only its coarse colours, where details would be drawn out to streaks."""

# Axes of the hand model's frame (see h2onet_ros.hand.model).
THUMBWARD, FORWARD, DORSAL = np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0])


def soup(
    positions: np.ndarray,
    normals: np.ndarray,
    texture: np.ndarray | float = 0.0,
    layer: np.ndarray | float = NO_TEXTURE,
    colour: np.ndarray | float = 1.0,
    ambient: np.ndarray | float = 1.0,
    gloss: float = 0.2,
    identity: np.ndarray | float = ID_THING,
) -> np.ndarray:
    """Pack corners: positions and normals `(n, 3)`, texture coordinates `(n, 2)`, linear colour `(n, 3)`."""
    out = np.empty((len(positions), SOUP_WIDTH), np.float32)
    out[:, 0:3], out[:, 3:6], out[:, 6:8] = positions, normals, texture
    out[:, 8], out[:, 9:12] = layer, colour
    out[:, 12], out[:, 13], out[:, 14] = ambient, gloss, identity
    return out


class HandSurface:
    """The hand model's surface prepared for drawing many poses of it at once."""

    def __init__(self, hand: HandModel) -> None:
        self.hand = hand
        # The wrist's closing face is inside the arm, and would bend the normals of its rim.
        shown = ~_closing_faces(np.asarray(hand.faces), np.asarray(hand.wrist_ring))
        self.faces = np.asarray(hand.faces, np.int64)[shown]
        self.face_part = np.asarray(hand.face_part)[shown]
        self.corners = self.faces.reshape(-1)
        self.part_ids = np.repeat(self.face_part.astype(np.float32) + 1, 3)
        uv = np.asarray(hand.uv, np.float64)
        self.uv_low, self.uv_high = uv.min(0) - 0.004, uv.max(0) + 0.004
        self.texture = ((uv - self.uv_low) / (self.uv_high - self.uv_low))[
            np.asarray(hand.uv_faces)[shown].reshape(-1)
        ]
        rows = self.corners
        columns = np.repeat(np.arange(len(self.faces)), 3)
        shape = (len(hand.template), len(self.faces))
        self._incidence = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape)
        ring = np.asarray(hand.wrist_ring)
        offsets = np.asarray(hand.template)[ring] - np.asarray(hand.template)[ring].mean(0)
        self.ring = ring[np.argsort(np.arctan2(offsets @ DORSAL, offsets @ THUMBWARD))]
        corner_of = {int(vertex): corner for corner, vertex in enumerate(self.corners)}
        self.ring_texture = self.texture[[corner_of[int(vertex)] for vertex in self.ring]]

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Smooth unit normals `(n, V, 3)` of vertices `(n, V, 3)`, without seams."""
        a, b, c = (vertices[:, self.faces[:, k]] for k in range(3))
        flat = np.cross(b - a, c - a).transpose(1, 0, 2).reshape(len(self.faces), -1)
        smooth = (self._incidence @ flat).reshape(vertices.shape[1], len(vertices), 3).transpose(1, 0, 2)
        return smooth / np.maximum(np.linalg.norm(smooth, axis=2, keepdims=True), 1e-12)


def _closing_faces(faces: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Which faces `(F,)` close the ring: all their vertices are on it, or touch nothing but it."""
    on_ring = np.isin(faces, ring)
    reaches_out = np.unique(faces[on_ring.sum(1) < 2])
    return np.all(on_ring | ~np.isin(faces, reaches_out), axis=1)


def contact_shade(
    vertices: np.ndarray, normals: np.ndarray, joints: np.ndarray, own_finger: np.ndarray
) -> np.ndarray:
    """How open each vertex is to the light from everywhere, `(n, V)` in [0.25, 1].

    The bones' flesh as spheres takes light away from what faces it; a finger does not darken itself.
    `joints` `(n, 21, 3)` in standard order, `own_finger` `(V,)` part indices (5: palm).
    """
    centres, radii, owners = [], [], []
    for finger in range(5):
        for bone in range(3):
            a, b = joints[:, 1 + 4 * finger + bone], joints[:, 2 + 4 * finger + bone]
            for share in (0.3, 0.8):
                centres.append(a * (1 - share) + b * share)
                radii.append(0.0095 - 0.001 * bone)
                owners.append(finger)
    for finger in range(1, 5):
        for share in (0.45, 0.85):
            centres.append(joints[:, 0] * (1 - share) + joints[:, 1 + 4 * finger] * share)
            radii.append(0.013)
            owners.append(5)
    spheres = np.stack(centres, 1).astype(np.float32)
    radius2 = np.square(np.asarray(radii, np.float32))
    towards = spheres[:, None] - vertices[:, :, None]
    distance2 = np.maximum(np.einsum("nvsk,nvsk->nvs", towards, towards), radius2)
    facing = np.einsum("nvsk,nvk->nvs", towards, normals) / np.sqrt(distance2)
    blocked = np.clip(0.15 + 0.85 * facing, 0, 1) * radius2 / distance2
    blocked *= own_finger[:, None] != np.asarray(owners)
    return np.clip(np.prod(1 - np.clip(blocked, 0, 0.9), axis=2), 0.25, 1).astype(np.float32)


@dataclass(frozen=True)
class Forearm:
    """A stub of arm behind the wrist.

    Radii are in metres; `sleeve_start` is the distance from the wrist at which a sleeve begins (beyond
    `length`: bare arm), `wrist_flexion` and `wrist_deviation` bend the arm against the hand (radians).
    """

    length: float
    wrist_flexion: float
    wrist_deviation: float
    width: float
    thickness: float
    sleeve_start: float
    sleeve_gap: float
    sleeve_colour: np.ndarray
    sleeve_layer: float
    band_start: float
    band_width: float
    band_colour: np.ndarray


@dataclass(frozen=True)
class _Section:
    """One ring of the arm `(R, 3)` and how the tube from here on is painted."""

    points: np.ndarray
    distance: float
    colour: np.ndarray
    layer: float
    openness: np.ndarray
    normals: np.ndarray


def forearm_soup(
    surface: HandSurface,
    forearm: Forearm,
    ring: np.ndarray,
    ring_normals: np.ndarray,
    ring_openness: np.ndarray,
    rotation: np.ndarray,
    skin_layer: float,
    skin_colour: np.ndarray,
    identity: float = ID_FOREARM,
) -> np.ndarray:
    """Corners of the arm that continues the wrist ring `(R, 3)` of a hand turned by `rotation` `(3, 3)`.

    `ring_normals` `(R, 3)` and `ring_openness` `(R,)` (its `contact_shade`) fade to the arm's own.
    """
    right, up, back = rotation @ THUMBWARD, rotation @ DORSAL, -(rotation @ FORWARD)
    axis = forearm_axis(forearm, rotation)
    bend = Rotation.from_rotvec(right * forearm.wrist_flexion + up * forearm.wrist_deviation).as_matrix()
    side, top = bend @ right, bend @ up
    centre = ring.mean(0)
    offsets = ring - centre
    half_width, half_thickness = np.abs(offsets @ right).max(), np.abs(offsets @ up).max()
    # The ring's own angles, so that the first section is the wrist and no twist creeps in.
    angle = np.arctan2(offsets @ up, offsets @ right)
    round_ring = np.cos(angle)[:, None] * side, np.sin(angle)[:, None] * top

    def section(distance: float, grow: float) -> np.ndarray:
        share, full = min(1.0, distance / 0.05), min(1.0, distance / 0.18)
        width = (1 - full) * half_width + full * forearm.width + grow
        thickness = (1 - full) * half_thickness + full * forearm.thickness + grow
        tube = round_ring[0] * width + round_ring[1] * thickness
        # Leave the wrist along the hand, then curve into the arm's own direction.
        path = centre + back * min(distance, 0.015) + axis * max(0.0, distance - 0.015)
        return path + (1 - share) * offsets + share * tube

    def normals(points: np.ndarray, fade: float) -> np.ndarray:
        outward = points - points.mean(0)
        outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
        return (1 - fade) * ring_normals + fade * outward

    band_end = forearm.band_start + forearm.band_width
    stops = [
        0.0,
        0.012,
        0.03,
        0.06,
        0.1,
        0.16,
        forearm.band_start,
        band_end,
        forearm.sleeve_start,
        forearm.length,
    ]
    sections: list[_Section] = []
    skin = np.asarray(skin_colour, np.float32)
    for distance in np.unique(np.clip(stops, 0, forearm.length)):
        if distance >= forearm.sleeve_start:
            paint, grow = (forearm.sleeve_colour, forearm.sleeve_layer), forearm.sleeve_gap
        elif forearm.band_start <= distance < band_end:
            paint, grow = (forearm.band_colour, NO_TEXTURE), 0.003
        else:
            paint, grow = (skin, skin_layer), 0.0
        fade = min(1.0, distance / 0.03)
        openness = (1 - fade) * ring_openness + fade
        if sections and sections[-1].colour is not paint[0]:
            # A step: the new material's rim starts where the old one ends.
            points = section(distance, 0.0)
            sections.append(_Section(points, distance, *paint, openness, normals(points, fade)))
        points = section(distance, grow)
        sections.append(_Section(points, distance, *paint, openness, normals(points, fade)))
    return _tube(sections, surface.ring_texture, skin_layer, identity)


def forearm_axis(forearm: Forearm, rotation: np.ndarray) -> np.ndarray:
    """Unit direction `(3,)` from the wrist to the elbow of a hand turned by `rotation`."""
    right, up = rotation @ THUMBWARD, rotation @ DORSAL
    bend = Rotation.from_rotvec(right * forearm.wrist_flexion + up * forearm.wrist_deviation)
    return bend.apply(-(rotation @ FORWARD))


def _tube(
    sections: list[_Section], skin_texture: np.ndarray, skin_layer: float, identity: float
) -> np.ndarray:
    around = np.arange(len(skin_texture))
    following = np.roll(around, -1)
    corner = np.stack([around, following, following, around, following, around], 1).reshape(-1)
    far = np.tile([0, 0, 1, 0, 1, 1], len(around))
    cloth_u = np.abs(np.linspace(-1.5, 1.5, len(around)))
    pieces = []
    for low, high in pairwise(sections):
        points = np.stack([low.points, high.points])
        layer: np.ndarray | float = low.layer
        if layer == skin_layer:
            coarseness = COARSE * np.minimum(1.0, np.array([low.distance, high.distance]) / 0.03)
            texture, layer = skin_texture[corner], layer + coarseness[far]
        else:
            along = np.where(far, high.distance, low.distance)
            texture = np.stack([cloth_u[corner], along * 8], 1)
        pieces.append(
            soup(
                points[far, corner],
                np.stack([low.normals, high.normals])[far, corner],
                texture,
                layer,
                low.colour,
                np.stack([low.openness, high.openness])[far, corner],
                gloss=0.15,
                identity=identity,
            )
        )
    return np.concatenate(pieces)


def box() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners `(36, 3)`, normals and texture coordinates of the cube [-1, 1]^3."""
    positions, normals, texture = [], [], []
    square = np.array([(-1, -1), (1, -1), (1, 1), (-1, -1), (1, 1), (-1, 1)], np.float64)
    for axis in range(3):
        for sign in (-1.0, 1.0):
            face = np.empty((6, 3))
            face[:, axis] = sign
            face[:, [(axis + 1) % 3, (axis + 2) % 3]] = square
            normal = np.zeros((6, 3))
            normal[:, axis] = sign
            positions.append(face)
            normals.append(normal)
            texture.append(square * 0.5 + 0.5)
    return np.concatenate(positions), np.concatenate(normals), np.concatenate(texture)


def cylinder(sides: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A closed cylinder of radius 1 along z from -1 to 1, as corners, normals, texture coordinates."""
    a = np.linspace(0, 2 * np.pi, sides + 1)
    wall = np.stack([np.cos(a), np.sin(a)], 1)
    positions, normals, texture = [], [], []
    for k in range(sides):
        p, q = wall[k], wall[k + 1]
        for point, z in ((p, -1), (q, -1), (q, 1), (p, -1), (q, 1), (p, 1)):
            positions.append((*point, z))
            normals.append((*point, 0))
            texture.append((a[k + (point is q)] / np.pi, z * 0.5 + 0.5))
        for end in (-1.0, 1.0):
            positions += [(0, 0, end), (*p, end), (*q, end)]
            normals += [(0, 0, end)] * 3
            texture += [(0.5, 0.5), tuple(p * 0.5 + 0.5), tuple(q * 0.5 + 0.5)]
    return np.asarray(positions, float), np.asarray(normals, float), np.asarray(texture, float)


def sphere(rings: int = 12, sides: int = 18) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball of radius 1 as corners, normals, texture coordinates."""
    theta, phi = np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, sides + 1)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    grid = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], 2)
    uv = np.stack([p / np.pi, t / np.pi], 2)
    picks = ((0, 0), (1, 0), (1, 1), (0, 0), (1, 1), (0, 1))
    corners = np.stack([grid[i : rings + i, j : sides + j] for i, j in picks], 2).reshape(-1, 3)
    texture = np.stack([uv[i : rings + i, j : sides + j] for i, j in picks], 2).reshape(-1, 2)
    return corners, corners.copy(), texture


def lathe(profile: list[tuple[float, float]], sides: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A body turned about z with the outline `profile` of (radius, z), as corners, normals, texture
    coordinates."""
    outline = np.asarray(profile, float)
    a = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(a), np.sin(a)], 1)
    positions, normals, texture = [], [], []
    for (r0, z0), (r1, z1) in pairwise(outline):
        slope = np.array([z1 - z0, r0 - r1]) / max(np.hypot(z1 - z0, r0 - r1), 1e-9)
        for k in range(sides):
            for side, radius, z in ((k, r0, z0), (k + 1, r0, z0), (k + 1, r1, z1),
                                    (k, r0, z0), (k + 1, r1, z1), (k, r1, z1)):  # fmt: skip
                positions.append((*(ring[side] * radius), z))
                normals.append((*(ring[side] * slope[0]), slope[1]))
                texture.append((a[side] / np.pi, z * 0.5 + 0.5))
    return np.asarray(positions), np.asarray(normals), np.asarray(texture)


_BOTTLE = [(0, -1), (0.9, -1), (1, -0.95), (1, 0.2), (0.85, 0.42), (0.4, 0.6), (0.36, 0.92), (0.4, 1), (0, 1)]
# Hollow: the outline turns back inside.
_CUP = [(0, -1), (0.75, -1), (1, 1), (0.93, 1), (0.7, -0.9), (0, -0.9)]
_SCREWDRIVER = [(0, -1), (0.9, -0.95), (1, -0.6), (0.8, -0.1), (1, 0.0), (0.25, 0.1), (0.2, 1), (0, 1)]

SHAPES = {
    "box": box(),
    "cylinder": cylinder(),
    "sphere": sphere(),
    "bottle": lathe(_BOTTLE),
    "cup": lathe(_CUP),
    "tool": lathe(_SCREWDRIVER),
}
"""Unit shapes from which occluders and furniture are made by scaling; the long ones stand along z."""


def thing_soup(
    shape: str,
    size: np.ndarray,
    rotation: np.ndarray,
    position: np.ndarray,
    colour: np.ndarray,
    layer: float,
    texture_scale: float,
    gloss: float,
    identity: float = ID_THING,
) -> np.ndarray:
    """Corners of a unit shape scaled by `size` (3,), turned by `rotation` (3, 3), moved to `position`."""
    corners, normals, texture = SHAPES[shape]
    turned = (normals / size) @ rotation.T
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    return soup(
        corners * size @ rotation.T + position,
        turned,
        texture * texture_scale,
        layer,
        colour,
        1.0,
        gloss,
        identity,
    )
