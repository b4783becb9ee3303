"""Pictures of markers, without a display."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

RED, BLUE = ColorRGBA(r=1.0, a=1.0), ColorRGBA(b=1.0, a=1.0)


@pytest.fixture(scope="module")
def render():
    return runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / "render_markers.py"))["render"]


def marker(kind: int, points, colors) -> Marker:
    size = Vector3(x=0.1, y=0.1, z=0.1)
    points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
    return Marker(type=kind, scale=size, points=points, colors=colors)


def middle_of(mask: np.ndarray) -> np.ndarray:
    """Mean x and y of the pixels in a mask."""
    return np.argwhere(mask).mean(0)[::-1]


def test_spheres_are_where_they_are_in_the_cameras_view(render):
    picture = render([marker(Marker.SPHERE_LIST, [(-0.2, -0.1, 1), (0.2, 0.1, 1)], [RED, BLUE])], size=200)
    red, blue = (middle_of(picture[..., channel] > 150) for channel in (0, 2))
    assert red[0] < 100 < blue[0]
    assert red[1] < 100 < blue[1]  # y points down


def test_the_view_can_be_turned_to_the_other_side(render):
    spheres = marker(Marker.SPHERE_LIST, [(-0.2, 0, 1), (0.2, 0, 1)], [RED, BLUE])
    picture = render([spheres], size=200, turn=180)
    assert middle_of(picture[..., 0] > 150)[0] > middle_of(picture[..., 2] > 150)[0]


def test_what_is_nearer_hides_what_is_behind(render):
    picture = render([marker(Marker.SPHERE_LIST, [(0, 0, 1), (0, 0, 2)], [RED, BLUE])], size=200)
    assert picture[100, 100, 0] > 150 > picture[100, 100, 2]


def test_a_triangle_is_bright_on_its_outside_only(render):
    # Counter-clockwise seen from the camera: its outside.
    corners = [(0, -0.2, 1), (-0.2, 0.2, 1), (0.2, 0.2, 1)]
    front = render([marker(Marker.TRIANGLE_LIST, corners, [RED] * 3)], size=200)
    back = render([marker(Marker.TRIANGLE_LIST, corners[::-1], [RED] * 3)], size=200)
    assert front[..., 0].max() > 2 * back[..., 0].max() > 0


def test_markers_without_points_are_refused(render):
    with pytest.raises(ValueError, match="markers with points"):
        render([Marker(type=Marker.TEXT_VIEW_FACING, text="alone")])
