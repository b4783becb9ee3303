"""OpenVINO gives PyTorch's numbers: all of them in float32, most of them in bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_hand
import torch

from h2onet_ros.engines import EngineError, create_engine
from h2onet_ros.model.export import Provenance, export_bundle

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (extra: openvino)")

PROVENANCE = Provenance(name="test", hand="tube", licence="CC0-1.0", training_data="none")
needs_bfloat16 = pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this processor has no bfloat16",
)


@pytest.fixture(scope="module", params=["single_frame", "multi_frame"])
def pair(request, exported):
    return exported(request.param)


@pytest.fixture(scope="module")
def bundle(exported):
    return exported("single_frame")[1]


def relative_errors(actual, expected) -> dict[str, float]:
    """Root mean square error over the spread, per output that holds numbers."""
    errors = {}
    for name, wanted in expected._asdict().items():
        if wanted.numel() and not torch.isnan(wanted).all():
            ours = getattr(actual, name)
            assert ours.shape == tuple(wanted.shape), name
            errors[name] = float(np.sqrt(np.square(ours - wanted.numpy()).mean()) / wanted.numpy().std())
    return errors


@torch.no_grad()
@pytest.mark.parametrize("hands", [1, 3])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-4), pytest.param("bfloat16", 0.1, marks=needs_bfloat16)]
)
def test_equals_pytorch(pair, hands, precision, tolerance):
    network, bundle = pair
    engine = create_engine(bundle, "openvino", precision=precision, cache_folder=None)
    moments = [torch.rand(hands, 3, 128, 128, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    ours = [engine.encode(moment.numpy()) for moment in moments]
    theirs = [network.encode(moment) for moment in moments]
    errors = relative_errors(ours[0], theirs[0])
    errors |= relative_errors(engine.fuse(*ours), network.fuse(*theirs))
    assert max(errors.values()) <= tolerance, errors


def test_answers_stay_when_the_engine_runs_again(bundle):
    engine = create_engine(bundle, "openvino", cache_folder=None)
    first = engine.encode(np.zeros((1, 3, 128, 128), np.float32))
    kept = first.vertices.copy()
    engine.encode(np.ones((1, 3, 128, 128), np.float32))
    np.testing.assert_array_equal(first.vertices, kept)


def test_unknown_precision_is_refused(bundle):
    with pytest.raises(EngineError, match="computes in float32, bfloat16 or int8, not 'int3'"):
        create_engine(bundle, "openvino", precision="int3", cache_folder=None)


class TestCache:
    """Compiled networks are reused; whatever is wrong with them costs time, never an answer."""

    crops = np.random.default_rng(0).random((1, 3, 128, 128), dtype=np.float32)

    def run(self, bundle, folder):
        engine = create_engine(bundle, "openvino", precision="float32", cache_folder=folder)
        return engine.encode(self.crops).vertices

    def test_a_second_start_compiles_nothing(self, bundle, tmp_path, monkeypatch):
        first = self.run(bundle, tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
        monkeypatch.setattr(
            openvino.Core, "compile_model", lambda *_: pytest.fail("compiled although it was cached")
        )
        np.testing.assert_array_equal(self.run(bundle, tmp_path), first)

    @pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "other file"])
    def test_damaged_entries_are_reported_and_replaced(self, bundle, tmp_path, caplog, damage):
        first = self.run(bundle, tmp_path)
        for path in tmp_path.iterdir():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            broken = {
                "truncated": bytes(content[:1000]),
                "changed": bytes(content),
                "empty": b"",
                "other file": b"not a network" * 1000,
            }
            path.write_bytes(broken[damage])
        np.testing.assert_array_equal(self.run(bundle, tmp_path), first)
        assert caplog.text.count("is damaged; compiling it anew") == 2
        caplog.clear()
        self.run(bundle, tmp_path)
        assert "damaged" not in caplog.text

    def test_other_weights_get_other_entries(self, bundle, tmp_path):
        self.run(bundle, tmp_path / "cache")
        other = export_bundle(
            synthetic_hand.small_network("single_frame", seed=5), tmp_path / "other", PROVENANCE, "float32"
        )
        without = self.run(other, None)
        np.testing.assert_array_equal(self.run(other, tmp_path / "cache"), without)
        assert len(list((tmp_path / "cache").iterdir())) == 4

    def test_a_folder_that_cannot_be_written_is_reported(self, bundle, tmp_path, caplog):
        (tmp_path / "file").write_text("")
        without = self.run(bundle, None)
        np.testing.assert_array_equal(self.run(bundle, tmp_path / "file" / "cache"), without)
        assert "cannot keep the compiled network" in caplog.text
