"""Depth images: how they are read, and where they put a hand."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from h2onet_ros.hand.model import open_hand
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.depth import depth_from_message, fit_depth
from h2onet_ros.perception.image import ImageError
from h2onet_ros.perception.placement import TURN_PRIOR, place

CAMERA = Camera(320, 240, np.array([[270.0, 0, 157], [0, 272, 122], [0, 0, 1]]))
HAND = open_hand()
WALL = 1.5


class Seen:
    """A posed hand before the camera: the truth, and a depth image drawn triangle by triangle, far ones
    first."""

    def __init__(self, seed: int, size: float = 1.0, position=(0.0, 0.06, 0.5)) -> None:
        rng = np.random.default_rng(seed)
        angles = np.zeros((16, 3))
        angles[1:, 0] = np.radians(rng.uniform(0, 35))
        posed = HAND.pose(HAND.pose_from_angles(angles), np.zeros(HAND.shape_count))
        turn = cv2.Rodrigues(rng.normal(size=3) * 0.4)[0]
        self.position = np.array(position) * (1, 1, 1) + np.append(rng.uniform(-0.03, 0.03, 2), 0)
        self.vertices = (posed.vertices - posed.joints[0]) @ turn.T * size
        self.joints = (posed.joints - posed.joints[0]) @ turn.T * size
        self.points = CAMERA.project(self.joints + self.position)
        self.depth = np.full((CAMERA.height, CAMERA.width), WALL, np.float32)
        self.covered = np.zeros(self.depth.shape, np.uint8)
        placed = self.vertices + self.position
        corners = CAMERA.project(placed)
        for face in sorted(HAND.faces, key=lambda face: -placed[face, 2].mean()):
            triangle = np.round(corners[face] * 16).astype(np.int32)
            cv2.fillConvexPoly(self.depth, triangle, float(placed[face, 2].mean()), shift=4)
            cv2.fillConvexPoly(self.covered, triangle, 1, shift=4)

    def network(self, rng: np.random.Generator, turn: float, noise: float, size: float = 1.0):
        """Vertices, joints and image points as a network gives them: turned wrongly by `turn` radians, points
        off by `noise` of the box, and `size` times the true size."""
        axis = rng.normal(size=3)
        wrong = size * cv2.Rodrigues(turn * axis / np.linalg.norm(axis))[0].T
        extent = np.ptp(self.points, axis=0).max()
        points = self.points + rng.normal(size=(21, 2)) * noise * extent
        return self.vertices @ wrong, self.joints @ wrong, points


def fitted(seen: Seen, depth=None, turn=0.0, noise=0.0, size=1.0, seed=0, **options):
    vertices, joints, points = seen.network(np.random.default_rng(seed), turn, noise, size)
    start = place(joints, points, CAMERA, TURN_PRIOR)
    depth = seen.depth if depth is None else depth
    return fit_depth(vertices, joints, points, CAMERA, depth, start, TURN_PRIOR, **options)


def wrist_error(seen: Seen, depth=None, **how) -> float:
    """Metres."""
    fit = fitted(seen, depth, **how)
    assert fit is not None
    return float(np.linalg.norm(fit.placement.position - seen.position))


@pytest.mark.parametrize("size", [1.0, 0.8, 1.25])
def test_the_wrist_is_found_whatever_size_the_network_thinks(size):
    errors = [wrist_error(Seen(seed), size=1 / size) for seed in range(6)]
    assert max(errors) < 0.008
    scales = [fitted(Seen(seed), size=1 / size).scale for seed in range(6)]
    np.testing.assert_allclose(scales, size, rtol=0.04)


def test_a_network_that_errs_is_put_right():
    """A fifth of a radian and three per cent are about what good weights do."""
    errors = [wrist_error(Seen(s), turn=0.2, noise=0.03, size=1.1, seed=s) for s in range(12)]
    assert np.median(errors) < 0.008 and max(errors) < 0.02


def test_depth_corrects_the_rotation_beyond_what_the_image_does():
    with_depth, without = [], []
    for seed in range(10):
        seen = Seen(seed)
        vertices, joints, points = seen.network(np.random.default_rng(seed), 0.35, 0.02)
        start = place(joints, points, CAMERA, TURN_PRIOR)
        fit = fit_depth(vertices, joints, points, CAMERA, seen.depth, start, TURN_PRIOR)
        for turn, errors in ((start.turn, without), (fit.placement.turn, with_depth)):
            errors.append(np.linalg.norm(joints @ turn.T - seen.joints, axis=1).mean())
    assert np.mean(with_depth) < 0.9 * np.mean(without)


def test_holes_change_little():
    rng = np.random.default_rng(0)
    for seed, hole in enumerate((np.nan, 0.0, np.inf, -1.0)):
        seen = Seen(seed)
        depth = seen.depth.copy()
        depth[rng.random(depth.shape) < 0.6] = hole
        assert wrist_error(seen, depth, noise=0.01) < 0.01


def test_wild_values_change_little():
    rng = np.random.default_rng(1)
    for seed in range(4):
        seen = Seen(seed)
        wild = rng.random(seen.depth.shape) < 0.3
        depth = np.where(wild, rng.uniform(0.1, 3, wild.shape), seen.depth).astype(np.float32)
        assert wrist_error(seen, depth, noise=0.01) < 0.012


@pytest.mark.parametrize("side", ["fingers", "palm"])
def test_a_thing_in_front_of_the_hand_is_not_the_hand(side):
    errors = []
    for seed in range(6):
        seen = Seen(seed)
        middle = (
            seen.points[[8, 12, 16]].mean(0) if side == "fingers" else seen.points[[5, 9, 13, 17]].mean(0)
        )
        half = 0.22 * np.ptp(seen.points, axis=0).max()
        (left, top), (right, bottom) = (middle - half).astype(int), (middle + half).astype(int)
        depth = seen.depth.copy()
        depth[max(top, 0) : bottom, max(left, 0) : right] = 0.35
        errors.append(wrist_error(seen, depth, noise=0.01, turn=0.1, seed=seed))
    assert np.median(errors) < 0.012 and max(errors) < 0.03


def test_depth_that_is_registered_a_little_wrongly_still_serves():
    for seed in range(4):
        seen = Seen(seed)
        assert wrist_error(seen, np.roll(seen.depth, (2, -3), (0, 1)), noise=0.01) < 0.012


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_depth_images_of_another_resolution_serve(factor):
    seen = Seen(3)
    depth = cv2.resize(seen.depth, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    assert wrist_error(seen, depth, noise=0.01) < 0.01


def test_a_hand_that_reaches_over_the_border_is_put_right():
    seen = Seen(2, position=(0.31, 0.1, 0.5))
    assert (seen.points[:, 0] > CAMERA.width).any()
    assert wrist_error(seen, noise=0.01, size=1.1) < 0.015


@pytest.mark.parametrize(
    ("case", "depth"),
    [
        ("nothing known", lambda seen: np.full_like(seen.depth, np.nan)),
        ("the hand is a hole", lambda seen: np.where(seen.covered > 0, 0, seen.depth).astype(np.float32)),
        ("only the wall", lambda seen: np.full_like(seen.depth, 2 * WALL)),
        ("a screen before everything", lambda seen: np.full_like(seen.depth, 0.1)),
    ],
)
def test_depth_that_is_not_the_hands_is_not_used(case, depth):
    seen = Seen(1)
    assert fitted(seen, depth(seen), noise=0.01) is None


def test_once_the_size_is_known_a_screen_before_the_hand_is_told_from_it():
    seen = Seen(4)
    screen = np.full_like(seen.depth, 0.32)
    assert fitted(seen, screen, is_size_known=True) is None
    assert wrist_error(seen, is_size_known=True) < 0.008


def depth_message(values: np.ndarray, encoding: str, big: bool = False, padding: int = 0) -> SimpleNamespace:
    rows = np.frombuffer(values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes(), np.uint8)
    rows = np.pad(rows.reshape(len(values), -1), ((0, 0), (0, padding)))
    return SimpleNamespace(
        height=values.shape[0],
        width=values.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.tobytes(),
    )


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
def test_whole_numbers_are_millimetres(encoding, padding, big):
    values = np.array([[0, 1, 500], [65535, 256, 2]], np.uint16)
    depth = depth_from_message(depth_message(values, encoding, big, padding))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, values / 1000, rtol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_floating_point_numbers_are_metres(big):
    values = np.array([[0.5, np.nan], [np.inf, 0]], np.float32)
    np.testing.assert_array_equal(depth_from_message(depth_message(values, "32FC1", big, 8)), values)


def test_other_images_are_no_depth():
    with pytest.raises(ImageError, match=r"16UC1, mono16, 32FC1, got 'rgb8'"):
        depth_from_message(depth_message(np.zeros((2, 2), np.uint16), "rgb8"))
    short = depth_message(np.zeros((2, 2), np.float32), "32FC1")
    short.data = short.data[:-1]
    with pytest.raises(ImageError, match="15 bytes"):
        depth_from_message(short)
