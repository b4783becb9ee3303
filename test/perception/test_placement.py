import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.placement import TURN_PRIOR, place

CAMERAS = {
    "wide": Camera(640, 480, np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])),
    "usual": Camera(640, 480, np.array([[600.0, 0, 310], [0, 605, 250], [0, 0, 1]])),
    "tele": Camera(1280, 720, np.array([[2500.0, 0, 640], [0, 2500, 360], [0, 0, 1]])),
    "off-centre": Camera(640, 480, np.array([[500.0, 0, 40], [0, 480, 470], [0, 0, 1]])),
    "distorting": Camera(
        640,
        480,
        np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]]),
        np.array([-0.25, 0.06, 0.001, 0.0, 0.0]),
        "plumb_bob",
    ),
}


def hand_joints(seed: int = 0) -> np.ndarray:
    """Points spread like a hand's joints: a flat fan of fingers, turned at random, wrist at the origin."""
    rng = np.random.default_rng(seed)
    fan = np.zeros((21, 3))
    for finger in range(5):
        angle = np.radians(-40 + 18 * finger)
        for joint in range(4):
            length = (0.05, 0.09, 0.12, 0.14)[joint]
            fan[1 + 4 * finger + joint] = length * np.sin(angle), -length * np.cos(angle), 0.01 * joint
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return (fan @ turn.T).astype(np.float32)


@pytest.mark.parametrize("name", CAMERAS)
@given(seed=st.integers(0, 10**6), x=st.floats(-0.3, 0.3), y=st.floats(-0.25, 0.25), z=st.floats(0.2, 2.0))
@settings(max_examples=30, deadline=None)
def test_exact_points_give_the_exact_position(name, seed, x, y, z):
    camera, joints = CAMERAS[name], hand_joints(seed)
    position = np.array([x * z, y * z, z])
    placement = place(joints, camera.project(joints + position), camera)
    assert placement is not None
    np.testing.assert_allclose(placement.position, position, atol=1e-4 * z)
    assert placement.reprojection_error < 0.01


@pytest.mark.parametrize("name", CAMERAS)
def test_noise_of_two_percent_moves_the_hand_by_two_percent(name):
    camera = CAMERAS[name]
    rng = np.random.default_rng(1)
    errors = []
    for seed in range(40):
        joints, position = hand_joints(seed), np.array([0.02, -0.03, 0.5])
        points = camera.project(joints + position)
        noisy = points + rng.normal(size=points.shape) * 0.02 * np.ptp(points, axis=0).max()
        errors.append(np.linalg.norm(place(joints, noisy, camera).position - position))
    assert np.mean(errors) < 0.02 * 0.5


@pytest.mark.parametrize("turned", [50, 70])
def test_a_hand_that_hardly_fits_its_points_does_not_shrink_into_the_distance(turned):
    camera, position = CAMERAS["usual"], np.array([0.05, 0.02, 0.6])
    turn = cv2.Rodrigues(np.radians([0.0, 0.0, turned]))[0]
    for seed in range(5):
        joints = hand_joints(seed)
        placed = place(joints @ turn.T, camera.project(joints + position), camera)
        assert placed.position[2] == pytest.approx(0.6, rel=0.35)


def test_a_few_wild_points_are_resisted():
    camera, joints, position = CAMERAS["usual"], hand_joints(3), np.array([0.05, 0.02, 0.6])
    points = camera.project(joints + position)
    points[[4, 8, 12]] += 0.6 * np.ptp(points, axis=0).max()
    robust = place(joints, points, camera)
    directions = camera.normalise(points)
    rows = np.concatenate(
        [
            np.c_[np.tile([1, 0], (21, 1)), -directions[:, 0]],
            np.c_[np.tile([0, 1], (21, 1)), -directions[:, 1]],
        ]
    )
    right = (directions * joints[:, 2:] - joints[:, :2]).T.reshape(-1)
    plain = np.linalg.lstsq(rows, right, rcond=None)[0]
    error, plain_error = (np.linalg.norm(p - position) for p in (robust.position, plain))
    assert error < 0.02 and error < plain_error / 3


def test_a_mirrored_hand_in_a_mirrored_camera_is_placed_at_the_mirror_image():
    camera, joints = CAMERAS["off-centre"], hand_joints(5)
    points = camera.project(joints + np.array([0.1, -0.05, 0.4])) + np.random.default_rng(0).normal(
        size=(21, 2)
    )
    mirror = np.array([-1, 1, 1])
    one = place(joints, points, camera)
    other = place(joints * mirror, np.array([camera.width - 1, 0]) + points * [-1, 1], camera.mirrored())
    np.testing.assert_allclose(one.position * mirror, other.position, atol=1e-5)
    assert one.reprojection_error == pytest.approx(other.reprojection_error, rel=1e-4)


def turned_wrongly(joints: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """Joints turned by `angle` radians about an axis drawn by chance."""
    axis = rng.normal(size=3)
    return joints @ cv2.Rodrigues(angle * axis / np.linalg.norm(axis))[0].T


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees of the smallest turn from points `(21, 3)` to others."""
    u, _, v = np.linalg.svd(a.T @ b)
    u[:, 2] *= np.sign(np.linalg.det(u @ v))
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(u @ v)[0])))


def rotation_errors(angle: float, noise: float, prior: float | None) -> np.ndarray:
    """Degrees left for 60 hands turned wrongly by `angle` radians, with image points off by `noise` boxes."""
    errors = []
    for seed in range(60):
        camera, rng = CAMERAS["usual"], np.random.default_rng(seed)
        joints, position = hand_joints(seed), np.array([0.05, -0.02, 0.5])
        points = camera.project(joints + position)
        points = points + rng.normal(size=points.shape) * noise * np.ptp(points, axis=0).max()
        wrong = turned_wrongly(joints, angle, rng)
        placement = place(wrong, points, camera, prior)
        if placement is None:
            print("none", seed)
            continue
        errors.append(angle_between(wrong @ placement.turn.T, joints))
    return np.array(errors)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_right_rotation_is_left_right(name):
    camera = CAMERAS[name]
    for seed in range(20):
        joints, position = hand_joints(seed), np.array([0.02, -0.03, 0.5])
        placement = place(joints, camera.project(joints + position), camera, TURN_PRIOR)
        np.testing.assert_allclose(placement.turn, np.eye(3), atol=1e-3)
        np.testing.assert_allclose(placement.position, position, atol=1e-3)


@pytest.mark.parametrize("angle", [0.2, 0.4, 0.6])
def test_a_wrong_rotation_is_corrected_by_the_image_points(angle):
    before = rotation_errors(angle, 0.03, None)
    after = rotation_errors(angle, 0.03, TURN_PRIOR)
    np.testing.assert_allclose(before, np.degrees(angle), rtol=1e-3)
    assert np.median(after) < 0.55 * np.degrees(angle)


@pytest.mark.parametrize(("angle", "noise"), [(0.0, 0.03), (0.05, 0.03), (0.1, 0.05)])
def test_a_good_rotation_is_not_spoilt_by_the_image_points(angle, noise):
    """Weights whose rotation is good to 6 degrees see points to a twentieth of the box."""
    assert rotation_errors(angle, noise, TURN_PRIOR).mean() < np.degrees(angle) + 2.5


@pytest.mark.parametrize("angle", [1.6, 2.4])
def test_a_rotation_that_is_far_off_is_given_up(angle):
    after = rotation_errors(angle, 0.03, TURN_PRIOR)
    print(np.percentile(after, [25, 50, 75, 90]))
    assert np.median(after) < 15


def test_a_firmer_prior_turns_less():
    turned = [np.degrees(0.3) - rotation_errors(0.3, 0.02, prior).mean() for prior in (0.3, 1.0, 10.0)]
    assert turned[0] > turned[1] > turned[2] > 0
    assert turned[2] < 1


def test_wild_points_do_not_turn_the_hand_away():
    camera = CAMERAS["usual"]
    for seed in range(10):
        joints, position = hand_joints(seed), np.array([0.05, 0.02, 0.6])
        points = camera.project(joints + position)
        points[[4, 8]] += 0.6 * np.ptp(points, axis=0).max()
        placement = place(joints, points, camera, TURN_PRIOR)
        assert np.degrees(np.linalg.norm(cv2.Rodrigues(placement.turn)[0])) < 20


def test_two_hands_before_one_camera_keep_their_places_to_each_other():
    """With the hands' shapes known, what is off is off alike: the camera's intrinsics are shared."""
    for camera in CAMERAS.values():
        left, right = hand_joints(1), hand_joints(2)
        places = np.array([[-0.12, 0.02, 0.55], [0.1, -0.03, 0.48]])
        rng = np.random.default_rng(0)
        found = []
        for joints, position in zip((left, right), places, strict=True):
            points = camera.project(joints + position)
            points = points + rng.normal(size=points.shape) * 0.01 * np.ptp(points, axis=0).max()
            found.append(place(joints, points, camera).position)
        assert np.linalg.norm((found[0] - found[1]) - (places[0] - places[1])) < 0.01


@given(st.integers(0, 10**6), st.floats(0, 1e7))
@settings(max_examples=100, deadline=None)
def test_arbitrary_points_turn_a_hand_into_nothing_unbelievable(seed, scale):
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(21, 3)) * rng.random()
    placement = place(joints, rng.normal(size=(21, 2)) * scale, CAMERAS["usual"], TURN_PRIOR)
    if placement is not None:
        assert np.isfinite(placement.position).all() and placement.position[2] > 0
        np.testing.assert_allclose(placement.turn @ placement.turn.T, np.eye(3), atol=1e-6)
        assert np.isfinite(placement.reprojection_error)


@pytest.mark.parametrize(
    ("case", "joints", "points"),
    [
        ("not finite", np.full((21, 3), np.nan), np.zeros((21, 2))),
        ("infinite points", hand_joints(), np.full((21, 2), np.inf)),
        ("all points in one place", hand_joints(), np.full((21, 2), 100.0)),
        ("hand without extent", np.zeros((21, 3)), np.random.default_rng(0).random((21, 2)) * 100),
        (
            "turned inside out: behind the camera",
            hand_joints(),
            CAMERAS["usual"].project(-hand_joints() * [1, 1, -1] + [0, 0, 0.5]),
        ),
    ],
)
def test_no_position_is_invented(case, joints, points):
    assert place(joints, points, CAMERAS["usual"]) is None


@given(st.integers(0, 10**6), st.floats(0, 1e7))
@settings(max_examples=200, deadline=None)
def test_arbitrary_points_never_fail(seed, scale):
    rng = np.random.default_rng(seed)
    placement = place(
        rng.normal(size=(21, 3)) * rng.random(), rng.normal(size=(21, 2)) * scale, CAMERAS["usual"]
    )
    if placement is not None:
        assert np.isfinite(placement.position).all() and placement.position[2] > 0


def test_wrong_shapes_are_named():
    with pytest.raises(
        ValueError, match=r"image_points: expected an array of shape \(21, 2\), got \(20, 2\)"
    ):
        place(np.zeros((21, 3)), np.zeros((20, 2)), CAMERAS["usual"])
