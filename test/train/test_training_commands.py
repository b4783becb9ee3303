"""The documented commands, from data to a bundle in the engine: killed, stopped, shared out to processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

from commands import call  # noqa: E402
from tiny import write_real, write_synthetic  # noqa: E402

from h2onet_ros.engines import WeightsBundle, create_engine  # noqa: E402
from h2onet_ros.model.weights import load_network as load_bundle_network  # noqa: E402
from train import curve, evaluate, export, run  # noqa: E402
from train.checkpoint import load_network, read_description  # noqa: E402
from train.export import difference  # noqa: E402

ROOT = Path(__file__).parents[2]
SMALL = {
    "network.width": 0.125,
    "mixture.batch": 4,
    "mixture.triplet_batch": 2,
    "optimisation.bfloat16": "false",
    "log_every": 1,
    "validate_every": 1000,
    "validation_samples": 4,
    "workers": 0,
    "threads": 1,
}


def small(**others):
    """Options that make a configuration tiny; dots in names as double underscores."""
    values = SMALL | {name.replace("__", "."): value for name, value in others.items()}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Signal handlers, threads and the arguments of this process as they were."""
    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for kind, handler in handlers.items():
        signal.signal(kind, handler)


def command(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {
        "args": [sys.executable, "-m", *map(str, arguments)],
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder):
    return {e["step"]: e["total"] for e in logged(folder) if "total" in e}


def test_labels_stages_evaluation_export_and_engine(trees, tmp_path, capsys):
    """Both variants and stages on DexYCB, to figures, the challenge's file and a bundle."""
    where = trees.options
    runs = tmp_path / "runs"
    for name in ("single_frame_dexycb", "multi_frame_dexycb"):
        call(run.main, [name, *where, "--out", runs / name, *small(optimisation__steps=2)])
    shown = capsys.readouterr().out
    assert "starts from" in shown and "new: decoder3d.occ_pred" in shown
    stages = [
        runs / name / stage
        for name in ("single_frame_dexycb", "multi_frame_dexycb")
        for stage in ("stage1", "stage2")
    ]
    for stage in stages:
        assert read_description(stage / "checkpoint.safetensors")["finished"]
        assert "dexycb_pa_mpjpe_mm" in logged(stage)[-1]["validation"]
        assert (stage / "curve.png").exists() and list((stage / "tensorboard").iterdir())
    terms = [{name for e in logged(stage) if "total" in e for name in e} for stage in stages]
    assert "rotation" not in terms[0] and "rotation" in terms[1]
    assert "occlusion" in terms[2] and "normals_oriented" in terms[3]

    call(
        run.main,
        ["multi_frame_dexycb", *where, "--out", runs / "multi_frame_dexycb", *small(optimisation__steps=2)],
    )
    assert capsys.readouterr().out.count("is finished") == 2

    last = stages[-1]
    call(export.main, [last, "--out", tmp_path / "bundle", "--name", "mini"])
    bundle = WeightsBundle.load(tmp_path / "bundle")
    network, _ = load_network(last)
    assert not bundle.info.upright and bundle.info.hand == "mano"
    assert difference(network, bundle) < 5e-4
    crop = np.zeros((1, 3, 128, 128), np.float32)
    assert create_engine(bundle, "onnxruntime").encode(crop).uv.shape == (1, 21, 2)

    figures = {}
    for which in (("--run", last), ("--bundle", tmp_path / "bundle")):
        out = tmp_path / which[0]
        call(evaluate.main, [*which, *where[:2], *where[4:], "--json", f"{out}.json", "--pictures", f"{out}"])
        figures[which[0]] = json.loads(Path(f"{out}.json").read_text())
    assert "worst of dexycb_test" in capsys.readouterr().out
    for name, value in figures["--run"].items():
        assert value == pytest.approx(figures["--bundle"][name], rel=0.02, abs=0.02), name
    assert figures["--run"]["dexycb_test_samples"] == 6
    assert {"dexycb_test_pa_f_at_5", "dexycb_test_pa_v_auc", "dexycb_test_occlusion_f1_thumb"} <= set(
        figures["--run"]
    )
    for picture in ("typical", "worst", "errors"):
        assert cv2.imread(str(tmp_path / "--run" / f"dexycb_test_{picture}.png")).std() > 5

    call(evaluate.main, ["--run", last, *where[2:], "--submission", tmp_path / "pred.zip"])
    with zipfile.ZipFile(tmp_path / "pred.zip") as archive:
        joints, vertices = json.loads(archive.read("pred.json"))
    assert np.shape(joints) == (3, 21, 3) and np.shape(vertices)[::2] == (3, 3)


def test_ho3d_is_trained_after_a_warm_up_on_dexycb(trees, tmp_path, capsys):
    where = trees.options
    options = small(optimisation__steps=1)
    call(run.main, ["single_frame_ho3d", *where, "--out", tmp_path / "ho3d", *options])
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("=")][1].startswith(
        "== single_frame_ho3d, warm_up"
    )
    assert f"starts from {tmp_path / 'ho3d' / 'warm_up' / 'best.safetensors'}" in shown
    assert "dexycb 18" in shown and "ho3d_v2" in shown


def test_a_killed_run_goes_on_with_the_losses_of_an_uninterrupted_one(tmp_path):
    write_synthetic(tmp_path / "synthetic")
    train = ["open_hand_compact", "--synthetic", tmp_path / "synthetic", "--set", "optional_data=true"]
    train += small(optimisation__steps=7, save_every=2, mixture__triplet_share=0.5)
    call(run.main, [*train, "--out", tmp_path / "straight"])
    killed = tmp_path / "killed"
    # Slow enough to be caught in the middle: every step is validated.
    process = subprocess.Popen(**command("train.run", *train, "--out", killed, "--set", "validate_every=1"))
    assert process.stdout is not None
    heard = ""
    while "3/7" not in heard and process.poll() is None:
        heard += process.stdout.read(1)
    process.kill()
    process.communicate(timeout=60)
    assert 2 <= read_description(killed / "checkpoint.safetensors")["step"] < 7, heard
    # As a kill in the middle of a line leaves it.
    with (killed / "log.jsonl").open("a") as stream:
        stream.write('{"step": 7, "tot')
    call(run.main, [*train, "--out", killed])
    assert losses(killed) == losses(tmp_path / "straight")
    assert sorted(losses(killed)) == list(range(1, 8))
    steps = [e["step"] for e in logged(killed) if "total" in e]
    assert steps == sorted(set(steps))


def test_open_hand_from_data_to_bundle_stopped_once(tmp_path, capsys):
    """Ctrl-C finishes the step and writes the checkpoint; figures of the run are those of train.evaluate."""
    write_synthetic(tmp_path / "synthetic")
    write_real(tmp_path / "real")
    data = [
        "--synthetic",
        tmp_path / "synthetic",
        "--test",
        tmp_path / "synthetic",
        "--real",
        tmp_path / "real",
    ]
    train = ["open_hand_compact", *data, "--out", tmp_path / "run", "--set", "best=real_uv_mean"]
    process = subprocess.Popen(**command("train.run", *train, *small(optimisation__steps=500)))
    assert process.stdout is not None
    heard = ""
    while "2/500" not in heard and process.poll() is None:
        heard += process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130, heard + rest
    assert "the checkpoint is written, the same command continues" in rest
    done = read_description(tmp_path / "run" / "checkpoint.safetensors")["step"]
    assert max(losses(tmp_path / "run")) == done
    shutil.copytree(tmp_path / "run", tmp_path / "stopped")
    call(run.main, [*train, *small(optimisation__steps=done + 2)])
    shown = capsys.readouterr().out
    assert f"continuing at step {done} of {done + 2}" in shown
    assert f"changed since the run was started: optimisation.steps: 500 -> {done + 2}" in shown
    assert sorted(losses(tmp_path / "run")) == list(range(1, done + 3))

    figures = tmp_path / "figures.json"
    options = ["--count", 4, "--fits", tmp_path / "run" / "fits.npz", "--json", figures]
    call(evaluate.main, ["--run", tmp_path / "run", *data[2:], *options])
    found = json.loads(figures.read_text())
    for name, value in logged(tmp_path / "run")[-1]["validation"].items():
        assert found[name] == value, name
    call(export.main, [tmp_path / "run", "--out", tmp_path / "bundle", "--metrics", figures])
    bundle = WeightsBundle.load(tmp_path / "bundle")
    assert bundle.info.upright and bundle.info.metrics == found

    ends = tmp_path / "run", tmp_path / "stopped"
    options = ["--out", tmp_path / "mean", "--precision", "float32"]
    call(export.main, [ends[0], "--average-with", ends[1], *options])
    mean = load_bundle_network(WeightsBundle.load(tmp_path / "mean")).state_dict()
    first, second = (load_network(end)[0].state_dict() for end in ends)
    for name in ("backbone.reduce.0.weight", "backbone.pre_layer.0.1.running_mean"):
        apart = (first[name] - second[name]).abs().max()
        off = (mean[name] - (first[name] + second[name]) / 2).abs().max()
        assert off < 0.1 * apart, name

    runs = 2 * [str(tmp_path / "run")]
    curve.main([*runs, "--out", str(tmp_path / "curve.png")])
    assert cv2.imread(str(tmp_path / "curve.png")).std() > 0
    assert curve.main([str(tmp_path / "bundle")]) == 1
    assert "bundle is not the folder of a run: it holds no log.jsonl" in capsys.readouterr().err

    real = ["--real", tmp_path / "real", "--fits", tmp_path / "run" / "fits.npz"]
    call(evaluate.main, ["--bundle", tmp_path / "bundle", *real, "--json", figures])
    found = json.loads(figures.read_text())
    assert 0 <= found["real_stills_found"] <= 1 and 0 <= found["real_photos_found"] <= 1
    for hidden, whole, none in ((0.0, "visible", "occluded"), (1.0, "occluded", "visible")):
        test = write_synthetic(tmp_path / whole, hidden=hidden, singles=0)
        call(evaluate.main, ["--bundle", tmp_path / "bundle", "--test", test, "--json", figures])
        found = json.loads(figures.read_text())
        assert found[f"synthetic_{whole}_pa_mpjpe_mm"] == found["synthetic_pa_mpjpe_mm"]
        assert not any(name.startswith(f"synthetic_{none}_") for name in found)

    # The last found of the bundle, with its own points.
    told = {}
    for which in (["--bundle", tmp_path / "bundle"], ["--run", tmp_path / "run"]):
        call(evaluate.main, [*which, "--test", test, "--true-points", "--json", figures])
        told[which[0]] = json.loads(figures.read_text())
    assert told["--bundle"]["synthetic_uv_mean"] == 0 < found["synthetic_uv_mean"]
    assert told["--bundle"]["synthetic_pa_mpjpe_mm"] != found["synthetic_pa_mpjpe_mm"]
    assert told["--run"]["synthetic_pa_mpjpe_mm"] == pytest.approx(
        told["--bundle"]["synthetic_pa_mpjpe_mm"], abs=0.05
    )
    with pytest.raises(SystemExit):
        evaluate.main(["--run", str(tmp_path / "run"), "--true-points", *map(str, real)])
    assert "--true-points is for sets with full truth" in capsys.readouterr().err


def test_two_processes_train_together(trees, tmp_path):
    where = trees.options
    train = ["single_frame_dexycb", *where, "--out", tmp_path / "run", *small(optimisation__steps=2)]
    together = command(
        "torch.distributed.run", "--nproc-per-node", 2, "--standalone", "-m", "train.run", *train
    )
    process = subprocess.run(**together, timeout=600)
    assert process.returncode == 0, process.stdout
    assert (
        "batch 4, each shared out to 2 processes; learning rate 0.001, 2 processes on cpu" in process.stdout
    )
    for stage in ("stage1", "stage2"):
        assert sorted(losses(tmp_path / "run" / stage)) == [1, 2]
        assert read_description(tmp_path / "run" / stage / "checkpoint.safetensors")["finished"]
        load_network(tmp_path / "run" / stage / "best.safetensors")
