"""Training itself: it learns, resumes exactly, and its result runs in the engine."""

import contextlib
import resource
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

from tiny import write_synthetic  # noqa: E402

from h2onet_ros.hand.model import open_hand  # noqa: E402
from h2onet_ros.model import H2ONet, H2ONetConfig  # noqa: E402
from train.augment import CropJitter, PhotoJitter  # noqa: E402
from train.batches import Ingredient, Mixture, StepBatches  # noqa: E402
from train.checkpoint import TrainingError, best_checkpoint, load_network, read_description  # noqa: E402
from train.data import SyntheticSource  # noqa: E402
from train.evaluation.metrics import metrics_2d, metrics_3d  # noqa: E402
from train.evaluation.predictions import Samples, predict  # noqa: E402
from train.evaluation.predictors import NetworkPredictor, Subject  # noqa: E402
from train.losses import heatmap_loss  # noqa: E402
from train.optimisation import Optimisation  # noqa: E402
from train.trainer import Trainer  # noqa: E402

CONFIG = H2ONetConfig("multi_frame", 0.125)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return SyntheticSource(write_synthetic(tmp_path_factory.mktemp("synthetic")))


def make_trainer(topology, folder, config=CONFIG, seed=0, **options):
    torch.manual_seed(seed)
    optimisation = Optimisation(**{"steps": 60, "bfloat16": False, **options})
    return Trainer(H2ONet(config, topology), optimisation, optimisation.total_steps(0), folder)


def batches_of(source, triplet_share=0.5):
    plain = PhotoJitter(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    still = CropJitter(rotate_probability=0.0, scale=0.0, shift=0.0)
    mixture = Mixture(batch=6, triplet_batch=3, triplet_share=triplet_share, crop=still, photo=plain)
    regressor = open_hand().standard_regressor()
    return StepBatches(mixture, {"synthetic": Ingredient(source)}, regressor, seed=2)


def test_a_handful_of_samples_is_learned(topology, source, tmp_path):
    trainer = make_trainer(
        topology, tmp_path, learning_rate=3e-3, heatmap_weight=0.1, loss_weights={"vertices": 5, "uv": 3}
    )
    batch = batches_of(source, triplet_share=0.0)[0]
    first = trainer.train_step(batch)
    for _ in range(58):
        last = trainer.train_step(batch)
    assert last["uv"] < 0.3 * first["uv"]
    assert last["vertices"] < 0.7 * first["vertices"]
    assert last["total"] < 0.5 * first["total"]


def test_parts_are_trained_alone(topology, source, tmp_path):
    parts = ("decoder3d.offset_pred", "decoder3d.rot_reg.fc_block2")
    trainer = make_trainer(topology, tmp_path, parts=parts, learning_rate=1e-2, heatmap_weight=1.0)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    batches = batches_of(source, triplet_share=1.0)
    for step in range(3):
        trainer.train_step(batches[step])
    moved = {
        name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved and all(name.startswith(parts) for name in moved)
    trainer.save()
    assert make_trainer(topology, tmp_path, parts=parts).resume()
    with pytest.raises(ValueError, match="fusion"):
        make_trainer(topology, tmp_path / "b", parts=("decoder3d.fusion",))


def test_resumed_training_gives_exactly_the_same_losses(topology, source, tmp_path):
    batches = batches_of(source)
    straight = make_trainer(topology, tmp_path / "a")
    expected = [straight.train_step(batches[step]) for step in range(6)]
    stopped = make_trainer(topology, tmp_path / "b")
    for step in range(3):
        stopped.train_step(batches[step])
    stopped.save()
    resumed = make_trainer(topology, tmp_path / "b", seed=99)
    assert resumed.resume() and resumed.step == 3
    assert [resumed.train_step(batches[step]) for step in range(3, 6)] == expected[3:]
    for name, value in straight.average.items():
        assert torch.equal(resumed.average[name], value), name


def test_the_schedule_ends_in_time(topology, tmp_path):
    trainer = make_trainer(topology, tmp_path, steps=1000, minutes=1.0)
    rates = []
    for elapsed in (0, 2, 30, 60):
        trainer.elapsed = float(elapsed)
        rates.append(trainer.learning_rate())
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert trainer.finished
    assert rates[3] == pytest.approx(0.01 * trainer.optimisation.learning_rate)


def test_milestones_are_epochs():
    o = Optimisation(epochs=38, milestones=(30,), schedule="milestones", warm_up=0)
    steps = o.total_steps(100.4)
    assert steps == 3815
    rates = [o.rate_at(step / steps) for step in (0, round(30 * 100.4) - 1, round(30 * 100.4) + 1, steps - 1)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_sample(topology, source, tmp_path):
    trainer = make_trainer(topology, tmp_path)
    batch = batches_of(source, 0.0)[0]
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    batch.uv[:, 2] = float("nan")
    with pytest.raises(TrainingError, match=r"\(uv\) is not finite at step 0") as caught:
        trainer.train_step(replace(batch, names=tuple("abcdef")))
    # The network's answers are fine, so any sample can be meant.
    assert "for a, b, c, d, e, f." in str(caught.value)
    for name, value in trainer.network.named_parameters():
        assert torch.equal(value, before[name]), name
    trainer.network.decoder3d.head.register_forward_hook(_break_one(1))
    with pytest.raises(TrainingError, match=r"for b\. The weights were not changed"):
        trainer.train_step(replace(batches_of(source, 0.0)[0], names=tuple("abcdef")))


def _break_one(row):
    def hook(_module, _inputs, output):
        output = output.clone()
        output[row] = float("inf")
        return output

    return hook


@contextlib.contextmanager
def files_up_to(size):
    """As on a disk that is nearly full: writing fails beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_checkpoint(topology, source, tmp_path):
    trainer = make_trainer(topology, tmp_path)
    trainer.save()
    trainer.train_step(batches_of(source, 0.0)[0])
    with (
        files_up_to(100_000),
        pytest.raises(
            TrainingError, match=r"too large.* needs \d+ MB.*the checkpoint of step 0 is still there"
        ),
    ):
        trainer.save()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors", "topology.npz"]
    assert load_network(tmp_path)[1]["step"] == 0
    trainer.save()
    assert load_network(tmp_path)[1]["step"] == 1


def test_weights_that_are_not_finite_are_not_saved(topology, tmp_path):
    trainer = make_trainer(topology, tmp_path)
    trainer.save()
    with torch.no_grad():
        next(iter(trainer.network.parameters()))[0] = float("nan")
    with pytest.raises(TrainingError, match="NaN or infinity"):
        trainer.save()
    load_network(tmp_path)


def test_the_best_weights_are_kept(topology, source, tmp_path):
    trainer = make_trainer(topology, tmp_path)
    assert best_checkpoint(tmp_path).name == "checkpoint.safetensors"
    assert trainer.save_if_best(5.0)
    trainer.train_step(batches_of(source, 0.0)[0])
    assert not trainer.save_if_best(6.0)
    trainer.save()
    again = make_trainer(topology, tmp_path)
    again.resume()
    assert not again.save_if_best(5.5) and again.save_if_best(4.0)
    assert read_description(best_checkpoint(tmp_path))["step"] == 1
    load_network(tmp_path / "best.safetensors")


def test_checkpoints_of_other_networks_and_broken_ones_are_refused(topology, tmp_path):
    make_trainer(topology, tmp_path).save()
    other = make_trainer(topology, tmp_path, H2ONetConfig("single_frame", 0.125))
    with pytest.raises(TrainingError, match="another network"):
        other.resume()
    (tmp_path / "checkpoint.safetensors").write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        load_network(tmp_path)


def test_heatmaps_are_best_where_the_points_are():
    uv = torch.tensor([[[3.5 / 16, 11.5 / 16]] * 21])
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")

    def blob(row: int, column: int) -> torch.Tensor:
        return (-((rows - row) ** 2 + (columns - column) ** 2) / 2.0).expand(1, 21, 16, 16)

    flat = torch.zeros(1, 21, 16, 16)
    assert heatmap_loss(blob(11, 3), uv) < heatmap_loss(flat, uv) < heatmap_loss(blob(3, 11), uv)
    assert heatmap_loss(blob(11, 3), uv + 5) == 0


def test_validation_of_the_truth_is_perfect(topology, source):
    samples = Samples(source, 3)
    subject = Subject("untrained", NetworkPredictor(H2ONet(CONFIG, topology)), topology, upright=True)
    p = predict(subject, samples, topology.joint_regressor, batch=4)
    assert len(p.uv) == len(samples) == 9
    perfect = replace(
        p,
        uv=p.true_uv,
        vertices=p.true_vertices,
        joints=p.true_joints,
        rotation=p.true_rotation,
        occlusion=p.true_occlusion,
    )
    for name, value in {**metrics_3d(perfect), **metrics_2d(perfect)}.items():
        assert value == pytest.approx(1.0 if "f1" in name else 0.0, abs=0.05), name
    assert metrics_2d(p)["uv_mean"] > 0.1
