"""The synthetic renderer: poses, pictures whose labels agree with them, shards and their reader."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moderngl", reason="the renderer needs moderngl (extra `train`)")
pytest.importorskip("scipy", reason="the renderer needs SciPy (extra `train`)")

from rendering import skip_without_opengl

from h2onet_ros.hand.model import open_hand
from train.synthetic import assemble, labels, recording, render, shards
from train.synthetic.backgrounds import Panorama
from train.synthetic.flesh import forward_kinematics, penetration
from train.synthetic.grip import close_around
from train.synthetic.poses import FINGERS, PoseSampler
from train.synthetic.renderer import Shot

COUNT = 12


@pytest.fixture(scope="module")
def factory():
    try:
        return render.Factory(
            render.Recipe(seed=5, triplets=0.5, shard_size=COUNT, painted_skins=2), tiles=(4, 4)
        )
    except RuntimeError as error:
        skip_without_opengl(error)


@pytest.fixture(scope="module")
def data_set(factory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    render.prepare_folder(folder, factory.recipe.description(open_hand()))
    shards.write_shard(shards.shard_path(folder, 0), factory.shard(0, COUNT))
    return shards.ShardSet(folder)


@pytest.fixture(scope="module")
def sampler():
    """One for all tests: its libraries of thumbs take seconds."""
    return PoseSampler(open_hand())


def test_poses_stay_within_the_limits_and_fingers_apart(sampler):
    hand, rng = open_hand(), np.random.default_rng(0)
    angles = np.stack([sampler.draw(rng) for _ in range(60)])
    assert (angles >= hand.pose_limits[..., 0] - 1e-6).all()
    assert (angles <= hand.pose_limits[..., 1] + 1e-6).all()
    assert np.ptp(angles[:, 4, 0]) > np.radians(60), "fingers should be seen both straight and bent"
    joints = forward_kinematics(hand, hand.pose_from_angles(angles))
    assert np.quantile(penetration(joints), 0.95) < 0.006


def test_pinching_brings_thumb_and_index_finger_together(sampler):
    hand, rng = open_hand(), np.random.default_rng(1)
    angles = np.stack([sampler.draw(rng, "pinch") for _ in range(20)])
    joints = forward_kinematics(hand, hand.pose_from_angles(angles))
    gap = np.linalg.norm(joints[:, 4] - joints[:, 8], axis=1)
    assert np.median(gap) < 0.025


def test_fists_are_drawn_as_often_as_other_hands_and_closed(sampler):
    hand, rng = open_hand(), np.random.default_rng(3)
    posed = hand.pose(hand.pose_from_angles(np.stack([sampler.draw(rng) for _ in range(100)])))
    tips, knuckles = posed.joints[:, [8, 12, 16, 20]], posed.joints[:, [5, 9, 13, 17]]
    folded = np.linalg.norm(tips - knuckles, axis=-1) < 0.05
    assert 0.1 < folded.all(1).mean() < 0.4
    assert folded.any(1).mean() < 0.9


def test_one_bent_finger_takes_its_neighbours_along(sampler):
    rng = np.random.default_rng(4)
    bend = np.stack([sampler.draw(rng, "one_bent")[list(FINGERS), 0] for _ in range(60)])
    chosen = bend.argmax(1)
    assert set(chosen) == {0, 1, 2, 3}
    away = np.abs(np.arange(4) - chosen[:, None])
    chosen_bend, next_to_it, far = (np.degrees(bend[away == k]).mean() for k in (0, 1, 2))
    assert chosen_bend > next_to_it + 20 > far + 22


def test_only_the_poses_asked_for_are_drawn():
    hand, rng = open_hand(), np.random.default_rng(5)
    sampler = PoseSampler(hand, {"fist": 1.0})
    posed = hand.pose(hand.pose_from_angles(np.stack([sampler.draw(rng) for _ in range(20)])))
    reach = np.linalg.norm(posed.joints[:, [8, 12, 16, 20]] - posed.joints[:, [5, 9, 13, 17]], axis=-1)
    assert np.median(reach) < 0.05


@pytest.mark.parametrize(("radius", "ball"), [(0.012, False), (0.03, False), (0.03, True)])
def test_a_hand_closes_around_what_it_holds(sampler, radius, ball):
    """Judged by the mesh: most fingers touch the thing's surface, and hardly a vertex is inside."""
    hand = open_hand()
    touching, inside = [], []
    for seed in range(6):
        grip = close_around(sampler, np.random.default_rng(seed), radius, ball)
        posed = hand.pose(hand.pose_from_angles(grip.angles[None]))
        away = posed.vertices[0] - posed.joints[0, 0] - grip.centre
        if not ball:
            away -= (away @ grip.axis)[:, None] * grip.axis
        outside = np.linalg.norm(away, axis=1) - radius
        nearest = [outside[hand.vertex_part == finger].min() for finger in range(5)]
        touching.append(np.sum(np.abs(nearest) < 0.006))
        inside.append((outside < -0.006).mean())
    assert np.mean(touching) >= 3
    assert np.mean(inside) < 0.02


def test_forward_kinematics_agrees_with_the_hand_model(sampler):
    hand = open_hand()
    pose = hand.pose_from_angles(sampler.draw(np.random.default_rng(2))[None])
    expected = hand.pose(pose).joints
    np.testing.assert_allclose(forward_kinematics(hand, pose)[:, 1:4], expected[:, 1:4], atol=1e-5)
    tips = [4, 8, 12, 16, 20]
    np.testing.assert_allclose(forward_kinematics(hand, pose)[:, tips], expected[:, tips], atol=3e-3)


def test_labels_describe_the_same_hand(data_set):
    hand = open_hand()
    for sample in data_set:
        label = sample.labels
        pose = label["pose"].copy()
        posed = hand.pose(pose, label["shape"])
        wrist = posed.joints[:, :1]
        np.testing.assert_allclose(posed.vertices - wrist, label["vertices"], atol=2e-5)
        pose[:, 0] = 0
        np.testing.assert_allclose(
            hand.pose(pose, label["shape"]).vertices, sample.canonical_vertices(), atol=2e-5
        )
        absolute = label["joints"] + label["wrist"][:, None]
        pixels = np.einsum("fij,fnj->fni", label["camera"], absolute)
        np.testing.assert_allclose(pixels[..., :2] / pixels[..., 2:], label["joints2d"], atol=0.02)
        size = np.ptp(label["joints2d"], axis=1).max(1)
        np.testing.assert_allclose(size, 80, atol=0.1)


def test_the_hand_is_drawn_where_the_labels_say(factory):
    """A hand's silhouette contains its inner joints and is as large as its projected vertices."""
    surface, renderer = factory.assembler.surface, factory.assembler.renderer
    for index in range(12):
        scene = factory.sampler.draw(np.random.default_rng([9, index]))
        hand = assemble.pose_plans(surface, [(scene.hand, 0.0)])[0]
        crop, _ = assemble.crop_camera(scene.camera, hand.joints)
        camera = assemble.scaled_camera(crop, assemble.SUPERSAMPLING)
        pieces = assemble.hand_pieces(surface, scene.hand, hand)
        light, centre = scene.backdrop.light, hand.joints[9]
        drawn = renderer.draw([Shot(np.concatenate(pieces), len(pieces[0]), camera, light, centre, 1.0)])[0]
        inner = [k for k in range(1, 21) if k % 4]
        column, row = np.rint(assemble.project(hand.joints[inner], camera)).astype(int).T
        assert drawn.alone[row, column].mean() > 0.9
        outline = assemble.project(hand.vertices, camera)
        rows, columns = np.nonzero(drawn.alone)
        assert np.abs(columns.min() - outline[:, 0].min()) < 2
        assert np.abs(columns.max() - outline[:, 0].max()) < 2
        assert np.abs(rows.min() - outline[:, 1].min()) < 2
        assert np.abs(rows.max() - outline[:, 1].max()) < 2
        assert set(np.unique(drawn.ids)) <= {0, 1, 2, 3, 4, 5, 6, 7}, "nothing else is in this scene"
        assert (drawn.image[..., 3] > 0)[drawn.alone].all()


def test_hands_keep_clear_of_the_camera(factory):
    for index in range(300):
        scene = factory.sampler.draw(np.random.default_rng([3, index]))
        nearest = min(scene.hand.offset_at(time)[2] for time in scene.times)
        assert nearest > 0.1


def test_occlusion_counts_vertices_on_pixels_of_their_own_part():
    ids = np.zeros((10, 10), np.uint8)
    ids[:, :5] = 2  # the index finger in front on the left half
    points = np.array([(1.0, 1.0), (3.0, 8.0), (7.0, 2.0), (-3.0, 4.0), (1e9, 2.0), (2.0, 2.0)])
    part = np.array([1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(labels.visible_vertices(ids, points, part), [0, 2, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("visible", "share", "expected"),
    [
        ([30, 30, 30, 30, 30, 30], 0.40, [0, 0, 0, 0, 0, 0]),
        ([29, 30, 30, 30, 29, 0], 0.40, [1, 0, 0, 0, 1, 0]),
        ([30, 30, 30, 30, 30, 30], 0.39, [0, 0, 0, 0, 0, 1]),
    ],
    ids=["all just visible", "thumb and little finger hidden", "hand hidden"],
)
def test_occlusion_limits_are_the_references_for_manos_counts(visible, share, expected):
    mano = np.array([100, 122, 119, 124, 122, 191])
    np.testing.assert_array_equal(labels.occlusion(np.array(visible), mano, share), np.array(expected, bool))


def test_triplets_go_back_in_time(data_set):
    counts = data_set.frame_counts()
    assert set(counts) == {1, 3}
    for sample in data_set:
        assert len(sample.images) == len(sample.labels["time"])
        assert sample.labels["time"][0] == 0
        if len(sample.images) == 3:
            _, short, long = sample.labels["time"]
            assert 0.1 <= -short <= 0.24
            assert 0.27 <= -long <= 0.37


def test_the_past_often_shows_fingers_that_the_present_hides(factory):
    """Else fusion has nothing to learn from; the fingers keep still enough for the past to tell of them."""
    revealed, bent = [], []
    for index in range(200, 400):
        rng = np.random.default_rng([5, index])
        scene = factory.sampler.draw(rng)
        if len(scene.times) == 3:
            frames = factory.assembler.render([(scene, rng)])[0]
            now, short, long = (frame.labels["occluded"][:5] for frame in frames)
            revealed.append((now & ~(short & long)).any())
            bent.append(np.abs(scene.hand.angles - scene.hand.angles_at(scene.times[1])).max())
        if len(revealed) == 40:
            break
    assert np.mean(revealed) > 0.3
    assert np.median(bent) < np.radians(15)


def test_images_show_something(data_set):
    for sample in data_set:
        for image in sample.images:
            assert image.shape == (160, 160, 3)
            assert image.dtype == np.uint8
            assert image.std() > 2


def test_same_seed_same_data_wherever_a_sample_stands(factory):
    first = factory.samples(2, 3)
    again = factory.samples(3, 1)
    np.testing.assert_array_equal(first[1][0].image, again[0][0].image)
    np.testing.assert_array_equal(first[1][0].labels["vertices"], again[0][0].labels["vertices"])
    assert not np.array_equal(first[0][0].labels["pose"], first[2][0].labels["pose"])


def test_command_line_makes_a_data_set_and_continues_it(tmp_path, monkeypatch, capsys):
    arguments = [
        "render",
        "--out",
        str(tmp_path / "set"),
        "--count",
        "3",
        "--workers",
        "1",
        "--shard-size",
        "2",
        "--painted-skins",
        "1",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    if render.main() != 0:
        skip_without_opengl(capsys.readouterr().err)
    assert len(shards.ShardSet(tmp_path / "set")) == 3
    kept = (tmp_path / "set" / "shard_00000.npz").stat().st_mtime_ns
    (tmp_path / "set" / "shard_00001.npz").unlink()
    assert render.main() == 0
    assert (tmp_path / "set" / "shard_00000.npz").stat().st_mtime_ns == kept
    assert len(shards.ShardSet(tmp_path / "set")) == 3
    monkeypatch.setattr("sys.argv", [*arguments, "--seed", "2"])
    assert render.main() == 1
    assert "begun with other seed" in capsys.readouterr().err
    for poses, says in (("yoga", "expected one of relaxed, open, fist"), ("fist=two", "a positive weight")):
        monkeypatch.setattr("sys.argv", [*arguments, "--poses", "open=2", poses])
        with pytest.raises(SystemExit):
            render.main()
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_stopping_keeps_finished_shards_and_leaves_no_process(tmp_path, how):
    folder = tmp_path / "set"
    command = [sys.executable, "-m", "train.synthetic.render", "--out", str(folder), "--count", "100000"]
    running = subprocess.Popen(
        [*command, "--workers", "1", "--shard-size", "2", "--painted-skins", "1"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(render.__file__).parents[2],
    )
    assert running.stderr is not None
    # The bar first shows a count other than none when a shard is done; carriage returns end its lines.
    seen = ""
    while "2/100000" not in seen and (piece := running.stderr.read(1)):
        seen += piece
    if "2/100000" not in seen:
        skip_without_opengl(seen)
    running.send_signal(how)
    # The stream ends when the last process that holds it has ended, workers included.
    _, last_words = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "the same command continues" in last_words
    assert "Traceback" not in seen + last_words
    assert len(shards.ShardSet(folder)) >= 2


def test_an_interrupted_write_leaves_no_shard(tmp_path):
    class Stop(Exception):
        pass

    class Broken:
        def __array__(self, *_, **__):
            raise Stop

    with pytest.raises(Stop):
        shards.write_shard(tmp_path / "shard_00000.npz", {"good": np.zeros(3), "bad": Broken()})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_reader_refuses_what_is_no_data_set(tmp_path):
    with pytest.raises(shards.ShardError, match=r"No shard_\*\.npz"):
        shards.ShardSet(tmp_path)
    (tmp_path / "shard_00000.npz").write_bytes(b"PK not really")
    with pytest.raises(shards.ShardError, match="not a readable shard"):
        shards.ShardSet(tmp_path)
    np.savez(tmp_path / "shard_00000.npz", first_frame=np.array([{}], object))
    with pytest.raises(shards.ShardError, match="Python objects"):
        shards.ShardSet(tmp_path)
    np.savez(tmp_path / "shard_00000.npz", first_frame=np.zeros(1, np.int32))
    (tmp_path / "dataset.json").write_text(json.dumps({"format": "something else"}))
    with pytest.raises(shards.ShardError, match="something else"):
        shards.ShardSet(tmp_path)


def test_the_recordings_truth_describes_its_picture():
    hand = open_hand()
    grey = Panorama(np.full((64, 128, 3), 0.5, np.float16))
    try:
        studio = recording.DemoStudio(grey, hand)
    except RuntimeError as error:
        skip_without_opengl(error)
    picture, truth = studio.frame(65)
    assert picture.shape == (480, 640, 3)
    assert (truth["visible_share"] > 0.9).all()
    for side, mirror in enumerate((1.0, -1.0)):
        posed = hand.pose(truth["pose"][side], studio.shape)
        turn = truth["rotation"][side] * np.array([mirror, 1, 1])
        joints = (posed.joints - posed.joints[0]) @ turn.T + truth["joints"][side, 0]
        np.testing.assert_allclose(joints, truth["joints"][side], atol=1e-5)
        pixels = joints @ recording.CAMERA.T
        np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], truth["joints2d"][side], atol=0.01)
        column, row = np.rint(truth["joints2d"][side][[5, 9, 13, 17]]).astype(int).T
        skin, wall = picture[row, column].astype(int), picture[20, 20].astype(int)
        assert (np.ptp(skin, axis=1) > np.ptp(wall) + 20).all(), "the knuckles should be skin, not grey wall"
