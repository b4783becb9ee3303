"""`h2onet weights quantise`: 8 bit networks on real and made-up crops, and the refusal of coarse ones."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from h2onet_ros import quantisation
from h2onet_ros.cli import main
from h2onet_ros.crop_samples import CropError, load_crops
from h2onet_ros.engines import BundleError, EngineError, WeightsBundle, create_engine

CROPS = 40
DEMO = Path(quantisation.__file__).parent / "assets" / "demo" / "demo.mp4"


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


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A second and a half of the demo, in which a hand can be seen."""
    path = tmp_path_factory.mktemp("recording") / "hand.mcap"
    assert main(["make-bag", str(DEMO), "--out", str(path), "--seconds", "1.5", "--images", "jpeg"]) == 0
    return path


def test_hands_of_a_recording_serve_as_crops(capsys, recording, tmp_path, monkeypatch):
    monkeypatch.setattr(quantisation, "MOST_LOSS_MM", np.inf)
    bundle = WeightsBundle.load()
    arguments = ("--calibration", recording, "--engine", "onnxruntime", "--crops", 20)
    code, text, error = quantise(capsys, bundle, tmp_path / "new", *arguments)
    assert code == 0, error
    assert "mm PA-MPJPE on 20 crops" in text
    assert WeightsBundle.load(tmp_path / "new").int8_path("onnxruntime").is_file()


def test_few_crops_are_spread_over_a_whole_video(tmp_path):
    capture = cv2.VideoCapture(str(DEMO))
    frames = [capture.read()[1] for _ in range(30)]
    video = cv2.VideoWriter(str(tmp_path / "hand.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (640, 480))
    for frame in frames:
        video.write(frame)
    video.release()
    bundle = WeightsBundle.load()
    engine = create_engine(bundle, "onnxruntime")
    few, many = (load_crops(tmp_path / "hand.mp4", bundle, most, None, engine).crops for most in (4, 60))
    assert few.shape == (4, 3, 128, 128)
    places = [int(np.abs(many - crop).mean((1, 2, 3)).argmin()) for crop in few]
    assert all(np.array_equal(many[place], crop) for place, crop in zip(places, few, strict=True))
    assert places == sorted(places)
    assert places[0] < len(many) / 4
    assert places[-1] > len(many) * 3 / 4


def test_a_video_without_hands_is_reported(tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "grey.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (320, 240))
    for _ in range(3):
        video.write(np.full((240, 320, 3), 90, np.uint8))
    video.release()
    bundle = WeightsBundle.load()
    with pytest.raises(CropError, match="no hands were found in"):
        load_crops(tmp_path / "grey.mp4", bundle, 4, None, create_engine(bundle, "onnxruntime"))


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
