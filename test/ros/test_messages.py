"""Hands and topology to messages and back, also through their serialised form."""

from __future__ import annotations

from array import array
from dataclasses import fields

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from h2onet_msgs.msg import Hand as HandMessage
from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.hand.joints import JOINT_NAMES, SKELETON
from h2onet_ros.perception.types import FrameResult, Hand
from h2onet_ros.ros.messages import (
    TIMING_FIELDS,
    hand_from_message,
    hand_to_message,
    hands_from_message,
    hands_to_message,
    quaternion_from_rotation,
    rotation_from_quaternion,
    stamp_from_message,
    stamp_to_message,
    topology_from_message,
    topology_to_message,
)


def assert_same_hand(got: Hand, expected: Hand) -> None:
    for field in fields(Hand):
        have, want = getattr(got, field.name), getattr(expected, field.name)
        if field.name == "rotation":
            np.testing.assert_allclose(have, want, atol=2e-7)
        elif isinstance(want, np.ndarray):
            assert have.dtype == np.float32
            np.testing.assert_array_equal(have, want, field.name)
        elif isinstance(want, float):
            # What messages do not carry is NaN on both sides.
            np.testing.assert_equal(have, want, field.name)
        else:
            assert have == want, field.name


@pytest.mark.parametrize("handedness", ["left", "right"])
def test_hands_survive_the_way_over_the_wire(make_hand, handedness):
    hands = (make_hand(3, handedness), make_hand(4_000_000_000, "right", seed=1))
    timings = {stage: (i + 1) / 1024 for i, stage in enumerate(TIMING_FIELDS)}
    result = FrameResult(1_700_000_000_123_456_789, "front_camera_optical", hands, timings)

    wire = serialize_message(hands_to_message(result, (640, 480), skipped_images=5))
    message = deserialize_message(wire, HandArray)
    back = hands_from_message(message)

    assert (message.image_width, message.image_height, message.skipped_images) == (640, 480, 5)
    assert (back.stamp, back.frame_id, back.timings) == (result.stamp, result.frame_id, timings)
    assert len(back.hands) == 2
    for got, expected in zip(back.hands, hands):
        assert_same_hand(got, expected)


def test_a_step_that_did_not_run_takes_no_time(make_hand):
    message = hands_to_message(FrameResult(0, "camera", (), {"total": 0.25}), (1, 1))
    assert message.processing_time == 0.25
    assert message.detection_time == 0.0


def test_vertices_are_one_block_of_memory(make_hand):
    hand = make_hand(vertices=800)
    message = hand_to_message(hand)
    assert isinstance(message.vertices, array) and message.vertices.typecode == "f"
    assert message.vertices.tobytes() == hand.vertices.tobytes()


def test_a_mesh_can_be_left_out(make_hand):
    message = hand_to_message(make_hand(vertices=800), with_vertices=False)
    assert len(message.vertices) == 0
    assert hand_from_message(message).vertices.shape == (0, 3)


def test_unknown_occlusion_stays_unknown(make_hand):
    hand = make_hand()
    hand.occlusion[:] = np.nan
    assert np.isnan(hand_from_message(hand_to_message(hand)).occlusion).all()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: setattr(m, "handedness", 2), "handedness: expected 0"),
        (lambda m: m.vertices.append(0.0), "three numbers a vertex, got 13"),
        (lambda m: setattr(m, "region_size", 0.0), "positive size"),
    ],
)
def test_messages_that_hold_no_hand_are_refused(make_hand, change, complaint):
    message = hand_to_message(make_hand())
    change(message)
    with pytest.raises(ValueError, match=complaint):
        hand_from_message(message)


def test_handedness_constants():
    assert (HandMessage.LEFT, HandMessage.RIGHT) == (0, 1)


vectors = st.tuples(*[st.floats(-4, 4)] * 3).map(lambda v: np.array(v, np.float64))


@given(vectors)
def test_rotations_become_unit_quaternions_and_back(axis_angle):
    rotation = cv2.Rodrigues(axis_angle)[0]
    quaternion = quaternion_from_rotation(rotation)
    assert np.linalg.norm(quaternion) == pytest.approx(1)
    assert quaternion[3] >= 0
    np.testing.assert_allclose(rotation_from_quaternion(quaternion), rotation, atol=1e-12)


def test_quaternion_of_a_quarter_turn_about_z():
    half = np.sqrt(0.5)
    rotation = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(quaternion_from_rotation(rotation), [0, 0, half, half], atol=1e-12)


@given(st.integers(0, (2**31 - 1) * 10**9 + 999_999_999))
def test_stamps_keep_every_nanosecond(stamp):
    assert stamp_from_message(stamp_to_message(stamp)) == stamp


def test_topology_survives_the_way_over_the_wire(tetrahedron):
    wire = serialize_message(topology_to_message(tetrahedron, 5))
    message = deserialize_message(wire, MeshTopology)
    back = topology_from_message(message)
    assert back.weights == "tetrahedron" and message.vertex_count == 4
    for name in ("faces", "vertex_part", "face_part"):
        np.testing.assert_array_equal(getattr(back, name), getattr(tetrahedron, name))
    assert tuple(message.joint_names) == JOINT_NAMES
    np.testing.assert_array_equal(np.reshape(message.skeleton, (-1, 2)), SKELETON)
    assert message.part_names[5] == "palm" and message.occlusion_names[5] == "whole_hand"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: setattr(m, "vertex_count", 5), "expected 5 vertex parts"),
        (lambda m: m.faces.append(1), "and 13"),
        (lambda m: m.faces.__setitem__(0, 4), "indices below 4, got 4"),
    ],
)
def test_topologies_that_contradict_themselves_are_refused(tetrahedron, change, complaint):
    message = topology_to_message(tetrahedron, 0)
    change(message)
    with pytest.raises(ValueError, match=complaint):
        topology_from_message(message)
