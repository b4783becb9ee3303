"""Choosing an engine: by name, or the best that works, and always with a reason."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

import pytest
import synthetic_hand

from h2onet_ros.engines import EngineError, create_engine, engine_for, select
from h2onet_ros.engines.cuda import DeviceFacts
from h2onet_ros.engines.tensorrt_build import MODULES
from h2onet_ros.model.export import Provenance, export_bundle


@pytest.fixture(scope="module")
def bundle(exported):
    return exported("single_frame")[1]


def test_unknown_engines_and_impossible_threads_are_refused(bundle):
    with pytest.raises(EngineError, match="unknown engine 'abacus'; choose auto, onnxruntime"):
        create_engine(bundle, "abacus")
    with pytest.raises(EngineError, match="threads and hands must be at least 1"):
        create_engine(bundle, "onnxruntime", threads=0)


def test_auto_in_float32_is_onnxruntime_and_says_why(bundle, caplog):
    caplog.set_level(logging.INFO)
    engine = create_engine(bundle, precision="float32", cache_folder=None)
    assert engine.name == "onnxruntime"
    assert f"engine: {engine.description} (chosen: in float32 nothing is faster" in caplog.text


@pytest.fixture
def wide(bundle):
    """A bundle that says it is as wide as the published network."""
    return replace(bundle, info=replace(bundle.info, width=1.0))


def test_auto_for_a_narrow_network_is_onnxruntime_and_says_why(bundle, caplog):
    caplog.set_level(logging.INFO)
    assert create_engine(bundle, cache_folder=None).name == "onnxruntime"
    assert "(chosen: a network of width 0.25 gains little by bfloat16" in caplog.text


def test_auto_with_openvino_and_bfloat16_takes_it_for_a_wide_network(wide, caplog):
    module = pytest.importorskip("h2onet_ros.engines.openvino", reason="OpenVINO is not installed")
    if not module.supports_bfloat16():
        pytest.skip("this processor has no bfloat16")
    caplog.set_level(logging.INFO)
    assert create_engine(wide, cache_folder=None).name == "openvino"
    assert "(chosen: bfloat16 saves a third of the time)" in caplog.text


def test_auto_without_openvino_is_onnxruntime_and_says_why(wide, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert create_engine(wide, cache_folder=None).name == "onnxruntime"
    assert "(chosen: openvino is not installed)" in caplog.text


def test_auto_with_a_broken_openvino_warns(wide, caplog, monkeypatch):
    module = pytest.importorskip("h2onet_ros.engines.openvino", reason="OpenVINO is not installed")
    caplog.set_level(logging.INFO)

    def broken(*_):
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(module, "supports_bfloat16", lambda: True)
    monkeypatch.setattr(module.openvino.Core, "compile_model", broken)
    assert create_engine(wide, cache_folder=None).name == "onnxruntime"
    assert "engine openvino does not work here" in caplog.text
    assert "(chosen: openvino failed)" in caplog.text


def test_auto_says_that_there_is_no_gpu(bundle, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("h2onet_ros.engines.cuda.LIBRARY", "libcuda_of_another_world.so")
    create_engine(bundle, cache_folder=None)
    assert "no engine for a GPU: no CUDA device: there is no NVIDIA driver" in caplog.text


def test_auto_does_not_take_a_gpu_engine_that_does_not_work(bundle, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(select, "find_gpu", lambda: DeviceFacts("NVIDIA H100", (9, 0), "CUDA 13.0"))
    monkeypatch.setattr("h2onet_ros.engines.cuda.LIBRARY", "libcuda_of_another_world.so")
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    assert create_engine(bundle, cache_folder=None).name == "onnxruntime"
    assert "the GPU NVIDIA H100 cannot be used by engine tensorrt: TensorRT is not installed" in caplog.text
    assert "the GPU NVIDIA H100 cannot be used by engine onnxruntime-cuda" in caplog.text


def test_wrong_answers_are_found_out(bundle, tmp_path):
    provenance = Provenance(name="other", hand="tube", licence="CC0-1.0", training_data="none")
    other = export_bundle(
        synthetic_hand.small_network("single_frame", seed=7), tmp_path / "other", provenance
    )
    trusted = create_engine(bundle, "onnxruntime")
    select.check_answers(create_engine(bundle, "onnxruntime", threads=2), trusted)
    with pytest.raises(EngineError, match=r"gives vertices .* mm from those of .* at most 2 mm are allowed"):
        select.check_answers(create_engine(other, "onnxruntime"), trusted)


def test_a_missing_library_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="needs the Python package openvino"):
        create_engine(bundle, "openvino", cache_folder=None)


def test_precisions_an_engine_lacks_are_refused(bundle):
    with pytest.raises(EngineError, match="computes in float32 or int8, not 'bfloat16'"):
        create_engine(bundle, "onnxruntime", precision="bfloat16")


def test_without_named_weights_onnxruntime_runs_the_compact_ones(caplog):
    caplog.set_level(logging.INFO)
    assert engine_for(name="onnxruntime").bundle.info.name == "open_hand_compact"
    assert "weights: compact (chosen: on a processor's ONNX Runtime they keep up" in caplog.text


def test_named_weights_are_not_replaced(caplog):
    caplog.set_level(logging.INFO)
    assert engine_for("default", "onnxruntime").bundle.info.name == "open_hand"
    assert "compact" not in caplog.text


def test_without_named_weights_openvino_runs_the_default_ones():
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    assert engine_for(name="openvino").bundle.info.name == "open_hand"
