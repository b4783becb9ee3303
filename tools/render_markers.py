"""Paints one MarkerArray of a running node into a PNG, about as RViz would show it, without a display.

    . tools/ros_env.sh && python tools/render_markers.py --turn 40 markers.png

It waits for a message that shows a mesh. Needs the same DDS settings (domain, discovery range) as the node.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND = (38, 42, 48)
OVERSAMPLING = 2
FOCAL = 1.2
"""Focal length in image heights."""

Array = NDArray[np.floating]
Painter = Callable[[NDArray[np.uint8]], None]


class View:
    """Looks from where the camera is, or turned about the middle of what there is to see.

    Args:
        points: `(N, 3)` that should fill the picture, metres, camera optical frame.
        size: side of the picture in pixels.
        turn: degrees about the vertical, positive to see the right side.
    """

    def __init__(self, points: Array, size: int, turn: float) -> None:
        self._middle = (points.min(0) + points.max(0)) / 2
        radius = np.linalg.norm(points - self._middle, axis=1).max()
        self._distance = 2.6 * radius * FOCAL
        self._turn = cv2.Rodrigues(np.array([0.0, np.radians(turn), 0.0]))[0]
        self._focal = FOCAL * size
        self._centre = size / 2

    def turned(self, points: Array) -> Array:
        """Points `(..., 3)` in the view's own axes."""
        return (points - self._middle) @ self._turn.T + [0, 0, self._distance]

    def pixels(self, turned: Array) -> Array:
        """Pixels `(..., 2)` of turned points."""
        return turned[..., :2] / turned[..., 2:] * self._focal + self._centre

    def length(self, metres: float, depth: float) -> int:
        """Pixels, at least 1, that a length has at a depth."""
        return max(1, round(metres * self._focal / depth))


def points_of(marker: Any) -> Array:
    """`(N, 3)` points of a list marker."""
    return np.array([(point.x, point.y, point.z) for point in marker.points], np.float64).reshape(-1, 3)


def colors_of(marker: Any, count: int) -> Array:
    """`(count, 3)` colours, 0 to 255."""
    colors = np.array([(color.r, color.g, color.b) for color in marker.colors], np.float64)
    if not len(colors):
        colors = np.tile([marker.color.r, marker.color.g, marker.color.b], (count, 1))
    return 255 * colors


def render(markers: Sequence[Any], size: int = 900, turn: float = 0.0) -> NDArray[np.uint8]:
    """The markers as an RGB picture `(size, size, 3)`.

    Args:
        markers: visualization_msgs/Marker; triangle, line and sphere lists and texts are painted.
        size: side of the picture in pixels.
        turn: degrees about the vertical axis.

    Raises:
        ValueError: if no marker has points.
    """
    listed = [points_of(marker) for marker in markers if marker.points]
    if not listed:
        raise ValueError("expected markers with points, got none")
    places = [marker.pose.position for marker in markers if marker.text]
    listed += [np.array([(place.x, place.y, place.z)]) for place in places]
    big = size * OVERSAMPLING
    view = View(np.concatenate(listed), big, turn)
    painters: list[tuple[float, Painter]] = []
    for marker in markers:
        painters += PAINTERS.get(marker.type, lambda *_: [])(marker, view)
    picture = np.full((big, big, 3), BACKGROUND, np.uint8)
    for _, paint in sorted(painters, key=lambda painter: -painter[0]):
        paint(picture)
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def triangles(marker: Any, view: View) -> list[tuple[float, Painter]]:
    """Painters of a TRIANGLE_LIST, flatly lit from the viewer's side, with their depths."""
    corners = view.turned(points_of(marker)).reshape(-1, 3, 3)
    colors = colors_of(marker, 3 * len(corners)).reshape(-1, 3, 3).mean(1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # A face that shows its back is painted in the dark: wrongly wound meshes are seen at once.
    lit = np.clip(normals @ [-0.25, -0.45, -0.86], 0, 1)
    shades = colors * (0.25 + 0.75 * lit)[:, None]
    pixels = np.round(view.pixels(corners)).astype(np.int32)

    def painter(polygon: NDArray[np.int32], color: Array) -> Painter:
        def paint(picture: NDArray[np.uint8]) -> None:
            cv2.fillConvexPoly(picture, polygon, color.tolist())

        return paint

    return [(z, painter(p, c)) for z, p, c in zip(corners[..., 2].mean(1), pixels, shades, strict=True)]


def lines(marker: Any, view: View) -> list[tuple[float, Painter]]:
    """Painters of a LINE_LIST with their depths."""
    ends = view.turned(points_of(marker)).reshape(-1, 2, 3)
    colors = colors_of(marker, 2 * len(ends)).reshape(-1, 2, 3).mean(1)
    pixels = np.round(view.pixels(ends)).astype(int)

    def painter(ends: NDArray[np.int_], color: Array, width: int) -> Painter:
        def paint(picture: NDArray[np.uint8]) -> None:
            start, end = ends.tolist()
            cv2.line(picture, start, end, color.tolist(), width, cv2.LINE_AA)

        return paint

    depths = ends[..., 2].mean(1)
    return [
        (z, painter(p, c, view.length(marker.scale.x, z)))
        for z, p, c in zip(depths, pixels, colors, strict=True)
    ]


def spheres(marker: Any, view: View) -> list[tuple[float, Painter]]:
    """Painters of a SPHERE_LIST with their depths."""
    centres = view.turned(points_of(marker))
    pixels = np.round(view.pixels(centres)).astype(int)

    def painter(centre: NDArray[np.int_], color: Array, radius: int) -> Painter:
        def paint(picture: NDArray[np.uint8]) -> None:
            glint = centre - round(radius / 4)
            cv2.circle(picture, centre.tolist(), radius, (0.6 * color).tolist(), -1, cv2.LINE_AA)
            cv2.circle(picture, glint.tolist(), max(1, round(0.6 * radius)), color.tolist(), -1, cv2.LINE_AA)

        return paint

    return [
        (z, painter(p, c, view.length(marker.scale.x / 2, z)))
        for z, p, c in zip(centres[:, 2], pixels, colors_of(marker, len(centres)), strict=True)
    ]


def label(marker: Any, view: View) -> list[tuple[float, Painter]]:
    """Painter of a TEXT_VIEW_FACING, in front of all."""
    position = marker.pose.position
    place = view.turned(np.array([position.x, position.y, position.z]))
    height = view.length(marker.scale.z, place[2])
    text = marker.text.strip()
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, height / 30
    width = cv2.getTextSize(text, font, scale, 2)[0][0]
    x, y = np.round(view.pixels(place) - [width / 2, 0]).astype(int).tolist()

    def paint(picture: NDArray[np.uint8]) -> None:
        cv2.putText(picture, text, (x, y), font, scale, (255, 255, 255), 2, cv2.LINE_AA)

    return [(0.0, paint)]


# visualization_msgs/Marker: LINE_LIST, SPHERE_LIST, TEXT_VIEW_FACING, TRIANGLE_LIST.
PAINTERS = {5: lines, 7: spheres, 9: label, 11: triangles}


def receive(topic: str, patience: float) -> list[Any]:
    """The markers of the first message that shows a mesh.

    Raises:
        TimeoutError: if none came.
    """
    import rclpy
    from visualization_msgs.msg import Marker, MarkerArray

    shown: list[Any] = []

    def take(message: MarkerArray) -> None:
        new = [marker for marker in message.markers if marker.action == Marker.ADD]
        if any(marker.type == Marker.TRIANGLE_LIST for marker in new):
            shown[:] = new

    rclpy.init()
    node = rclpy.create_node("render_markers")
    try:
        node.create_subscription(MarkerArray, topic, take, 10)
        end = time.monotonic() + patience
        while not shown and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if not shown:
        raise TimeoutError(f"expected a mesh on {topic} within {patience:.0f} s, none came")
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--topic", default="/hand_mesh_node/markers")
    parser.add_argument("--turn", type=float, default=0.0, help="degrees about the vertical axis")
    parser.add_argument("--size", type=int, default=900, help="side of the picture in pixels")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a mesh")
    arguments = parser.parse_args()
    try:
        picture = render(receive(arguments.topic, arguments.patience), arguments.size, arguments.turn)
    except (TimeoutError, ValueError) as error:
        print(f"render_markers: {error}", file=sys.stderr)
        return 1
    if not cv2.imwrite(str(arguments.picture), picture[..., ::-1]):
        print(f"render_markers: cannot write {arguments.picture}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
