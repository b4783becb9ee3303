"""`h2onet weights`, as a user calls it."""

from __future__ import annotations

import json
import re

import numpy as np
import parity_network as parity
import pytest
import torch

from h2onet_ros.cli import main
from h2onet_ros.engines import WeightsBundle, create_engine, packaged_bundles


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["weights", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_info_tells_what_a_bundle_holds(capsys, exported):
    bundle = exported("multi_frame")[1]
    code, text, _ = run(capsys, "info", bundle.folder)
    assert code == 0
    for fact in (
        "multi_frame",
        "CC0-1.0",
        "0.17, 0.33",
        "240, 120, 60, 30, 15",
        bundle.digest,
        "not measured",
    ):
        assert fact in text
    code, text, _ = run(capsys, "info", bundle.folder, "--json")
    assert code == 0
    assert json.loads(text)["vertices"] == 240


def test_export_stores_another_precision(capsys, exported, tmp_path):
    bundle = exported("single_frame")[1]
    code, text, _ = run(
        capsys, "export", bundle.folder, "--output", tmp_path / "half", "--precision", "float16"
    )
    assert code == 0
    assert "float16" in text
    half = WeightsBundle.load(tmp_path / "half")
    assert half.info.precision == "float16"
    assert half.encode_path.stat().st_size < 0.7 * bundle.encode_path.stat().st_size
    crops = np.random.default_rng(0).random((1, 3, 128, 128), dtype=np.float32)
    a, b = (create_engine(x, "onnxruntime").encode(crops).vertices for x in (bundle, half))
    assert np.abs(a - b).max() < 0.05 * a.std()


def test_list_shows_the_weights_that_come_along(capsys):
    code, text, _ = run(capsys, "list")
    assert code == 0
    rows = text.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(packaged_bundles())
    for row in rows:
        assert re.search(r"[0-9.]+ mm, [0-9.]+%$", row), row
    code, text, _ = run(capsys, "list", "--json")
    assert code == 0
    assert json.loads(text) == {name: str(folder) for name, folder in packaged_bundles().items()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "h2onet weights info: weights bundle nowhere does not exist"),
        (
            ["export", "nowhere", "--output", "x"],
            "h2onet weights export: weights bundle nowhere does not exist",
        ),
        (
            ["import-reference", "none.pth", "--template", "t", "--output", "x"],
            "h2onet weights import-reference: checkpoint none.pth does not exist",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_errors_are_one_line_and_exit_code_1(capsys, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, error = run(capsys, *arguments)
    assert (code, text) == (1, "")
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@parity.needs_parity
def test_a_published_checkpoint_becomes_a_bundle_that_runs(capsys, tmp_path):
    import published_files

    published_files.write_template(tmp_path / "template")
    checkpoint = published_files.write_checkpoint(
        tmp_path / "best.pth", parity.reference_state("multi_frame")
    )
    parts = parity.PARITY / "mano_parts.npz"
    arguments = (checkpoint, "--template", tmp_path / "template", "--output", tmp_path / "bundle")
    code, _, error = run(capsys, "import-reference", *arguments)
    assert code == 1
    assert "give MANO_RIGHT.pkl or the parts" in error
    code, text, _ = run(
        capsys, "import-reference", *arguments, "--parts", parts, "--precision", "float32", "--name", "dexycb"
    )
    assert code == 0
    assert "multi_frame" in text
    bundle = WeightsBundle.load(tmp_path / "bundle")
    assert (bundle.info.name, bundle.info.hand) == ("dexycb", "mano")
    engine = create_engine(bundle, "onnxruntime")
    case = parity.case("multi_frame_case")
    moments = [engine.encode(parity.enlarged(case[f"image_16x16_{i}"]).numpy()) for i in range(3)]
    hands = engine.fuse(*moments)
    wrist = case["pred_joints3d_wo_gr"][:4, :1]
    parity.assert_close(torch.from_numpy(hands.vertices), case["pred_verts3d_w_gr"][:4] - wrist, "vertices")
