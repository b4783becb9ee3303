"""The exported networks, run by ONNX Runtime, give PyTorch's numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from h2onet_ros.engines import EngineError, FrameFeatures, create_engine
from h2onet_ros.model import H2ONet

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=["single_frame", "multi_frame"])
def pair(request, exported):
    network, bundle = exported(request.param)
    return network, create_engine(bundle, "onnxruntime")


def crops(hands: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((hands, 3, 128, 128), dtype=np.float32)


def assert_same(actual, expected, names) -> None:
    for name in names:
        ours, theirs = getattr(actual, name), getattr(expected, name).numpy()
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape, name
        if np.isnan(theirs).all():
            assert np.isnan(ours).all(), name
        elif theirs.size:
            error = np.abs(ours - theirs).max() / theirs.std()
            assert error <= TOLERANCE, f"{name}: off by {error:.1e} of its spread"


@torch.no_grad()
def compare(network: H2ONet, engine, moments: list[np.ndarray]) -> None:
    ours = [engine.encode(moment) for moment in moments]
    theirs = [network.encode(torch.from_numpy(moment)) for moment in moments]
    for actual, expected in zip(ours, theirs, strict=True):
        assert_same(actual, expected, expected._fields)
    hands = network.fuse(*theirs)
    assert_same(engine.fuse(ours[0], ours[1].as_past(), ours[2].as_past()), hands, hands._fields)


@pytest.mark.parametrize("hands", [1, 2, 3])
def test_equals_pytorch_on_random_crops(pair, hands):
    compare(*pair, [crops(hands, seed) for seed in range(3)])


def test_no_hands_give_empty_answers(pair):
    _, engine = pair
    features = engine.encode(crops(0))
    hands = engine.fuse(features, features, features)
    assert features.vertices.shape == (0, 240, 3)
    assert hands.vertices.shape == (0, 240, 3)
    assert hands.joints.shape == (0, 21, 3)


def test_hands_of_a_batch_do_not_influence_each_other(pair):
    _, engine = pair
    together = engine.encode(crops(3))
    for row in range(3):
        alone = engine.encode(crops(3)[row : row + 1])
        np.testing.assert_allclose(together.select([row]).vertices, alone.vertices, atol=1e-5)


def test_features_select_and_concatenate(pair):
    _, engine = pair
    features = engine.encode(crops(3))
    again = FrameFeatures.concatenate([features.select([i]) for i in range(3)])
    for name in ("uv", "vertex_features", "orientation", "vertices"):
        np.testing.assert_array_equal(getattr(again, name), getattr(features, name))
    assert features.select([1]).as_past().vertices.shape == (1, 0, 3)


@pytest.mark.parametrize(
    "shape",
    [(3, 128, 128), (1, 3, 64, 64), (1, 128, 128, 3)],
    ids=["no batch", "wrong size", "channels last"],
)
def test_crops_of_another_shape_are_refused(pair, shape):
    with pytest.raises(EngineError, match=r"shape \(B, 3, 128, 128\)"):
        pair[1].encode(np.zeros(shape, np.float32))


def test_moments_of_different_hands_are_refused(pair):
    _, engine = pair
    two, one = engine.encode(crops(2)), engine.encode(crops(1))
    with pytest.raises(EngineError, match="same hands at every moment"):
        engine.fuse(two, one, two)
    with pytest.raises(EngineError, match="as_past is for past moments"):
        engine.fuse(two.as_past(), two, two)


def test_running_needs_no_pytorch(pair):
    program = f"""
import sys
import numpy as np
from h2onet_ros.engines import WeightsBundle, create_engine
engine = create_engine(WeightsBundle.load({str(pair[1].bundle.folder)!r}), "onnxruntime")
features = engine.encode(np.zeros((1, 3, 128, 128), np.float32))
engine.fuse(features, features, features)
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"torch", "onnx", "rclpy", "scipy"}}))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
