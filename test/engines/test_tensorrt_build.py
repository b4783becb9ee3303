"""The exported networks parse in the real TensorRT(-RTX) parser and build, without a GPU."""

from __future__ import annotations

import sys

import pytest

from h2onet_ros.engines import EngineError
from h2onet_ros.engines.tensorrt_build import MODULES, build_engine, find_tensorrt


@pytest.fixture(scope="module")
def rtx():
    return pytest.importorskip(
        "tensorrt_rtx_bindings",
        reason="TensorRT-RTX is not installed (extra: tensorrt)",
        exc_type=ImportError,
    )


@pytest.mark.parametrize("variant", ["single_frame", "multi_frame"])
def test_the_networks_build(rtx, exported, variant):
    bundle = exported(variant)[1]
    for path in (bundle.encode_path, bundle.fuse_path):
        assert len(build_engine(rtx, path)) > 10_000


def test_half_stored_weights_build(rtx, tmp_path):
    import synthetic_hand

    from h2onet_ros.model.export import Provenance, export_bundle

    provenance = Provenance(name="test", hand="tube", licence="CC0-1.0", training_data="none")
    bundle = export_bundle(synthetic_hand.small_network(), tmp_path / "half", provenance, "float16")
    assert len(build_engine(rtx, bundle.encode_path)) > 10_000


def test_a_file_that_is_no_network_is_refused(rtx, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(EngineError, match="cannot parse"):
        build_engine(rtx, tmp_path / "x.onnx")


def test_without_tensorrt_the_error_says_what_to_install(monkeypatch):
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"TensorRT is not installed.*extra 'tensorrt'"):
        find_tensorrt()
