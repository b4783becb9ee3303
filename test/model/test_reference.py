"""Importing published checkpoints: right weights from right files, clear refusals of all others."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import parity_network as parity
import pytest
import torch
from published_files import write_checkpoint, write_template

from h2onet_ros.model.reference import ReferenceImportError, import_reference

pytestmark = parity.needs_parity


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return write_template(tmp_path_factory.mktemp("published") / "template")


def parts():
    arrays = parity.case("mano_parts")
    return arrays["vertex_part"], arrays["face_part"]


@pytest.mark.parametrize("prefix", ["", "module."], ids=["one GPU", "several GPUs"])
@pytest.mark.parametrize("variant", ["single_frame", "multi_frame"])
def test_published_weights_give_the_published_numbers(tmp_path, template, variant, prefix):
    checkpoint = write_checkpoint(tmp_path / "best.pth", parity.reference_state(variant), prefix)
    network = import_reference(checkpoint, template, parts())
    expected = parity.reference_network(variant)
    assert network.config == expected.config
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)
    np.testing.assert_array_equal(network.joint_regressor, expected.joint_regressor)
    ours, theirs = network.topology.hierarchy, expected.topology.hierarchy
    for k in range(4):
        np.testing.assert_array_equal(ours.spirals[k], theirs.spirals[k])
        np.testing.assert_array_equal(ours.upsample[k], theirs.upsample[k])
        np.testing.assert_array_equal(ours.kept[k], theirs.kept[k])


def test_single_frame_weights_need_no_parts_but_multi_frame_weights_do(tmp_path, template):
    single = write_checkpoint(tmp_path / "single.pth", parity.reference_state("single_frame"))
    assert set(import_reference(single, template).topology.vertex_part) == {5}
    multi = write_checkpoint(tmp_path / "multi.pth", parity.reference_state("multi_frame"))
    with pytest.raises(ReferenceImportError, match=r"give MANO_RIGHT\.pkl or the parts"):
        import_reference(multi, template)


def refusal(tmp_path: Path, template: Path, state: dict) -> str:
    with pytest.raises(ReferenceImportError) as error:
        import_reference(write_checkpoint(tmp_path / "x.pth", state), template, parts())
    return str(error.value)


def test_a_mismatch_names_the_entries(tmp_path, template):
    state = dict(parity.reference_state("single_frame"))
    del state["backbone.pre_layer.0.1.bias"]
    state["backbone.extra.weight"] = torch.zeros(3)
    state["decoder3d.head.layer.bias"] = torch.zeros(4)
    message = refusal(tmp_path, template, state)
    assert "published single_frame network" in message
    assert "1 missing: backbone.pre_layer.0.1.bias;" in message
    assert "1 unexpected: backbone.extra.weight;" in message
    assert "1 of another shape: decoder3d.head.layer.bias (4,) instead of (3,)" in message


def test_another_network_is_refused_with_a_short_report(tmp_path, template):
    other = {f"layer{i}.weight": torch.zeros(2) for i in range(50)}
    other["mano_joint_reg"] = torch.zeros(21, 778)
    message = refusal(tmp_path, template, other)
    assert "50 unexpected: layer0.weight" in message
    assert "and 44 more" in message
    assert len(message) < 1500
    assert "mano_joint_reg must have the shape" in refusal(tmp_path, template, {"a": torch.zeros(1)})


def test_nan_weights_are_refused(tmp_path, template):
    state = dict(parity.reference_state("single_frame"))
    state["decoder3d.head.layer.bias"] = torch.full((3,), float("nan"))
    assert "NaN or infinity in 1 entries: decoder3d.head.layer.bias" in refusal(tmp_path, template, state)


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy format"])
def test_a_hostile_checkpoint_is_refused_and_not_run(tmp_path, template, legacy):
    trace = tmp_path / "trace"
    torch.save(
        {"state_dict": {}, "step": Runs(trace)},
        tmp_path / "x.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(ReferenceImportError, match="no checkpoint needs; refused"):
        import_reference(tmp_path / "x.pth", template, parts())
    assert not trace.exists()


def test_a_hostile_template_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "transform.pkl").write_bytes(pickle.dumps({"vertices": Runs(trace)}))
    checkpoint = write_checkpoint(tmp_path / "x.pth", parity.reference_state("single_frame"))
    with pytest.raises(ReferenceImportError, match="plain data never needs; refused"):
        import_reference(checkpoint, tmp_path, parts())
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint" * 100, "half"], ids=["empty", "text", "truncated"]
)
def test_damaged_checkpoints_are_refused(tmp_path, template, content):
    path = write_checkpoint(tmp_path / "x.pth", {"a": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:2000] if content == "half" else content)
    with pytest.raises(ReferenceImportError, match="damaged or no PyTorch file"):
        import_reference(path, template, parts())


def test_files_that_are_not_there_are_named(tmp_path, template):
    with pytest.raises(FileNotFoundError, match=r"none\.pth does not exist"):
        import_reference(tmp_path / "none.pth", template)
    checkpoint = write_checkpoint(tmp_path / "x.pth", parity.reference_state("single_frame"))
    with pytest.raises(FileNotFoundError, match=r"transform\.pkl"):
        import_reference(checkpoint, tmp_path)


def test_another_template_is_refused(tmp_path, template):
    checkpoint = write_checkpoint(tmp_path / "x.pth", parity.reference_state("single_frame"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "transform.pkl").write_bytes(pickle.dumps({"vertices": [np.zeros((5, 3))]}))
    with pytest.raises(ReferenceImportError, match="not the published template"):
        import_reference(checkpoint, tmp_path / "other")


def test_importing_leaves_pytorch_as_strict_as_before(tmp_path, template):
    before = set(torch.serialization.get_safe_globals())
    checkpoint = write_checkpoint(tmp_path / "x.pth", parity.reference_state("single_frame"))
    import_reference(checkpoint, template)
    assert set(torch.serialization.get_safe_globals()) == before
