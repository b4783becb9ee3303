"""TensorRT on a real GPU: right answers for any batch, from graphs, and a quick second start."""

from __future__ import annotations

import numpy as np
import pytest

from h2onet_ros.engines import EngineError, create_engine
from h2onet_ros.engines.cache import CompiledCache
from h2onet_ros.engines.cuda import CudaError, find_gpu
from h2onet_ros.engines.tensorrt_build import MAX_HANDS, check_gpu, find_tensorrt
from h2onet_ros.engines.tensorrt_store import TensorRtStore


@pytest.fixture(scope="module")
def gpu():
    try:
        facts = find_gpu()
        check_gpu(find_tensorrt(), facts.name, facts.capability)
    except CudaError as error:
        pytest.skip(str(error))
    except EngineError as error:
        pytest.skip(f"TensorRT cannot be tried here: {error}")
    return facts


@pytest.fixture(scope="module", params=["single_frame", "multi_frame"])
def bundle(request, exported):
    return exported(request.param)[1]


def moments(hands: int) -> np.ndarray:
    return np.random.default_rng(0).random((3, hands, 3, 128, 128), dtype=np.float32)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("float16", 0.03)])
def test_answers_are_those_of_onnx_runtime_for_any_batch(gpu, bundle, tmp_path, precision, tolerance):
    engine = create_engine(bundle, "tensorrt", precision=precision, cache_folder=tmp_path)
    trusted = create_engine(bundle, "onnxruntime")
    for hands in (1, 2, 1, MAX_HANDS + 1):
        ours, theirs = (
            each.fuse(*(each.encode(crops) for crops in moments(hands))) for each in (engine, trusted)
        )
        for name in ("vertices", "joints", "rotation"):
            a, b = getattr(ours, name), getattr(theirs, name)
            assert a.shape == b.shape
            error = np.sqrt(np.square(a - b).mean()) / b.std()
            assert error <= tolerance, f"{hands} hands, {name}: {error:.1e}"
    engine.close()


def test_it_runs_from_graphs_and_starts_without_building(gpu, bundle, tmp_path, caplog, monkeypatch):
    first = create_engine(bundle, "tensorrt", cache_folder=tmp_path)
    answer = first.encode(moments(1)[0]).vertices
    assert "no CUDA graph" not in caplog.text
    monkeypatch.setattr(
        "h2onet_ros.engines.tensorrt_build.build_engine", lambda *_, **__: pytest.fail("built anew")
    )
    second = create_engine(bundle, "tensorrt", cache_folder=tmp_path)
    np.testing.assert_allclose(second.encode(moments(1)[0]).vertices, answer, atol=1e-4)


def test_an_entry_that_the_gpu_refuses_is_built_anew(gpu, bundle, tmp_path, caplog, monkeypatch):
    store = TensorRtStore(find_tensorrt(), gpu, CompiledCache(tmp_path))
    monkeypatch.setattr(
        "h2onet_ros.engines.tensorrt_build.build_engine", lambda *_, **__: (b"of another planet" * 100, b"")
    )
    store.built(bundle, bundle.encode_path, "float16")
    monkeypatch.undo()
    engine = create_engine(bundle, "tensorrt", cache_folder=tmp_path)
    assert "does not run on this GPU; building it anew" in caplog.text
    assert np.isfinite(engine.encode(moments(1)[0]).vertices).all()


def test_auto_takes_a_gpu_engine(gpu, bundle, tmp_path):
    assert create_engine(bundle, cache_folder=tmp_path).name in ("tensorrt", "onnxruntime-cuda")
