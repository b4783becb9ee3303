"""Choosing an engine: by name, or the best that works, and always with a reason."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

import pytest

from h2onet_ros.engines import EngineError, create_engine


@pytest.fixture(scope="module")
def bundle(exported):
    return exported("single_frame")[1]


def test_unknown_engines_and_impossible_threads_are_refused(bundle):
    with pytest.raises(EngineError, match="unknown engine 'abacus'; choose auto, onnxruntime"):
        create_engine(bundle, "abacus")
    with pytest.raises(EngineError, match="threads must be at least 1"):
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
    assert "(chosen: for a network of width 0.25 nothing is faster" in caplog.text


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


def test_a_missing_library_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="needs the Python package openvino"):
        create_engine(bundle, "openvino", cache_folder=None)


def test_precisions_an_engine_lacks_are_refused(bundle):
    with pytest.raises(EngineError, match="computes in float32, not 'bfloat16'"):
        create_engine(bundle, "onnxruntime", precision="bfloat16")
