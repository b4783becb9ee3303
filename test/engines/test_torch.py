"""A bundle gives back the network it was made from, and the torch engine runs it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import synthetic_hand
import torch

from h2onet_ros.engines import BundleError, EngineError, WeightsBundle, create_engine, write_bundle
from h2onet_ros.model.export import Provenance, export_bundle
from h2onet_ros.model.weights import load_network

PROVENANCE = Provenance(name="test", hand="tube", licence="CC0-1.0", training_data="none")


@pytest.mark.parametrize("variant", ["single_frame", "multi_frame"])
def test_a_bundle_gives_back_every_weight(exported, variant):
    network, bundle = exported(variant)
    again = load_network(bundle)
    assert again.config == network.config
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_half_precision_gives_back_every_weight_but_rounded(tmp_path):
    network = synthetic_hand.small_network("multi_frame")
    bundle = export_bundle(network, tmp_path / "half", PROVENANCE, "float16")
    again = load_network(bundle).state_dict()
    for name, value in network.state_dict().items():
        if value.ndim >= 2:
            torch.testing.assert_close(again[name], value.half().float(), rtol=0, atol=0)
        elif not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(again[name], value, rtol=0, atol=0)


def test_a_bundle_exported_again_is_the_same(exported, tmp_path):
    bundle = exported("multi_frame")[1]
    again = export_bundle(load_network(bundle), tmp_path / "again", PROVENANCE, "float32")
    assert again.digest == bundle.digest


def test_a_bundle_without_weights_is_refused(exported, tmp_path):
    bundle = exported("multi_frame")[1]
    model = onnx.load(bundle.fuse_path)
    for tensor in model.graph.initializer:
        if tensor.name == "decoder3d.offset_pred.head.layer.bias":
            tensor.name = "bias"
    broken = write_bundle(
        tmp_path / "broken",
        bundle.info,
        bundle.topology,
        bundle.encode_path.read_bytes(),
        model.SerializeToString(),
    )
    with pytest.raises(BundleError, match=r"1 entries missing \(decoder3d\.offset_pred\.head\.layer\.bias\)"):
        load_network(broken)
    no_onnx = write_bundle(tmp_path / "no_onnx", bundle.info, bundle.topology, b"\x01\x02junk", b"junk")
    with pytest.raises(BundleError, match="is no ONNX network"):
        load_network(no_onnx)
    with pytest.raises(EngineError, match="ONNX Runtime cannot load"):
        create_engine(WeightsBundle.load(no_onnx.folder), "onnxruntime")


@pytest.mark.parametrize("variant", ["single_frame", "multi_frame"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_the_torch_engine_agrees_with_onnx_runtime(exported, variant, precision, tolerance):
    bundle = exported(variant)[1]
    engines = [create_engine(bundle, "torch", precision=precision), create_engine(bundle, "onnxruntime")]
    crops = np.random.default_rng(0).random((3, 2, 3, 128, 128), dtype=np.float32)
    a, b = (engine.fuse(*(engine.encode(moment) for moment in crops)) for engine in engines)
    for name in ("vertices", "joints", "rotation"):
        error = np.sqrt(np.square(getattr(a, name) - getattr(b, name)).mean()) / getattr(b, name).std()
        assert error <= tolerance, f"{name}: {error:.1e}"
    assert np.isnan(a.occlusion).all() == (variant == "single_frame")


def test_compiled_the_network_is_one_graph_with_the_same_answers(exported, monkeypatch):
    """With the compiler's front alone, which finds what cannot be compiled; generating code takes minutes."""
    compile_all = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda module, **options: compile_all(module, backend="eager", fullgraph=True)
    )
    bundle = exported("multi_frame")[1]
    crops = np.random.default_rng(0).random((3, 1, 3, 128, 128), dtype=np.float32)
    engines = [create_engine(bundle, name) for name in ("torch-compiled", "torch")]
    a, b = (engine.fuse(*(engine.encode(moment) for moment in crops)) for engine in engines)
    assert engines[0].description.endswith("compiled")
    np.testing.assert_allclose(a.vertices, b.vertices, atol=1e-5)
