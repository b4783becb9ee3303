"""`h2onet weights quantise`: 8 bit networks on real and made-up crops, and the refusal of coarse ones."""

from __future__ import annotations

import shutil
import zipfile

import cv2
import numpy as np
import pytest

from h2onet_ros import quantisation
from h2onet_ros.cli import main
from h2onet_ros.engines import BundleError, EngineError, WeightsBundle, create_engine

CROPS = 40


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of blurred noise, with a truth of the size of a hand."""
    folder = tmp_path_factory.mktemp("crops")
    random = np.random.default_rng(0)
    names = [f"{i:02}.png" for i in range(CROPS)]
    for name in names:
        noise = cv2.GaussianBlur(random.integers(0, 256, (96, 96, 3)).astype(np.uint8), (0, 0), 3)
        cv2.imwrite(str(folder / name), cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))
    np.savez(folder / "labels.npz", image=names, joints=random.normal(0, 0.05, (CROPS, 21, 3)))
    return folder


def quantise(capsys, bundle, output, *arguments) -> tuple[int, str, str]:
    code = main(["weights", "quantise", str(bundle.folder), "--output", str(output), *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def made(exported, pictures, tmp_path_factory):
    """A bundle with networks for ONNX Runtime and TensorRT, and what the loss was."""
    output = tmp_path_factory.mktemp("int8") / "bundle"
    return quantisation.quantise_bundle(
        exported("single_frame")[1], output, ["onnxruntime", "tensorrt"], pictures, pictures
    )


def test_the_loss_is_measured_and_kept(made):
    bundle, losses = made
    for target, loss in losses.items():
        assert loss.samples == CROPS / 2
        assert not loss.is_bound
        assert bundle.info.int8_loss_mm[target] == pytest.approx(loss.mm, abs=1e-4)
        assert loss.mm <= quantisation.MOST_LOSS_MM


def test_onnx_runtime_runs_it_and_it_is_another_network(made, exported):
    crops = np.random.default_rng(1).random((2, 3, 128, 128), dtype=np.float32)
    ours = create_engine(made[0], "onnxruntime", precision="int8")
    assert "int8" in ours.description
    a, b = (
        each.encode(crops).vertices
        for each in (ours, create_engine(exported("single_frame")[1], "onnxruntime"))
    )
    assert 0 < np.abs(a - b).max() < 0.5 * b.std()


def test_tensorrt_builds_its_own(made):
    rtx = pytest.importorskip(
        "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed", exc_type=ImportError
    )
    from h2onet_ros.engines.tensorrt_build import build_engine

    assert len(build_engine(rtx, made[0].int8_path("tensorrt"))[0]) > 10_000


def test_engines_without_a_network_say_how_to_make_one(made, exported):
    with pytest.raises(EngineError, match=r"hold no 8 bit network for engine openvino.*weights quantise"):
        create_engine(made[0], "openvino", precision="int8", cache_folder=None)
    with pytest.raises(EngineError, match="hold no 8 bit network for engine tensorrt"):
        create_engine(exported("single_frame")[1], "tensorrt", precision="int8")


def test_a_damaged_8_bit_network_is_refused(made, tmp_path):
    folder = shutil.copytree(made[0].folder, tmp_path / "copy")
    path = folder / "encode.int8-onnxruntime.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"int8-onnxruntime\.onnx is damaged"):
        WeightsBundle.load(folder)


def test_a_coarse_one_is_refused_with_the_figure(capsys, exported, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "MOST_LOSS_MM", -100.0)
    arguments = ("--calibration", pictures, "--engine", "onnxruntime")
    code, _, error = quantise(capsys, exported("single_frame")[1], tmp_path / "new", *arguments)
    assert code == 1
    assert "8 bits cost more than" in error
    assert "mm PA-MPJPE on 20 crops. Nothing was written" in error
    assert not list(tmp_path.iterdir())


def test_without_truth_the_loss_is_bounded(capsys, exported, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "MOST_LOSS_MM", np.inf)
    with zipfile.ZipFile(tmp_path / "crops.zip", "w") as archive:
        for path in pictures.glob("*.png"):
            archive.write(path, f"hands/{path.name}")
    arguments = ("--calibration", tmp_path / "crops.zip", "--engine", "onnxruntime")
    code, text, error = quantise(capsys, exported("single_frame")[1], tmp_path / "new", *arguments)
    assert code == 0, error
    assert "onnxruntime: at most " in text
    assert WeightsBundle.load(tmp_path / "new").int8_path("onnxruntime").is_file()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nowhere", "does not exist; give a folder or zip file"),
        (lambda folder: folder, "gives 4 crops, at least 20 are needed"),
    ],
    ids=["no folder", "too few"],
)
def test_crops_that_are_not_there_are_reported(capsys, exported, tmp_path, make, message):
    for i in range(8):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((64, 64, 3), np.uint8))
    code, _, error = quantise(
        capsys, exported("single_frame")[1], tmp_path / "new", "--calibration", make(tmp_path)
    )
    assert code == 1
    assert message in error


def test_openvino_runs_what_nncf_made(exported, pictures, tmp_path):
    pytest.importorskip("nncf", reason="NNCF is not installed (extra: int8)")
    pytest.importorskip("openvino")
    bundle, losses = quantisation.quantise_bundle(
        exported("single_frame")[1], tmp_path / "new", ["openvino"], pictures, pictures
    )
    assert losses["openvino"].mm <= quantisation.MOST_LOSS_MM
    engine = create_engine(bundle, "openvino", precision="int8", cache_folder=None)
    crops = np.random.default_rng(1).random((1, 3, 128, 128), dtype=np.float32)
    exact = create_engine(bundle, "onnxruntime").encode(crops).vertices
    assert 0 < np.abs(engine.encode(crops).vertices - exact).max() < 0.5 * exact.std()
