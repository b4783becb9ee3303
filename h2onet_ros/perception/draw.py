"""Draws hands over the camera's image: shaded mesh, skeleton, label and region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.hand.joints import SKELETON
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import Hand, check_array

VISIBLE_COLOURS = np.array(
    [(255, 176, 89), (118, 208, 128), (92, 190, 235), (150, 150, 250), (226, 138, 214), (226, 214, 200)],
    np.float32,
)
"""RGB of a part that is seen: thumb, index, middle, ring, little, palm."""
OCCLUDED_COLOUR = np.array((205, 40, 45), np.float32)
"""RGB of a finger that is hidden; in between, the colour is mixed by probability."""

_SUBPIXEL_BITS = 3
_LIGHT = np.array((-0.47, -0.74, -0.48), np.float32)  # towards the light, at the upper left of the camera
_AMBIENT, _DIFFUSE, _FACING = 0.18, 0.62, 0.40  # light from everywhere, from the lamp, from the camera


@dataclass(frozen=True)
class DrawOptions:
    """Which parts are drawn, and how much of the image the mesh hides (0 to 1)."""

    mesh: bool = True
    skeleton: bool = True
    labels: bool = True
    regions: bool = False
    opacity: float = 0.8


def part_colours(occlusion: NDArray[np.floating]) -> NDArray[np.float32]:
    """RGB `(6, 3)`, 0 to 255, of thumb..little and palm for a hand's `occlusion` (whole hand: palm).

    Unknown (NaN) counts as visible.
    """
    mix = np.clip(np.nan_to_num(np.asarray(occlusion, np.float32)), 0, 1)[:, None]
    return VISIBLE_COLOURS * (1 - mix) + OCCLUDED_COLOUR * mix


def draw_overlay(
    rgb: NDArray[np.uint8],
    hands: Sequence[Hand],
    camera: Camera,
    faces: NDArray[np.integer],
    face_part: NDArray[np.integer],
    options: DrawOptions | None = None,
) -> NDArray[np.uint8]:
    """A copy of the image with the hands drawn over it, farthest first.

    Args:
        rgb: `(H, W, 3)` uint8.
        hands: as a pipeline returned them for this image.
        camera: the intrinsics of this image.
        faces: `(F, 3)` of the right hand's mesh.
        face_part: `(F,)` part of each face, 0..5.
        options: what to draw.
    """
    check_array("draw_overlay", "faces", faces, (None, 3))
    check_array("draw_overlay", "face_part", face_part, (len(faces),))
    options = options or DrawOptions()
    image = np.array(rgb, np.uint8, order="C")
    for hand in sorted(hands, key=lambda h: -float(h.position[2])):
        if options.mesh:
            _draw_mesh(image, hand, camera, faces, face_part, options.opacity)
    for hand in hands:
        if options.skeleton:
            _draw_skeleton(image, hand, camera)
        if options.regions:
            outline = np.round(hand.region.outline).astype(np.int32)
            cv2.polylines(image, [outline], True, (245, 245, 245), 1, cv2.LINE_AA)
    for hand in hands:
        if options.labels:
            _draw_label(image, hand)
    return image


def _draw_mesh(
    image: NDArray[np.uint8],
    hand: Hand,
    camera: Camera,
    faces: NDArray[np.integer],
    face_part: NDArray[np.integer],
    opacity: float,
) -> None:
    """Painter's algorithm over the faces that look at the camera."""
    points = camera.project(hand.vertices)
    if not np.isfinite(points).all():
        return
    height, width = image.shape[:2]
    low = np.clip(np.floor(points.min(0)).astype(int) - 1, 0, (width, height))
    high = np.clip(np.ceil(points.max(0)).astype(int) + 2, 0, (width, height))
    if (high <= low).any():
        return
    if hand.handedness == "left":
        faces = faces[:, ::-1]  # a mirrored mesh turns its faces inside out
    triangles = hand.vertices[faces]
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    centres = triangles.mean(1)
    front = np.flatnonzero((normals * centres).sum(-1) < 0)
    front = front[np.argsort(-centres[front, 2])]
    smooth = _unit(_unit(_vertex_normals(normals, faces, len(points)))[faces[front]].sum(1))
    shade = (
        _AMBIENT + _DIFFUSE * np.clip(smooth @ _LIGHT, 0, None) + _FACING * np.clip(-smooth[:, 2], 0, None)
    )
    colours = np.minimum(part_colours(hand.occlusion)[face_part[front]] * shade[:, None], 255)

    view = image[low[1] : high[1], low[0] : high[0]]
    canvas = np.ascontiguousarray(view)
    fixed = np.round((points - low) * (1 << _SUBPIXEL_BITS)).astype(np.int32)[faces[front]]
    for polygon, colour in zip(fixed, colours.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, polygon, colour, cv2.LINE_8, _SUBPIXEL_BITS)
    cv2.addWeighted(canvas, opacity, view, 1 - opacity, 0, dst=canvas)
    view[:] = canvas


def _vertex_normals(
    normals: NDArray[np.floating], faces: NDArray[np.integer], count: int
) -> NDArray[np.floating]:
    """Sum of the normals of the faces around each vertex, so that flat triangles look round."""
    corners = faces.reshape(-1)
    each = np.repeat(normals, 3, axis=0)
    return np.stack([np.bincount(corners, each[:, axis], count) for axis in range(3)], -1)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _draw_skeleton(image: NDArray[np.uint8], hand: Hand, camera: Camera) -> None:
    points = camera.project(hand.joints)
    if not np.isfinite(points).all():
        return
    colours = part_colours(hand.occlusion)
    thickness = max(1, round(hand.region.size / 130))
    for row, (start, end) in enumerate(SKELETON):
        ends = _pixel(points[start]), _pixel(points[end])
        cv2.line(image, *ends, (25, 25, 30), thickness + 2, cv2.LINE_AA)
        cv2.line(image, *ends, tuple(colours[row // 4].tolist()), thickness, cv2.LINE_AA)
    for point in points:
        cv2.circle(image, _pixel(point), thickness + 1, (25, 25, 30), -1, cv2.LINE_AA)
        cv2.circle(image, _pixel(point), thickness, (250, 250, 250), -1, cv2.LINE_AA)


def _draw_label(image: NDArray[np.uint8], hand: Hand) -> None:
    text = f"{hand.track_id} {hand.handedness}  {hand.position[2]:.2f} m"
    scale = float(np.clip(image.shape[0] / 1000, 0.4, 1.0))
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left, top, _, _ = hand.region.corners
    x = int(np.clip(left, 2, max(2, image.shape[1] - width - 6)))
    y = int(np.clip(top - 6, height + 4, max(height + 4, image.shape[0] - baseline - 4)))
    box = image[max(0, y - height - 4) : y + baseline + 2, max(0, x - 4) : x + width + 4]
    box[:] = box // 3
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _pixel(point: NDArray[np.floating]) -> tuple[int, int]:
    # OpenCV draws with 16-bit coordinates inside; points far outside would wrap around.
    x, y = np.clip(point, -8000, 8000)
    return round(float(x)), round(float(y))
