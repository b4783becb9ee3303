"""The published network's numbers come out of every engine that runs here."""

from __future__ import annotations

import numpy as np
import parity_network
import pytest

from h2onet_ros.engines import EngineError, WeightsBundle, create_engine
from h2onet_ros.engines import onnxruntime as onnxruntime_engine
from h2onet_ros.model.export import Provenance, export_bundle

pytestmark = parity_network.needs_parity

EXACT = parity_network.RELATIVE_TOLERANCE
ENGINES = (
    ("onnxruntime", "float32", EXACT),
    ("openvino", "float32", EXACT),
    ("torch", "float32", EXACT),
    ("onnxruntime-cuda", "float32", EXACT),
    ("torch-cuda-graph", "float32", 1e-3),
    ("tensorrt", "float32", 1e-3),
    ("onnxruntime", "float16", 0.02),
    ("openvino", "bfloat16", 0.1),
    ("torch", "bfloat16", 0.1),
    ("tensorrt", "float16", 0.02),
)
"""Engine, precision and the largest error, as part of the output's spread: of single numbers in float32,
root mean square in coarser precisions.

The weights of the cases are random, which amplifies rounding: on trained ones half precision is far closer.
"""


@pytest.fixture(scope="module", params=["single_frame", "multi_frame"])
def bundle(request, tmp_path_factory) -> WeightsBundle:
    provenance = Provenance(name="parity", hand="mano", licence="-", training_data="none")
    network = parity_network.reference_network(request.param)
    return export_bundle(network, tmp_path_factory.mktemp("parity") / "bundle", provenance, "float32")


@pytest.mark.parametrize(("name", "precision", "tolerance"), ENGINES)
def test_the_reference_cases(bundle, name, precision, tolerance, monkeypatch):
    if (name, precision) == ("onnxruntime", "float16"):
        # What GPUs run, rounded after every layer as they do, on the processor.
        monkeypatch.setitem(onnxruntime_engine.PRECISIONS, "cpu", ("float16",))
    try:
        engine = create_engine(bundle, name, precision=precision, cache_folder=None)
    except EngineError as error:
        pytest.skip(str(error))
    case = parity_network.case(f"{bundle.info.variant}_case")
    images = [f"image_16x16_{i}" for i in range(3)] if bundle.multi_frame else ["image_16x16"] * 3
    moments = [engine.encode(parity_network.enlarged(case[name]).numpy()) for name in images]
    hands = engine.fuse(moments[0], moments[1].as_past(), moments[2].as_past())
    count = len(hands.vertices)
    wrist = case["pred_joints3d_wo_gr"][:count, :1]
    wanted = case["pred_verts3d_w_gr"][:count] - wrist
    assert_close(hands.vertices, wanted, tolerance, "vertices")
    assert_close(moments[0].uv, case["pred_joints_img"][:count], tolerance, "uv")


def assert_close(actual: np.ndarray, wanted: np.ndarray, tolerance: float, name: str) -> None:
    assert actual.shape == wanted.shape
    off = np.abs(actual - wanted)
    error = (off.max() if tolerance <= EXACT else np.sqrt(np.square(off).mean())) / wanted.std()
    assert error <= tolerance, f"{name}: off by {error:.1e} of its spread"
