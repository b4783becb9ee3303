import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2onet_ros.perception.camera import Camera, CameraError

K = np.array([[500.0, 0, 310], [0, 510, 250], [0, 0, 1]])
LENSES = {
    "none": None,
    "plumb_bob": np.array([-0.2, 0.05, 0.001, -0.002, 0.01]),
    "rational_polynomial": np.array([0.1, 0.05, 0.001, 0.001, 0.01, 0.02, 0.01, 0.0]),
    "equidistant": np.array([0.01, 0.002, -0.001, 0.0002]),
}


@pytest.mark.parametrize("model", LENSES)
def test_pixels_lead_back_along_the_same_ray(model):
    camera = Camera(640, 480, K, LENSES[model], model)
    points = np.random.default_rng(0).normal(size=(2, 21, 3)) * 0.1 + [0, 0, 0.6]
    np.testing.assert_allclose(
        camera.normalise(camera.project(points)), points[..., :2] / points[..., 2:], atol=1e-6
    )


LONG = np.array([0.1, 0.05, 0.001, 0.001, 0.01, 0.02, 0.01, 0.0, 0.001, -0.002, 0.001, 0.002])
BEYOND = {**LENSES, "rational_polynomial with thin prism": LONG, "plumb_bob of four": LENSES["plumb_bob"][:4]}


@pytest.mark.parametrize("name", [name for name in BEYOND if name != "none"])
def test_pixels_are_those_of_opencv(name):
    """An independent projection of the same lens, far off axis, too."""
    model, coefficients = name.split()[0], BEYOND[name]
    camera = Camera(640, 480, K, coefficients, model)
    points = np.random.default_rng(1).uniform((-0.4, -0.3, 0.5), (0.4, 0.3, 1.0), (50, 3))
    if model == "equidistant":
        # Kannala and Brandt: the radius is a polynomial of the angle to the axis.
        angle = np.arctan2(np.hypot(*points.T[:2]), points[:, 2])
        radius = angle * (1 + sum(c * angle ** (2 * i + 2) for i, c in enumerate(coefficients)))
        unit = points[:, :2] / np.hypot(*points.T[:2])[:, None]
        expected = radius[:, None] * unit * camera.focal + camera.principal_point
    else:
        expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, coefficients)[0][:, 0]
    np.testing.assert_allclose(camera.project(points), expected, atol=1e-6)
    np.testing.assert_allclose(camera.normalise(expected), points[:, :2] / points[:, 2:], atol=1e-6)


def test_a_known_barrel_distortion():
    """Half way to 45 degrees off axis: r (1 + k1 r^2 + k2 r^4) of plumb_bob, by hand."""
    camera = Camera(640, 480, K, np.array([-0.2, 0.05, 0, 0, 0]), "plumb_bob")
    radius = 0.5 * (1 - 0.2 * 0.25 + 0.05 * 0.0625)
    np.testing.assert_allclose(camera.project(np.array([0.5, 0, 1.0])), [310 + 500 * radius, 250])


def test_an_equidistant_lens_without_coefficients_is_no_pinhole():
    camera = Camera(640, 480, K, np.zeros(4), "equidistant")
    seen = camera.project(np.array([np.tan(0.8), 0, 1.0]))
    np.testing.assert_allclose(seen, [310 + 500 * 0.8, 250])
    np.testing.assert_allclose(camera.normalise(seen), [np.tan(0.8), 0], atol=1e-9)


@pytest.mark.parametrize("model", [name for name in LENSES if name != "none"])
def test_rectified_images_and_rectified_points_agree(model):
    """OpenCV's rectification of the image moves a dot to where the camera says that its ray goes."""
    camera = Camera(640, 480, K, LENSES[model], model)
    straight = Camera(640, 480, K)
    dot = np.array([0.35, -0.22, 1.0])
    at = camera.project(dot)
    image = np.zeros((480, 640), np.uint8)
    cv2.circle(image, tuple(np.round(at * 16).astype(int).tolist()), 4 * 16, 255, -1, shift=4)
    make = cv2.fisheye.initUndistortRectifyMap if model == "equidistant" else cv2.initUndistortRectifyMap
    maps = make(K, LENSES[model], np.eye(3), K, (640, 480), cv2.CV_32FC1)
    moments = cv2.moments(cv2.remap(image, *maps, cv2.INTER_LINEAR))
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    np.testing.assert_allclose(straight.project(dot), centre, atol=0.3)


@pytest.mark.parametrize("model", [name for name in LENSES if name != "none"])
def test_pixels_that_no_ray_reaches_do_no_harm(model):
    camera = Camera(640, 480, K, LENSES[model], model)
    far = camera.normalise(np.array([[1e6, -1e6], [-1e4, 5.0]]))
    assert far.shape == (2, 2)


def test_a_distorting_lens_moves_points_off_axis_only():
    straight = Camera(640, 480, K)
    barrel = Camera(640, 480, K, LENSES["plumb_bob"], "plumb_bob")
    np.testing.assert_allclose(barrel.project(np.array([0, 0, 1.0])), [310, 250])
    corner = np.array([-0.5, -0.4, 1.0])
    assert np.linalg.norm(barrel.project(corner) - [310, 250]) < np.linalg.norm(
        straight.project(corner) - [310, 250]
    )


def test_points_behind_the_camera_have_no_pixel():
    pixels = Camera(640, 480, K).project(np.array([[0, 0, 1.0], [0.1, 0.1, -1.0], [0, 0, 0]]))
    assert np.isfinite(pixels[0]).all() and np.isnan(pixels[1:]).all()


@given(
    st.integers(32, 4000),
    st.integers(32, 4000),
    st.floats(0.2, 4),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.floats(0.2, 5),
)
def test_scaling_the_image_scales_pixel_edges(width, height, ratio, x, y, z):
    camera = Camera.assumed(width, height)
    target = max(1, round(width * ratio)), max(1, round(height * ratio))
    before, after = (c.project(np.array([x, y, z])) for c in (camera, camera.scaled(*target)))
    np.testing.assert_allclose(
        (before + 0.5) * np.array(target) / (width, height), after + 0.5, rtol=1e-6, atol=1e-6
    )


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.2, 5))
def test_the_mirrored_camera_sees_the_mirrored_world(x, y, z):
    camera = Camera(640, 480, K)
    u, v = camera.project(np.array([x, y, z]))
    np.testing.assert_allclose(camera.mirrored().project(np.array([-x, y, z])), [639 - u, v], atol=1e-6)


def test_the_assumed_camera_has_the_field_of_view_it_says():
    camera = Camera.assumed(1280, 720, np.radians(80))
    assert camera.is_assumed
    left, right = camera.normalise(np.array([[-0.5, 0], [1279.5, 0]]))[:, 0]
    assert np.degrees(np.arctan(right) - np.arctan(left)) == pytest.approx(80)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 480, K), "positive image size"),
        ((640, 480, np.zeros((3, 3))), "not calibrated"),
        ((640, 480, np.full((3, 3), np.nan)), "finite 3 x 3"),
        ((640, 480, np.eye(4)), "finite 3 x 3"),
        ((640, 480, K + np.eye(3)[::-1]), r"expected \[\[fx, 0, cx\]"),
        ((640, 480, K, np.ones(5), "fancy_lens"), "plumb_bob"),
        ((640, 480, K, np.ones(3), "plumb_bob"), "coefficients"),
        ((640, 480, K, np.array([np.inf, 0, 0, 0]), "plumb_bob"), "finite coefficients"),
    ],
)
def test_what_is_no_camera_is_refused(arguments, message):
    with pytest.raises(CameraError, match=message):
        Camera(*arguments)


def test_all_zero_distortion_is_no_distortion():
    camera = Camera(640, 480, K, np.zeros(5), "plumb_bob")
    assert camera.mirrored().k[0, 2] == 639 - 310


@given(st.floats(0, 639), st.floats(0, 479))
def test_turning_to_a_pixel_moves_the_optical_axis_onto_its_ray_the_short_way(u, v):
    camera = Camera(640, 480, K)
    turn = camera.view_rotation(np.array([u, v]))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(camera.project(turn[:, 2]), [u, v], atol=1e-6)
    angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
    assert angle == pytest.approx(np.arccos(turn[2, 2]), abs=1e-6)


def test_a_hand_at_the_centre_is_not_turned():
    np.testing.assert_allclose(Camera(640, 480, K).view_rotation(np.array([310, 250])), np.eye(3))
