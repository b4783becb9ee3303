import cv2
import numpy as np
import pytest

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.draw import DrawOptions, draw_overlay, part_colours
from h2onet_ros.perception.types import Hand, Region

CAMERA = Camera.assumed(320, 240)
MESH = DrawOptions(skeleton=False, labels=False, opacity=1.0)


def ball(rings: int = 12, segments: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A sphere of radius 5 cm, faces counter-clockwise from outside."""
    polar = np.linspace(0, np.pi, rings + 1)
    round_ = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    p, r = np.meshgrid(polar, round_, indexing="ij")
    vertices = 0.05 * np.stack([np.sin(p) * np.cos(r), np.sin(p) * np.sin(r), np.cos(p)], -1).reshape(-1, 3)
    a = (np.arange(rings)[:, None] * segments + np.arange(segments)).reshape(-1)
    b = (np.arange(rings)[:, None] * segments + (np.arange(segments) + 1) % segments).reshape(-1)
    faces = np.concatenate([np.stack([a, a + segments, b], 1), np.stack([b, a + segments, b + segments], 1)])
    return vertices.astype(np.float32), faces


VERTICES, FACES = ball()
PARTS = np.where(VERTICES[FACES].mean(1)[:, 0] < 0, 0, 5)  # thumb on the camera's left, palm on its right


def hand(position=(0.0, 0.0, 0.4), occlusion=(0,) * 6, handedness="right") -> Hand:
    position = np.array(position, np.float32)
    mirror = np.array([-1 if handedness == "left" else 1, 1, 1], np.float32)
    vertices = VERTICES * mirror + position
    joints = vertices[:: len(vertices) // 21][:21]
    with np.errstate(invalid="ignore"):
        points = CAMERA.project(joints).astype(np.float32)
    return Hand(
        7,
        handedness,
        0.9,
        0.9,
        Region(160, 120, 150),
        position,
        np.eye(3, dtype=np.float32),
        joints,
        vertices,
        np.array(occlusion, np.float32),
        points,
        1.0,
    )


def draw(*hands, options=MESH, image=None):
    image = np.full((240, 320, 3), 90, np.uint8) if image is None else image
    return draw_overlay(image, hands, CAMERA, FACES, PARTS, options)


@pytest.mark.parametrize("handedness", ["right", "left"])
def test_the_mesh_covers_its_projection_and_nothing_else(handedness):
    changed = (draw(hand(handedness=handedness)) != 90).any(-1)
    outline = cv2.convexHull(CAMERA.project(VERTICES + np.array([0, 0, 0.4])).astype(np.float32))
    truth = cv2.fillConvexPoly(np.zeros((240, 320), np.uint8), np.round(outline).astype(int), 1).astype(bool)
    assert (changed & truth).sum() / (changed | truth).sum() > 0.97


def test_the_image_given_is_left_alone():
    image = np.full((240, 320, 3), 90, np.uint8)
    draw(hand(), options=DrawOptions(regions=True), image=image)
    assert (image == 90).all()


def test_hidden_fingers_turn_red_and_others_keep_their_colour():
    seen, hidden = draw(hand()), draw(hand(occlusion=(1, 0, 0, 0, 0, 0)))
    thumb, palm = (120, 140), (120, 180)
    assert hidden[thumb][0] > 1.8 * max(hidden[thumb][1:]) and seen[thumb][1] > hidden[thumb][1]
    np.testing.assert_array_equal(seen[palm], hidden[palm])


def test_the_side_that_faces_the_camera_is_shown():
    """Also of a mirrored ball: its thumb's half is at the camera's right."""
    thumb = part_colours(np.zeros(6))[0]
    for handedness, x in (("right", 140), ("left", 180)):
        colour = draw(hand(handedness=handedness))[120, x].astype(float)
        assert np.corrcoef(colour, thumb)[0, 1] > 0.95


def test_the_nearer_hand_covers_the_farther():
    near, far = hand((0.01, 0, 0.3), (1,) * 6), hand((-0.01, 0, 0.5))
    np.testing.assert_array_equal(draw(near, far), draw(far, near))
    assert draw(near, far)[120, 165][0] > 1.8 * draw(near, far)[120, 165][1]


def test_opacity_lets_the_image_through():
    solid, half = draw(hand()), draw(hand(), options=DrawOptions(skeleton=False, labels=False, opacity=0.5))
    np.testing.assert_allclose(half.astype(int), (solid.astype(int) + 90) / 2, atol=1)


@pytest.mark.parametrize("part", ["mesh", "skeleton", "labels", "regions"])
def test_each_part_is_drawn_on_request_only(part):
    nothing = dict.fromkeys(("mesh", "skeleton", "labels", "regions"), False)
    assert (draw(hand(), options=DrawOptions(**nothing)) == 90).all()
    assert (draw(hand(), options=DrawOptions(**{**nothing, part: True})) != 90).any()


@pytest.mark.parametrize(
    "position",
    [(0, 0, -1), (0, 0, 0.04), (30, 0, 0.5), (0.2, 0.15, 0.4), (-5000, 5000, 0.06), (np.nan, 0, 1)],
    ids=["behind", "around the camera", "outside", "cut by the border", "far outside", "not a number"],
)
def test_hands_anywhere_can_be_drawn(position):
    assert draw(hand(position), options=DrawOptions(regions=True)).shape == (240, 320, 3)


def test_unknown_occlusion_is_drawn_as_visible():
    np.testing.assert_array_equal(draw(hand(occlusion=(np.nan,) * 6)), draw(hand()))


def test_read_only_images_of_other_layouts_are_accepted():
    image = np.full((3, 240, 320), 90, np.uint8).transpose(1, 2, 0)
    image.flags.writeable = False
    np.testing.assert_array_equal(draw(hand(), image=image), draw(hand()))
