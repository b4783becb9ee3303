"""Training itself: it learns, resumes exactly, and its result runs in the engine."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

from tiny import write_real, write_synthetic  # noqa: E402

from h2onet_ros.engines import WeightsBundle, create_engine  # noqa: E402
from h2onet_ros.hand.model import open_hand  # noqa: E402
from h2onet_ros.hand.topology import HandTopology  # noqa: E402
from h2onet_ros.model import H2ONet, H2ONetConfig  # noqa: E402
from train.augment import CropJitter, PhotoJitter  # noqa: E402
from train.data import Mixture, StepBatches, SyntheticSource  # noqa: E402
from train.evaluation.metrics import metrics_2d, metrics_3d  # noqa: E402
from train.evaluation.predictions import predict, synthetic_samples  # noqa: E402
from train.evaluation.predictors import NetworkPredictor  # noqa: E402
from train.export import largest_difference  # noqa: E402
from train.run import RunConfig  # noqa: E402
from train.trainer import Optimisation, Trainer, TrainingError, heatmap_loss, load_network  # noqa: E402

ROOT = Path(__file__).parents[2]
CONFIG = H2ONetConfig("multi_frame", 0.125)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def topology():
    return HandTopology.from_hand(open_hand())


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return SyntheticSource(write_synthetic(tmp_path_factory.mktemp("synthetic")))


def make_trainer(topology, folder, **options):
    torch.manual_seed(0)
    return Trainer(
        H2ONet(CONFIG, topology), Optimisation(**{"steps": 60, "bfloat16": False, **options}), folder
    )


def batches_of(source, triplet_share=0.5):
    plain = PhotoJitter(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    still = CropJitter(rotate_probability=0.0, scale=0.0, shift=0.0)
    mixture = Mixture(batch=6, triplet_batch=3, triplet_share=triplet_share, crop=still, photo=plain)
    return StepBatches(mixture, source, None, seed=2)


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


def test_resumed_training_gives_the_same_losses(topology, source, tmp_path):
    batches = batches_of(source)
    straight = make_trainer(topology, tmp_path / "a")
    expected = [straight.train_step(batches[step])["total"] for step in range(6)]
    stopped = make_trainer(topology, tmp_path / "b")
    for step in range(3):
        stopped.train_step(batches[step])
    stopped.save()
    torch.manual_seed(99)
    resumed = Trainer(H2ONet(CONFIG, topology), stopped.optimisation, tmp_path / "b")
    assert resumed.resume() and resumed.step == 3
    found = [resumed.train_step(batches[step])["total"] for step in range(3, 6)]
    np.testing.assert_allclose(found, expected[3:], rtol=1e-5)
    for name, value in straight.average.items():
        torch.testing.assert_close(resumed.average[name], value, rtol=1e-4, atol=1e-5)


def test_the_schedule_ends_in_time(topology, tmp_path):
    trainer = make_trainer(topology, tmp_path, steps=1000, minutes=1.0)
    rates = []
    for elapsed in (0, 2, 30, 60):
        trainer.elapsed = float(elapsed)
        rates.append(trainer.learning_rate())
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert trainer.finished
    assert rates[3] == pytest.approx(0.01 * trainer.optimisation.learning_rate)


def test_steps_that_are_not_finite_are_skipped_then_stop_the_run(topology, source, tmp_path):
    trainer = make_trainer(topology, tmp_path)
    batch = batches_of(source, 0.0)[0]
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    broken = replace(batch, uv=torch.full_like(batch.uv, float("nan")))
    with pytest.raises(TrainingError, match="not finite"):
        for _ in range(10):
            trainer.train_step(broken)
    for name, value in trainer.network.named_parameters():
        assert torch.equal(value, before[name]), name


def test_checkpoints_of_other_networks_and_broken_ones_are_refused(topology, tmp_path):
    make_trainer(topology, tmp_path).save()
    other = Trainer(H2ONet(H2ONetConfig("single_frame", 0.125), topology), Optimisation(steps=1), tmp_path)
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
    samples = synthetic_samples(source)
    p = predict(NetworkPredictor(H2ONet(CONFIG, topology)), samples, topology.joint_regressor, batch=4)
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimisation: {steps: 5, speed: 3}", "unknown speed"),
        ("network: {width: 99}\noptimisation: {steps: 5}", "width must lie"),
        ("seed: 3", "optimisation"),
        ("[1, 2", "not YAML"),
    ],
)
def test_wrong_configurations_are_explained(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        RunConfig.load(tmp_path / "c.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "train").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_configurations_that_come_along_are_valid(path):
    assert RunConfig.load(path).optimisation.steps > 0


def test_the_whole_way_from_data_to_engine(tmp_path):
    """The documented commands: train, interrupted by Ctrl-C and continued, export, evaluate."""
    write_synthetic(tmp_path / "synthetic")
    write_real(tmp_path / "real")
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "network: {variant: multi_frame, width: 0.125}\n"
        "mixture: {batch: 4, triplet_batch: 2}\n"
        "optimisation: {steps: 500, bfloat16: false}\n"
        "log_every: 1\nsave_every: 1\nvalidate_every: 1000\nvalidation_samples: 4\nworkers: 0\nthreads: 1\n"
    )
    data = ["--synthetic", "synthetic", "--test", "synthetic", "--real", "real"]
    train = ["train.run", "--config", "tiny.yaml", *data, "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", *train], cwd=tmp_path, env=_environment(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    heard = ""
    while "2/500" not in heard and process.poll() is None:
        heard += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, heard + rest
    assert "the same command continues" in rest
    config.write_text(config.read_text().replace("steps: 500", f"steps: {_last_step(tmp_path / 'run') + 2}"))
    _run(tmp_path, *train)
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    steps = [e["step"] for e in entries if "total" in e]
    # The step that Ctrl-C fell into may lack its line; none is done twice, and the schedule is completed.
    assert steps == sorted(set(steps)) and steps[-1] == entries[-1]["step"]
    assert len(steps) >= steps[-1] - 1
    assert "real_uv_median" in entries[-1]["validation"]

    assert "largest difference" in _run(tmp_path, "train.export", "run", "--out", "bundle")
    bundle = WeightsBundle.load(tmp_path / "bundle")
    assert bundle.info.upright and bundle.info.width == 0.125
    network, _ = load_network(tmp_path / "run")
    assert largest_difference(network, bundle) < 5e-4
    assert create_engine(bundle, "onnxruntime").encode(np.zeros((1, 3, 128, 128), np.float32)).uv.shape == (
        1,
        21,
        2,
    )

    printed = _run(
        tmp_path, "train.evaluate", "--bundle", "bundle", "--test", "synthetic", "--real", "real",
        "--fits", "run/fits.npz", "--json", "figures.json", "--pictures", "pictures",
    )  # fmt: skip
    assert "pa_mpjpe_mm" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["synthetic_pa_mpjpe_mm"] > 0 and "real_left_uv_mean" in figures
    assert (tmp_path / "pictures" / "real_worst.png").stat().st_size > 1000


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _run(folder: Path, *module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _last_step(run: Path) -> int:
    return json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"]
