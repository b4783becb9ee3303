"""Rendered sequences and the recordings made of them: truth that fits the pictures, the same for a seed."""

import hashlib
import sys

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

pytest.importorskip("moderngl", reason="the renderer needs moderngl (extra `train`)")
pytest.importorskip("scipy", reason="the renderer needs SciPy (extra `train`)")

from rendering import skip_without_opengl

from h2onet_ros.bag import make_bag
from h2onet_ros.bag.message_types import create_typestore
from h2onet_ros.perception.camera_info import camera_from_info
from train.synthetic.sequence import WALL, SyntheticFootage

SIZE = (192, 144)


def footage(**settings):
    try:
        return SyntheticFootage(**({"seconds": 3.0, "size": SIZE, "frame_rate": 2.0} | settings))
    except RuntimeError as error:
        skip_without_opengl(error)


@pytest.fixture(scope="module")
def two_hands():
    film = footage(hands=2, seed=1, has_depth=True, frame_rate=5.0)
    return film, list(film.moments())


def test_two_hands_cross_and_hide_each_other(two_hands):
    _, moments = two_hands
    hands = [{hand.handedness: hand for hand in moment.truth.hands} for moment in moments]
    ahead = [
        np.sign(each["right"].position[0] - each["left"].position[0]) for each in hands if len(each) == 2
    ]
    assert {-1, 1} <= set(ahead), "each should be on either side at some time"
    assert {hand.track_id for each in hands for hand in each.values()} == {1, 2}
    left = np.stack([each["left"].occlusion for each in hands if "left" in each])
    assert left.any() and not left.all(), "the hand behind should be hidden at some times"


def test_the_truth_is_where_the_pictures_show_it(two_hands):
    film, moments = two_hands
    under = []
    for moment in moments:
        nearest = min(float(hand.vertices[:, 2].min()) for hand in moment.truth.hands)
        assert moment.depth.min() == pytest.approx(nearest, abs=0.01)
        for hand in moment.truth.hands:
            np.testing.assert_allclose(film.camera.project(hand.joints), hand.image_points, atol=0.01)
            if hand.handedness == "right":
                # Nothing but its own fingers is before the right hand: joints lie under what depth shows.
                column, row = np.rint(hand.image_points[[5, 9, 13, 17]]).astype(int).T
                under.append(hand.joints[[5, 9, 13, 17], 2] - moment.depth[row, column])
    assert np.min(under) > -0.005 and np.median(under) < 0.03
    assert moments[0].depth[0, 0] == np.float32(WALL)


def test_one_hand_and_another_camera():
    film = footage(hands=1, seed=4, focal=400.0)
    assert film.camera.focal.tolist() == [400, 400]
    for moment in film.moments():
        assert [hand.handedness for hand in moment.truth.hands] == ["right"]
        assert moment.bgr.shape == (144, 192, 3) and moment.depth is None
        inside = (moment.truth.hands[0].image_points >= 0) & (moment.truth.hands[0].image_points < SIZE)
        assert inside.all(1).mean() > 0.8


def truth_digest(path):
    sha = hashlib.sha256()
    with Reader(path) as reader:
        for connection, time, data in reader.messages():
            if connection.topic.startswith("/ground_truth"):
                sha.update(time.to_bytes(8, "big") + bytes(data))
    return sha.hexdigest()


def test_a_recording_of_rendered_hands(tmp_path, capsys):
    arguments = ["--synthetic", "--hands", "2", "--seconds", "1", "--rate", "4", "--size", "96x72", "--depth"]
    for name, seed in (("first", "7"), ("again", "7"), ("other", "8")):
        code = make_bag.main([*arguments, "--seed", seed, "--out", str(tmp_path / name)])
        error = capsys.readouterr().err
        if "No off-screen OpenGL" in error:
            pytest.skip("no off-screen OpenGL here")
        assert code == 0
    assert truth_digest(tmp_path / "first") == truth_digest(tmp_path / "again")
    assert truth_digest(tmp_path / "first") != truth_digest(tmp_path / "other")
    store = create_typestore()
    with Reader(tmp_path / "first") as reader:
        messages = {}
        for connection, _, data in reader.messages():
            messages.setdefault(connection.topic, []).append(store.deserialize_cdr(data, connection.msgtype))
    counts = {topic: len(entries) for topic, entries in messages.items()}
    assert counts == {
        "/camera/image_raw/compressed": 4,
        "/camera/camera_info": 4,
        "/camera/aligned_depth_to_color/image_raw": 4,
        "/ground_truth/hands": 4,
        "/ground_truth/topology": 1,
    }
    camera = camera_from_info(messages["/camera/camera_info"][0], 96, 72)
    vertex_count = messages["/ground_truth/topology"][0].vertex_count
    depth = messages["/camera/aligned_depth_to_color/image_raw"][0]
    assert (depth.encoding, depth.width, depth.height, depth.step) == ("16UC1", 96, 72, 192)
    millimetres = depth.data.view(np.uint16)
    assert millimetres.max() == 1000 * WALL and 200 < millimetres.min() < 1000 * WALL
    for array in messages["/ground_truth/hands"]:
        for hand in array.hands:
            joints = np.array([[p.x, p.y, p.z] for p in hand.joints])
            np.testing.assert_allclose(camera.project(joints), hand.image_points.reshape(21, 2), atol=0.01)
            assert len(hand.vertices) == 3 * vertex_count


def test_a_camera_that_no_hand_fits(capsys, tmp_path):
    assert make_bag.main(["--synthetic", "--focal", "10", "--out", str(tmp_path / "bag")]) == 2
    assert "does not go with images of 640 x 480" in capsys.readouterr().err


def test_what_renders_may_be_absent(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "train.synthetic.sequence", None)
    assert make_bag.main(["--synthetic", "--out", str(tmp_path / "bag")]) == 2
    assert "not installed here" in capsys.readouterr().err and not (tmp_path / "bag").exists()
