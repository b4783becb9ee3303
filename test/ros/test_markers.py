"""Markers and points: what RViz gets to see."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from h2onet_ros.hand.joints import SKELETON
from h2onet_ros.perception.draw import OCCLUDED_COLOUR, VISIBLE_COLOURS
from h2onet_ros.ros.markers import HandMarkers
from h2onet_ros.ros.points import hands_to_points

STAMP = 1_700_000_000_000_000_123


@pytest.fixture
def shown(tetrahedron):
    """Builds markers for hands and gives them by (namespace, track id)."""
    maker = HandMarkers(tetrahedron)

    def show(*hands, frame_id="camera"):
        wire = maker.build(hands, STAMP, frame_id)
        if wire is None:
            return {}
        markers = deserialize_message(wire, MarkerArray).markers
        for marker in markers:
            assert (marker.header.stamp.sec, marker.header.stamp.nanosec) == (1_700_000_000, 123)
            assert marker.header.frame_id == frame_id
        by_key = {(marker.ns, marker.id): marker for marker in markers}
        assert len(by_key) == len(markers)
        return by_key

    return show


def points(marker) -> np.ndarray:
    return np.array([(point.x, point.y, point.z) for point in marker.points])


def colors(marker) -> np.ndarray:
    return np.array([(color.r, color.g, color.b, color.a) for color in marker.colors])


def test_every_part_of_a_hand_is_where_it_is(shown, make_hand, tetrahedron):
    hand = make_hand()
    markers = shown(hand)
    assert set(markers) == {(name, 7) for name in ("mesh", "skeleton", "joints", "label")}
    assert all(marker.action == Marker.ADD for marker in markers.values())
    mesh, bones, joints, label = (markers[name, 7] for name in ("mesh", "skeleton", "joints", "label"))
    assert [mesh.type, bones.type, joints.type, label.type] == [
        Marker.TRIANGLE_LIST,
        Marker.LINE_LIST,
        Marker.SPHERE_LIST,
        Marker.TEXT_VIEW_FACING,
    ]
    np.testing.assert_array_equal(points(mesh), hand.vertices[tetrahedron.faces].reshape(-1, 3))
    np.testing.assert_array_equal(points(bones), hand.joints[SKELETON].reshape(-1, 3))
    np.testing.assert_array_equal(points(joints), hand.joints)
    assert label.text.strip() == "right 7  0.88"
    assert label.pose.position.y < hand.vertices[:, 1].min()  # y points down: above the hand
    assert hand.vertices[:, 0].min() < label.pose.position.x < hand.vertices[:, 0].max()
    for marker in markers.values():
        assert marker.pose.orientation.w == 1.0
        assert marker.lifetime.sec > 0


def test_a_left_hand_is_turned_right_side_out(shown, make_hand, tetrahedron):
    hand = make_hand(handedness="left")
    mesh = shown(hand)["mesh", 7]
    np.testing.assert_array_equal(points(mesh), hand.vertices[tetrahedron.faces[:, ::-1]].reshape(-1, 3))


def test_hidden_fingers_have_another_colour(shown, make_hand, tetrahedron):
    hand = make_hand()
    hand.occlusion[:] = [0, 0, 1, 0, 0, 0]
    mesh = shown(hand)["mesh", 7]
    part_of_corner = np.repeat(tetrahedron.face_part, 3)
    expected = (VISIBLE_COLOURS / 255)[part_of_corner]
    expected[part_of_corner == 2] = OCCLUDED_COLOUR / 255
    assert (part_of_corner == 2).any()
    np.testing.assert_allclose(colors(mesh)[:, :3], expected, atol=1e-6)
    assert (colors(mesh)[:, 3] == 1).all()
    tip = colors(shown(hand)["joints", 7])
    np.testing.assert_allclose(tip[12, :3], OCCLUDED_COLOUR / 255, atol=1e-6)  # tip of the middle finger


def test_unknown_occlusion_is_drawn_as_seen(shown, make_hand):
    hand = make_hand()
    hand.occlusion[:] = np.nan
    assert np.isfinite(colors(shown(hand)["mesh", 7])).all()


def test_hands_that_are_gone_are_deleted_once(shown, make_hand):
    shown(make_hand(1), make_hand(2, "left", seed=1))
    markers = shown(make_hand(2, "left", seed=2))
    assert {key for key, marker in markers.items() if marker.action == Marker.DELETE} == {
        (name, 1) for name in ("mesh", "skeleton", "joints", "label")
    }
    assert markers["mesh", 2].action == Marker.ADD
    assert all(marker.action == Marker.DELETE for marker in shown().values())
    assert shown() == {}


def test_two_hands_do_not_mix(shown, make_hand):
    one, two = make_hand(1, seed=1), make_hand(2, "left", seed=2)
    markers = shown(one, two)
    np.testing.assert_array_equal(points(markers["joints", 1]), one.joints)
    np.testing.assert_array_equal(points(markers["joints", 2]), two.joints)
    assert markers["label", 2].text.strip().startswith("left 2")
    markers = shown(make_hand(1, seed=3), two)
    np.testing.assert_array_equal(points(markers["joints", 1]), make_hand(1, seed=3).joints)


def test_another_camera_gets_its_own_frame(shown, make_hand):
    shown(make_hand(), frame_id="left_camera")
    np.testing.assert_array_equal(
        points(shown(make_hand(seed=4), frame_id="a")["joints", 7]), make_hand(seed=4).joints
    )


def test_points_tell_hand_and_part(make_hand, tetrahedron):
    hands = [make_hand(1), make_hand(2, "left", seed=1)]
    cloud = hands_to_points(hands, tetrahedron.vertex_part, Header(frame_id="camera"))
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 8, 20, 160)
    assert len(cloud.data) == 160
    kinds = {7: "<f4", 6: "<u4"}
    layout = np.dtype(
        {
            "names": [field.name for field in cloud.fields],
            "formats": [kinds[field.datatype] for field in cloud.fields],
            "offsets": [field.offset for field in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    table = np.frombuffer(bytes(cloud.data), layout)
    np.testing.assert_array_equal(table["y"], np.concatenate([hand.vertices[:, 1] for hand in hands]))
    np.testing.assert_array_equal(table["track_id"], np.repeat([1, 2], 4))
    np.testing.assert_array_equal(table["part"], np.tile(tetrahedron.vertex_part, 2))


def test_no_hands_are_no_points(tetrahedron):
    cloud = hands_to_points([], tetrahedron.vertex_part, Header())
    assert cloud.width == 0 and len(cloud.data) == 0
