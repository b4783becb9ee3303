"""Data sets, fits and batches, through the doors that the training program uses."""

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

from tiny import write_real, write_synthetic

from h2onet_ros.hand.model import open_hand
from h2onet_ros.perception.crop import transform_points
from train.augment import CropJitter, random_affine, turned_upright
from train.batches import Ingredient, Mixture, StepBatches
from train.data import RealSource, SyntheticSource, make_crop
from train.datasets.base import DataSetError
from train.fit import Fits, fit, meshes
from train.real_crops import RealCrops, RealCropsError
from train.sampling import stretched
from train.synthetic.poses import MIDDLE
from train.synthetic.shards import shard_path, write_shard


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folder, truth = write_real(tmp_path_factory.mktemp("real"))
    return RealCrops.load(folder), truth, folder


@pytest.fixture(scope="module")
def fits(crops):
    return fit(crops[0], open_hand(), steps=150)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return SyntheticSource(write_synthetic(tmp_path_factory.mktemp("synthetic")))


def test_left_hands_are_mirrored_and_drawn_over_ones_left_out(crops):
    loaded, truth, _ = crops
    assert "dwivedi/00011.jpg" not in loaded.names
    kept = [i for i in range(13) if i != 6]
    np.testing.assert_allclose(loaded.joints2d, truth["joints2d"][kept], atol=1e-3)
    np.testing.assert_allclose(loaded.joints3d, truth["joints"][kept], atol=1e-6)
    assert loaded.mirrored.any() and not loaded.mirrored.all()
    for i in range(len(loaded)):
        # The wrist end of every drawn bone is bright, in the mirrored pictures too.
        x, y = np.round(loaded.joints2d[i, 5]).astype(int)
        assert loaded.image(i)[y, x].max() > 120


def test_a_zip_file_gives_the_same(crops, tmp_path):
    loaded, _, folder = crops
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    again = RealCrops.load(tmp_path / "real.zip")
    assert (again.names == loaded.names).all()
    np.testing.assert_array_equal(again.image(3), loaded.image(3))


def test_the_held_out_source_is_not_trained_on(crops):
    training, held_out = crops[0].split()
    assert set(training.sources) == {"people"} and set(held_out.sources) == {"dwivedi"}


@pytest.mark.parametrize("damage", ["missing", "short", "no labels"])
def test_bad_crops_are_named(tmp_path, damage):
    folder, _ = write_real(tmp_path / "real", per_source=2)
    if damage == "missing":
        (folder / "people/00001.jpg").unlink()
    elif damage == "short":
        with np.load(folder / "labels.npz") as stored:
            arrays = dict(stored)
        arrays["joints2d"] = arrays["joints2d"][:1]
        np.savez(folder / "labels.npz", **arrays)
    else:
        (folder / "labels.npz").unlink()
    with pytest.raises(RealCropsError, match=r"labels|joints2d|00001"):
        RealCrops.load(folder)


def test_fits_find_the_hand_behind_the_landmarks(crops, fits):
    loaded, truth, _ = crops
    assert np.median(fits.error) < 0.02
    assert fits.good().mean() > 0.8
    vertices, rotation = meshes(fits, open_hand(), np.arange(len(loaded)))
    kept = [i for i in range(13) if i != 6]
    cosine = (np.einsum("nij,nij->n", rotation, truth["rotation"][kept]) - 1) / 2
    assert np.median(np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))) < 12
    true = truth["vertices"][kept] @ truth["rotation"][kept]
    regressor = open_hand().standard_regressor()
    found = vertices - (regressor[0] @ vertices)[:, None]
    # Weak perspective cannot tell size from distance; the mean shape's size stands.
    ratio = np.linalg.norm(true, axis=-1).mean(1) / np.linalg.norm(found, axis=-1).mean(1)
    assert np.linalg.norm(found * ratio[:, None, None] - true, axis=-1).mean() < 0.012


def test_fits_survive_the_disk_and_refuse_other_files(fits, tmp_path):
    fits.save(tmp_path / "fits.npz")
    again = Fits.load(tmp_path / "fits.npz")
    np.testing.assert_array_equal(again.pose, fits.pose)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"train\.fit"):
        Fits.load(tmp_path / "other.npz")


def test_labels_follow_the_crop(synthetic):
    """Whatever the crop, the labels project where a camera that looks at its middle sees them."""
    rng = np.random.default_rng(3)
    jitter = CropJitter(rotation=np.pi, rotate_probability=1.0)
    regressor = open_hand().standard_regressor()
    for _ in range(10):
        frame = synthetic.draw(rng, 1)[0]
        _, uv, rotation = make_crop(frame, float(rng.uniform(-3, 3)), jitter, rng)
        joints = regressor @ frame.vertices
        seen = (joints - joints[0]) @ rotation.T
        flat = seen[:, :2] - seen[:, :2].mean(0)
        points = uv - uv.mean(0)
        # The best similarity without a rotation must explain the points up to perspective.
        scale = (flat * points).sum() / (flat * flat).sum()
        assert np.abs(flat * scale - points).max() < 0.12 * np.ptp(points)
        assert scale > 0


def test_crops_contain_the_hand_at_the_published_scale():
    points = np.random.default_rng(0).uniform(40, 120, (21, 2))
    still = CropJitter(rotate_probability=0.0, scale=0.0, shift=0.0)
    turn = turned_upright(points, 0.0, still)
    moved = transform_points(random_affine(points, 128, turn, still, np.random.default_rng(0)), points)
    np.testing.assert_allclose(np.ptp(moved, axis=0).max(), 128 / 1.5, rtol=1e-6)
    np.testing.assert_allclose((moved.min(0) + moved.max(0)) / 2, 64, atol=1e-6)


REGRESSOR = open_hand().standard_regressor()


def test_batches_belong_to_their_step_and_mix_all_sources(crops, fits, synthetic):
    real = RealSource(crops[0], fits, open_hand(), 0.5)
    mixture = Mixture(batch=24, triplet_batch=6, triplet_share=0.5)
    ingredients = {"synthetic": Ingredient(synthetic), "real": Ingredient(real)}
    batches = StepBatches(mixture, ingredients, REGRESSOR, seed=1)
    shapes = set()
    for step in range(6):
        first, second = batches[step], batches[step]
        assert (first.images == second.images).all() and (first.uv == second.uv).all()
        shapes.add(tuple(first.images.shape[:2]))
        real_rows = first.occlusion_weight[0] == 0
        assert real_rows.any() and (~real_rows).any()
        assert set(first.mesh_weight[0][~real_rows].tolist()) == {1.0}
        assert set(first.mesh_weight[0][real_rows].tolist()) <= {0.0, 0.5}
        assert ["jpg" in name for name in first.names] == real_rows.tolist()
    assert shapes == {(1, 24), (3, 6)}
    assert not (batches[0].images[0, 0] == batches[1].images[0, 0]).all()


def test_sources_are_drawn_by_weight(crops, fits, synthetic):
    real = RealSource(crops[0], fits, open_hand(), 0.5)
    ingredients = {"synthetic": Ingredient(synthetic, 3.0), "real": Ingredient(real, 1.0)}
    batch = StepBatches(Mixture(batch=200, triplet_share=0.0), ingredients, REGRESSOR, seed=1)[0]
    assert 0.15 < float((batch.occlusion_weight[0] == 0).float().mean()) < 0.35


def test_a_rare_state_of_the_fingers_is_drawn_more_often(crops, fits):
    """Open hands and one with its middle finger bent, of the same source and the same view."""
    hand = open_hand()
    people = crops[0].select(crops[0].sources == "people")
    angles = np.zeros((len(people), 16, 3))
    angles[2, MIDDLE : MIDDLE + 3, 0] = np.deg2rad([80, 95, 45])
    assert stretched(hand.joints(hand.pose(hand.pose_from_angles(angles)).vertices)).tolist() == [
        [True, True, i != 2, True, True] for i in range(len(people))
    ]
    poses = fits.pose.copy()
    rows = [list(fits.names).index(name) for name in people.names]
    poses[rows] = hand.pose_from_angles(angles)
    real = RealSource(people, replace(fits, pose=poses), hand, 0.5)
    rng = np.random.default_rng(0)
    drawn = [real.draw(rng, 1)[0].name == people.names[2] for _ in range(800)]
    even = 1 / len(people)
    assert np.sqrt(even) * 0.6 < np.mean(drawn) < np.sqrt(even)
    assert np.mean(drawn) > 1.5 * even


@pytest.mark.parametrize("frames", [1, 3])
def test_a_rendered_hand_with_rare_fingers_is_drawn_more_often(frames, tmp_path):
    """Of open hands, all seen alike, one with its middle finger bent."""
    path = shard_path(write_synthetic(tmp_path, singles=0, triplets=12), 0)
    labels = dict(np.load(path))
    hand = open_hand()
    angles = np.zeros((36, 16, 3))
    angles[15:18, MIDDLE : MIDDLE + 3, 0] = np.deg2rad([80, 95, 45])  # the three frames of the sixth
    labels["joints"] = hand.pose(hand.pose_from_angles(angles)).joints.astype(np.float32)
    labels["rotation"] = np.tile(np.eye(3, dtype=np.float32), (36, 1, 1))
    write_shard(path, labels)
    source = SyntheticSource(tmp_path)
    rng = np.random.default_rng(0)
    names = [source.draw(rng, frames)[0].name for _ in range(800)]
    assert len(set(names)) == 12
    rare = np.mean([name.endswith("sample 5") for name in names])
    assert 1.5 / 12 < rare < np.sqrt(1 / 12)


def test_processes_share_a_batch_out(synthetic):
    mixture = Mixture(batch=4, triplet_batch=2, triplet_share=0.5)
    ingredients = {"synthetic": Ingredient(synthetic)}

    def batches(part):
        return StepBatches(mixture, ingredients, REGRESSOR, seed=1, part=part)

    for step in range(4):
        whole = batches((0, 1))[step]
        halves = [batches((rank, 2))[step] for rank in (0, 1)]
        assert whole.names == halves[0].names + halves[1].names
        for name in ("images", "uv", "rotation"):
            parts = np.concatenate([getattr(half, name).numpy() for half in halves], 1)
            np.testing.assert_array_equal(getattr(whole, name).numpy(), parts)
    with pytest.raises(ValueError, match="cannot be shared out evenly to 3 processes"):
        batches((0, 3))


def test_labels_that_are_no_numbers_are_not_trained_on(synthetic):
    class Broken:
        def __len__(self):
            return 1

        def draw(self, rng, frames):
            (frame,) = synthetic.sample(0, 1)
            frame.vertices[5] = np.nan
            frame.name = "the broken one"
            return [frame] * frames

    batches = StepBatches(Mixture(batch=1), {"broken": Ingredient(Broken())}, REGRESSOR, seed=1, frames=1)
    with pytest.raises(DataSetError, match=r"the broken one: mesh, joints hold NaN"):
        batches[0]


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="nothing to train on"):
        StepBatches(Mixture(), {}, REGRESSOR, seed=1)
