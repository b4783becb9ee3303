"""Bones turned towards the image points: as far as asked, as long as before, the mesh with them."""

from dataclasses import replace

import numpy as np
import pytest

from h2onet_ros.hand.joints import SKELETON
from h2onet_ros.hand.model import open_hand
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.alignment import ImageAlignment

POSITION = np.array([0.05, 0.1, 0.6], np.float32)
INDEX = slice(5, 9)
ALL_VISIBLE = np.ones(5)


@pytest.fixture(scope="module")
def topology():
    return HandTopology.from_hand(open_hand())


@pytest.fixture(scope="module")
def aligner(topology):
    return ImageAlignment(topology)


def posed(bend_degrees):
    """A hand with its index finger bent so far, relative to its wrist: vertices and joints."""
    hand = open_hand()
    angles = np.zeros((16, 3))
    angles[1:4, 0] = np.radians(bend_degrees)
    hand = hand.pose(hand.pose_from_angles(angles))
    wrist = hand.joints[0]
    return (hand.vertices - wrist).astype(np.float32), (hand.joints - wrist).astype(np.float32)


def seen(joints):
    placed = joints + POSITION
    return placed[:, :2] / placed[:, 2:]


def lengths(joints):
    return np.linalg.norm(joints[SKELETON[:, 1]] - joints[SKELETON[:, 0]], axis=1)


def test_a_mesh_that_fits_its_points_stays(aligner):
    vertices, joints = posed(20)
    aligned, moved = aligner(vertices, joints, POSITION, seen(joints), ALL_VISIBLE, 1.0)
    np.testing.assert_allclose(aligned, vertices, atol=1e-6)
    np.testing.assert_allclose(moved, joints, atol=1e-6)


def test_a_finger_turns_to_where_it_is_seen_and_takes_its_mesh_along(aligner, topology):
    vertices, joints = posed(10)
    true_vertices, truth = posed(30)
    before = np.linalg.norm(seen(joints) - seen(truth), axis=1)
    errors = []
    for strength in (0.5, 1.0):
        aligned, moved = aligner(vertices, joints, POSITION, seen(truth), ALL_VISIBLE, strength)
        errors.append(np.linalg.norm(seen(moved) - seen(truth), axis=1)[INDEX].mean())
        np.testing.assert_allclose(lengths(moved), lengths(joints), atol=1e-6)
        np.testing.assert_allclose(topology.joint_regressor @ aligned, moved, atol=1e-4)
        others = np.delete(np.arange(21), np.arange(5, 9))
        np.testing.assert_allclose(moved[others], joints[others], atol=1e-5)
    assert errors[1] < 0.7 * errors[0] < 0.6 * before[INDEX].mean()
    finger = topology.vertex_part == 1
    off = [
        np.linalg.norm(seen(v[finger]) - seen(true_vertices[finger]), axis=1).mean()
        for v in (vertices, aligned)
    ]
    assert off[1] < 0.5 * off[0]


def test_a_hidden_finger_keeps_what_the_network_says(aligner, topology):
    vertices, joints = posed(10)
    _, truth = posed(30)
    visible = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    aligned, moved = aligner(vertices, joints, POSITION, seen(truth), visible, 1.0)
    np.testing.assert_allclose(moved[INDEX], joints[INDEX], atol=1e-6)
    np.testing.assert_allclose(aligned, vertices, atol=1e-6)


def test_a_mesh_whose_parts_are_unknown_is_turned_as_well(aligner, topology):
    """As of checkpoints imported without a MANO file."""
    unknown = replace(topology, vertex_part=np.full(topology.vertex_count, 5))
    vertices, joints = posed(10)
    _, truth = posed(30)
    given = vertices, joints, POSITION, seen(truth), ALL_VISIBLE, 1.0
    (aligned, moved), (known, _) = ImageAlignment(unknown)(*given), aligner(*given)
    np.testing.assert_allclose(topology.joint_regressor @ aligned, moved, atol=1e-4)
    assert np.abs(known - vertices).max() > 0.02
    np.testing.assert_allclose(aligned, known, atol=0.003)


def test_the_skin_has_no_kinks(aligner, topology):
    """Neighbours move alike, also where a finger begins."""
    vertices, joints = posed(0)
    points = seen(joints)
    points[INDEX] += np.linspace(0.005, 0.03, 4)[:, None] * [1.0, 0.0]
    aligned, _ = aligner(vertices, joints, POSITION, points, ALL_VISIBLE, 1.0)
    faces = topology.faces
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    old, new = (np.linalg.norm(v[edges[:, 0]] - v[edges[:, 1]], axis=1) for v in (vertices, aligned))
    assert np.abs(aligned - vertices).max() > 0.005
    assert np.abs(new - old).max() < 0.004
