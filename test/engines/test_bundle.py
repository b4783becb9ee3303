"""Weights bundles: what is written is read, and everything else is refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import synthetic_hand

from h2onet_ros.engines import BundleError, WeightsBundle, create_engine, packaged_bundles
from h2onet_ros.model.export import Provenance, export_bundle

PROVENANCE = Provenance(
    name="test", hand="tube", licence="CC0-1.0", training_data="none", metrics={"pa_mpjpe_mm": 12.5}
)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "bundle"
    export_bundle(synthetic_hand.small_network(), folder, PROVENANCE)
    return folder


@pytest.fixture
def bundle_folder(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def edit_info(folder: Path, **changes) -> None:
    document = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(document | changes))


def test_a_written_bundle_is_read_back(bundle_folder):
    bundle = WeightsBundle.load(bundle_folder)
    topology = synthetic_hand.tube_topology()
    assert bundle.info.name == "test"
    assert bundle.info.variant == "multi_frame"
    assert bundle.info.width == 0.25
    assert bundle.info.temporal_offsets_s == (0.17, 0.33)
    assert bundle.info.metrics == {"pa_mpjpe_mm": 12.5}
    np.testing.assert_array_equal(bundle.topology.faces, topology.faces)
    np.testing.assert_array_equal(bundle.topology.joint_regressor, topology.joint_regressor)
    np.testing.assert_array_equal(bundle.topology.hierarchy.spirals[0], topology.hierarchy.spirals[0])


def test_a_bundle_tells_people_its_licence_and_figures(bundle_folder):
    text = (bundle_folder / "README.md").read_text()
    for told in ("# Weights test", "CC0-1.0", "| pa mpjpe mm | 12.5 |", "0.17 s and 0.33 s"):
        assert told in text


def missing_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def file_instead_of_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("weights")


def missing_info(folder: Path) -> None:
    (folder / "bundle.json").unlink()


def missing_network(folder: Path) -> None:
    (folder / "fuse.onnx").unlink()


def truncated_network(folder: Path) -> None:
    path = folder / "encode.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def changed_network(folder: Path) -> None:
    path = folder / "encode.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def broken_json(folder: Path) -> None:
    (folder / "bundle.json").write_text('{"format": "h2onet_ros wei')


def binary_info(folder: Path) -> None:
    (folder / "bundle.json").write_bytes(b"\xff\xfe\x00\x80")


def another_kind(folder: Path) -> None:
    edit_info(folder, format="palm detector")


def a_list(folder: Path) -> None:
    (folder / "bundle.json").write_text("[]")


def newer_version(folder: Path) -> None:
    edit_info(folder, version=99)


def no_version(folder: Path) -> None:
    edit_info(folder, version="one")


def no_checksums(folder: Path) -> None:
    edit_info(folder, sha256={})


def no_info(folder: Path) -> None:
    edit_info(folder, info=None)


def unknown_variant(folder: Path) -> None:
    document = json.loads((folder / "bundle.json").read_text())
    edit_info(folder, info=document["info"] | {"variant": "five_frame"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (missing_folder, "does not exist"),
        (file_instead_of_folder, "is a file, not a folder"),
        (missing_info, "no weights bundle: it has no bundle.json"),
        (missing_network, "lacks fuse.onnx"),
        (truncated_network, "encode.onnx is damaged"),
        (changed_network, "encode.onnx is damaged"),
        (broken_json, "cannot be read"),
        (binary_info, "cannot be read"),
        (another_kind, "expected format .* found 'palm detector'"),
        (a_list, "does not describe weights"),
        (newer_version, "format version 99.*update the software"),
        (no_version, "version must be a positive number"),
        (no_checksums, "lists no checksums"),
        (no_info, "has no 'info'"),
        (unknown_variant, "five_frame"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_bad_bundle_is_refused_with_a_reason(bundle_folder, damage, message):
    damage(bundle_folder)
    with pytest.raises(BundleError, match=message):
        WeightsBundle.load(bundle_folder)


def test_weights_that_come_along_go_by_name(bundle_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(packaged_bundles()) == ["default", "compact"]
    for name, folder in packaged_bundles().items():
        assert WeightsBundle.load(name).folder == folder
    assert WeightsBundle.load().folder == WeightsBundle.load("").folder == packaged_bundles()["default"]
    with pytest.raises(BundleError, match=r"unheard_of does not exist.* come along: default, compact"):
        WeightsBundle.load("unheard_of")
    # What lies where the user is goes first.
    bundle_folder.rename(tmp_path / "default")
    assert WeightsBundle.load("default").info.name == "test"


def test_an_existing_folder_is_not_overwritten_unasked(bundle_folder):
    network = synthetic_hand.small_network(seed=1)
    before = WeightsBundle.load(bundle_folder).digest
    with pytest.raises(BundleError, match="exists already"):
        export_bundle(network, bundle_folder, PROVENANCE)
    assert WeightsBundle.load(bundle_folder).digest == before
    after = export_bundle(network, bundle_folder, PROVENANCE, overwrite=True)
    assert after.digest != before
    assert [path.name for path in bundle_folder.parent.iterdir()] == ["bundle"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="no weights bundle"):
        export_bundle(synthetic_hand.small_network(), tmp_path / "mine", PROVENANCE, overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_failed_export_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot write"):
        export_bundle(synthetic_hand.small_network(), tmp_path / "file" / "bundle", PROVENANCE)
    broken = synthetic_hand.small_network()
    broken.decoder3d.head.layer.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"NaN or infinity in decoder3d\.head\.layer\.weight"):
        export_bundle(broken, tmp_path / "bundle", PROVENANCE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_half_precision_halves_the_size(tmp_path, original):
    full = export_bundle(synthetic_hand.small_network(), tmp_path / "full", PROVENANCE, precision="float32")
    half = WeightsBundle.load(original)
    assert half.encode_path.stat().st_size < 0.6 * full.encode_path.stat().st_size
    crops = np.random.default_rng(0).random((1, 3, 128, 128), dtype=np.float32)
    a, b = (create_engine(bundle, "onnxruntime").encode(crops).vertices for bundle in (full, half))
    assert np.abs(a - b).max() < 0.02 * a.std()
