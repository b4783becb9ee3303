"""All engines agree on the weights that come with the package, on real hands, in millimetres."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from h2onet_ros.engines import EngineError, WeightsBundle, bundle_path, create_engine
from h2onet_ros.engines import onnxruntime as onnxruntime_engine
from h2onet_ros.hand import metrics

REAL_HANDS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "real_hands.zip"

pytestmark = [
    pytest.mark.skipif(not REAL_HANDS.is_file(), reason="no shared/data beside the checkout"),
    pytest.mark.skipif(not bundle_path().is_dir(), reason="the package has no weights yet"),
]


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Twelve crops of one and a half times the hand's extent, (12, 3, 128, 128)."""
    images = []
    with zipfile.ZipFile(REAL_HANDS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith((".jpg", ".png")))
        for name in names[:: len(names) // 12][:12]:
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            # The stored crops are twice the hand's extent: cut their middle.
            images.append(cv2.resize(image[20:140, 20:140, ::-1], (128, 128)).transpose(2, 0, 1))
    return np.stack(images).astype(np.float32) / 255


@pytest.fixture(scope="module")
def bundle() -> WeightsBundle:
    return WeightsBundle.load()


@pytest.fixture(scope="module")
def expected(crops, bundle):
    """The answer of ONNX Runtime in float32."""
    return answer(create_engine(bundle, "onnxruntime"), crops)


def answer(engine, crops):
    """The first crop is now, the next two are its past."""
    return engine.fuse(*(engine.encode(np.roll(crops, moment, axis=0)) for moment in range(3)))


def assert_agree(actual, expected, mean_mm: float, aligned_mm: float, occlusion: float) -> None:
    vertices = actual.vertices, expected.vertices
    assert 1e3 * metrics.mean_distance(*vertices).mean() <= mean_mm
    assert 1e3 * metrics.pa_mean_distance(*vertices).mean() <= aligned_mm
    assert np.nanmax(np.abs(actual.occlusion - expected.occlusion)) <= occlusion


@pytest.mark.parametrize(
    ("name", "precision", "mean_mm", "aligned_mm", "occlusion"),
    [
        ("openvino", "float32", 0.005, 0.005, 0.001),
        ("openvino", "bfloat16", 1.0, 0.4, 0.1),
        ("torch", "float32", 0.005, 0.005, 0.001),
        ("torch", "bfloat16", 1.0, 0.4, 0.1),
    ],
)
def test_vertices_agree_with_onnx_runtime(
    bundle, crops, expected, name, precision, mean_mm, aligned_mm, occlusion
):
    try:
        engine = create_engine(bundle, name, precision=precision, cache_folder=None)
    except EngineError as error:
        pytest.skip(str(error))
    assert_agree(answer(engine, crops), expected, mean_mm, aligned_mm, occlusion)


def test_the_half_precision_that_gpus_run_agrees(bundle, crops, expected, monkeypatch):
    """ONNX Runtime's CPU rounds to float16 after every layer of the networks that TensorRT is given."""
    pytest.importorskip("onnx")
    monkeypatch.setitem(onnxruntime_engine.PRECISIONS, "cpu", ("float16",))
    engine = onnxruntime_engine.OnnxRuntimeEngine(bundle, precision="float16")
    assert_agree(answer(engine, crops), expected, 0.2, 0.05, 0.02)
