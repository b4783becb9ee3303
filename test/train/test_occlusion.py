"""Occlusion labels: the rasteriser, the rule, agreement with the renderer's own labels, and the program."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("scipy", reason="the miniature trees need SciPy (extra `train`)")
sys.path.insert(0, str(Path(__file__).parent))

import miniature

from train import label_occlusion
from train.datasets import open_dataset
from train.datasets.layout import OCCLUSION_KEYS
from train.occlusion.label import label_sample
from train.occlusion.raster import draw_parts

CAMERA = np.array([600.0, 600.0, 320.0, 240.0])
SIZE = (640, 480)


@pytest.fixture(scope="module")
def dexycb(tmp_path_factory):
    return miniature.write_dexycb(tmp_path_factory.mktemp("dexycb"), frames=8)


@pytest.fixture(scope="module")
def ho3d(tmp_path_factory):
    return miniature.write_ho3d(tmp_path_factory.mktemp("ho3d"), frames=12)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["label_occlusion", *(str(a) for a in arguments), "--workers", "1"])
    return label_occlusion.main()


def square(x, y, z, side=0.1):
    """Two triangles facing the camera, centred at (x, y), and their faces."""
    half = side / 2
    corners = [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    return np.array([(a, b, z) for a, b in corners]), np.array([(0, 1, 2), (0, 2, 3)])


def test_a_square_covers_the_pixels_it_should():
    vertices, faces = square(0, 0, 1.0)
    for order in (faces, faces[:, ::-1]):
        ids, near = draw_parts(vertices, order, np.array([2, 2]), CAMERA, SIZE)
        rows, columns = np.nonzero(ids)
        # 0.1 m at 1 m is 60 pixels: pixel centres from 290 to 350, both edges on a centre.
        assert (columns.min(), columns.max(), rows.min(), rows.max()) == (290, 350, 210, 270)
        assert (ids > 0).sum() == 61 * 61 and set(np.unique(ids)) == {0, 3}
        np.testing.assert_allclose(near[ids > 0], 1.0, rtol=1e-6)


def test_what_is_nearer_hides_what_is_farther():
    front, faces = square(0.02, 0, 0.8, 0.05)
    back, _ = square(0, 0, 1.0)
    for first, second in ((front, back), (back, front)):
        parts = np.array([0, 0, 5, 5] if first is front else [5, 5, 0, 0])
        ids, _ = draw_parts(
            np.concatenate([first, second]), np.concatenate([faces, faces + 4]), parts, CAMERA, SIZE
        )
        assert ids[240, 335] == 1 and ids[240, 295] == 6 and ids[240, 400] == 0


def test_slanted_triangles_cut_each_other_where_they_meet():
    """Two walls that cross at x = 0; perspective makes depth non-linear along them."""
    left = np.array([(-0.3, -0.2, 0.5), (0.3, -0.2, 1.5), (0.3, 0.2, 1.5), (-0.3, 0.2, 0.5)])
    right = left * [-1, 1, 1]
    faces = np.array([(0, 1, 2), (0, 2, 3)])
    ids, near = draw_parts(
        np.concatenate([left, right]),
        np.concatenate([faces, faces + 4]),
        np.array([0, 0, 1, 1]),
        CAMERA,
        SIZE,
    )
    row = ids[240]
    assert set(row[200:318]) == {1} and set(row[323:440]) == {2}
    x = np.arange(200, 320)
    # On the wall z = 1 + x_metres / 0.6, and x_metres = (x - 320) / 600 z.
    np.testing.assert_allclose(1 / near[240, 200:320], 1 / (1 - (x - 320) / 360), rtol=1e-5)


def test_nothing_is_drawn_behind_the_camera_or_beside_the_image():
    behind, faces = square(0, 0, -1.0)
    beside, _ = square(5.0, 0, 1.0)
    across = np.array([(-0.1, 0, 1.0), (0.1, 0, 1.0), (0, 0.1, -0.5)])
    for vertices, used in ((behind, faces), (beside, faces), (across, np.array([(0, 1, 2)]))):
        assert not draw_parts(vertices, used, np.zeros(len(used), int), CAMERA, SIZE)[0].any()
    partly, _ = square(-0.549, -0.419, 1.0, 0.2)
    ids, _ = draw_parts(partly, faces, np.zeros(2, int), CAMERA, SIZE)
    rows, columns = np.nonzero(ids)
    assert (columns.min(), rows.min()) == (0, 0) and (columns.max(), rows.max()) == (50, 48)


@pytest.mark.parametrize(("name", "split"), [("dexycb", "train"), ("dexycb", "test"), ("ho3d_v2", "train")])
def test_labels_equal_the_renderers_own(dexycb, ho3d, name, split):
    tree = dexycb if name == "dexycb" else ho3d
    if not tree.exact:
        pytest.skip("no off-screen OpenGL here: no second opinion on what is visible")
    dataset = open_dataset(name, tree.root, split, tree.mano, occlusion=False)
    sizes = np.bincount(dataset.hand.vertex_part, minlength=6)
    seen = []
    for row in dataset.rows:
        label, truth = label_sample(dataset, int(row)), tree.truth[str(dataset.names[row])]
        exact = np.append(truth.visible[:5] / sizes[:5], truth.visible_share)
        # HO3D's segmentations have half the resolution: near the limit a part may fall on either side.
        clear = np.abs(exact - [*[0.26] * 5, 0.4]) > (0.0 if name == "dexycb" else 0.08)
        np.testing.assert_array_equal(
            label.occluded[[0, 1, 2, 3, 4, 6]][clear], truth.occluded[clear], str(dataset.names[row])
        )
        wrong = ((label.drawn > 0) & label.kept != truth.hand_pixels).sum() / truth.hand_pixels.sum()
        assert wrong < (0.005 if name == "dexycb" else 0.08)
        seen.append(label.occluded[:5])
    assert 0.05 < np.mean(seen) < 0.95, "the miniature should hide some fingers and show others"


def test_the_program_labels_goes_on_and_previews(dexycb, monkeypatch, capsys, tmp_path):
    command = ("dexycb", dexycb.root, "--mano", dexycb.mano, "--preview", tmp_path / "pictures")
    command += ("--preview-every", "1")
    assert run(monkeypatch, *command) == 0
    assert "dexycb train: 24 pictures labelled, occluded: thumb" in capsys.readouterr().out
    files = sorted(dexycb.root.rglob("occ_v2_*.json"))
    assert len(files) == 32
    for file in files:
        content = json.loads(file.read_text())
        assert tuple(content) == OCCLUSION_KEYS and set(content.values()) <= {0, 1}
    pictures = sorted((tmp_path / "pictures").glob("*.png"))
    assert len(pictures) == 32
    picture = cv2.imread(str(pictures[0]))
    assert picture is not None and picture.std() > 20
    frame = open_dataset("dexycb", dexycb.root, "train", dexycb.mano).sample(3, 1)[0]
    labels = json.loads(files[3].read_text())
    assert frame.occlusion.tolist() == [labels[key] for key in OCCLUSION_KEYS if key != "palm"]
    assert frame.occlusion_weight == 1
    before = {file: file.stat().st_mtime_ns for file in files}
    files[2].unlink()
    files[5].write_text('{"thumb": 0, "ind')
    assert run(monkeypatch, *command[:4]) == 0
    assert "2 pictures labelled" in capsys.readouterr().out
    changed = [file for file in files if file.stat().st_mtime_ns != before[file]]
    assert changed == [files[2], files[5]]


def test_missing_labels_and_segmentations_are_named(tmp_path, monkeypatch, capsys):
    tree = miniature.write_dexycb(tmp_path, frames=3, test_frames=1)
    with pytest.raises(
        Exception, match=r"occ_v2_000000\.json is missing; `python -m train\.label_occlusion`"
    ):
        open_dataset("dexycb", tree.root, "train", tree.mano)
    names = [name for name in sorted(tree.truth) if "subject-03" not in name]
    marks = [tree.root / name.rsplit("/", 1)[0] / f"labels_{name[-6:]}.npz" for name in names]
    content = marks[0].read_bytes()
    marks[0].write_bytes(content[: len(content) // 2])
    marks[1].unlink()
    np.savez(marks[2], seg=np.zeros((10, 10), np.uint8))
    np.savez(marks[3], other=np.zeros(3))
    assert run(monkeypatch, "dexycb", tree.root, "--mano", tree.mano, "--split", "train") == 1
    said = capsys.readouterr().out
    assert "5 pictures labelled" in said and "4 could not be labelled" in said
    for mark, words in zip(marks, ("damaged", "is missing", r"\(10, 10\)", "lacks one of seg")):
        assert re.search(rf"{mark.name}.*{words}", said), words
    assert not marks[0].with_name("occ_v2_000000.json").exists()


def test_segmentations_of_something_else_are_refused(ho3d, monkeypatch, capsys):
    assert run(monkeypatch, "ho3d_v2", ho3d.root, "--mano", ho3d.mano, "--hand-channel", "green") == 2
    assert "--hand-channel" in capsys.readouterr().err
    assert not list(ho3d.root.rglob("occ_v2"))
    assert run(monkeypatch, "ho3d_v2", ho3d.root, "--mano", ho3d.mano, "--split", "evaluation") == 2
    assert "no annotated hands" in capsys.readouterr().err


def test_what_lies_left_of_or_above_the_image_is_not_visible(tmp_path):
    """Negative pixels must not be looked up from the other end of the picture."""
    tree = miniature.write_dexycb(tmp_path, frames=1, test_frames=1)
    path = tree.root / "annotations" / "DEX_YCB_s0_train_data.json"
    content = json.loads(path.read_text())
    entry = content["annotations"][0]
    points = np.array(entry["joints_img"])
    # The hand so far to the upper left that only what was right of and below its middle finger's base is in.
    shift = points[9] + 2
    entry["cam_param"]["princpt"] = (np.array(entry["cam_param"]["princpt"]) - shift).tolist()
    entry["joints_img"] = (points - shift).tolist()
    path.write_text(json.dumps(content))
    marks = tree.root / f"{miniature.FIRST_RECORDING}/labels_000000.npz"
    np.savez(marks, seg=np.full((480, 640), 255, np.uint8))
    dataset = open_dataset("dexycb", tree.root, "train", tree.mano, occlusion=False)
    label = label_sample(dataset, 0)
    truth = tree.truth[f"{miniature.FIRST_RECORDING}/000000"]
    pixels = truth.vertices[:, :2] / truth.vertices[:, 2:] * truth.camera[:2] + truth.camera[2:] - shift
    inside = (pixels > -0.5).all(1)
    within = np.bincount(dataset.hand.vertex_part[inside], minlength=6)
    assert 0 < within.sum() < len(inside) / 2
    assert (label.visible <= within).all()
    limit = 30 / 120 * np.bincount(dataset.hand.vertex_part, minlength=6)
    assert label.occluded[:6][within < 0.7 * limit].all() and (within < 0.7 * limit).any()


def test_a_hand_outside_the_picture_is_all_occluded(tmp_path):
    """The published test protocol keeps such samples, with the whole image as their crop."""
    tree = miniature.write_dexycb(tmp_path, frames=1, test_frames=1)
    path = tree.root / "annotations" / "DEX_YCB_s0_test_data.json"
    content = json.loads(path.read_text())
    entry = content["annotations"][0]
    for key, value in (("princpt", entry["cam_param"]), ("joints_img", entry)):
        value[key] = (np.array(value[key]) + np.array([700, 0])).tolist()
    path.write_text(json.dumps(content))
    dataset = open_dataset("dexycb", tree.root, "test", tree.mano, occlusion=False)
    assert len(dataset) == 2 and dataset.index["outside"].tolist() == [True, False]
    assert label_sample(dataset, 0).occluded.all()
    region = dataset.sample(0, 1)[0].region
    assert (region.x, region.y, region.size) == (319.5, 239.5, 639.0)


def test_stopping_keeps_what_is_done(dexycb):
    """Ended by another program in the middle, with two processes; the same command goes on."""
    command = [sys.executable, "-m", "train.label_occlusion", "dexycb", str(dexycb.root), "--mano"]
    command += [str(dexycb.mano), "--workers", "2", "--overwrite", "--split", "train"]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=Path(label_occlusion.__file__).parents[1]
    )
    assert running.stderr is not None
    seen = ""
    try:
        while not re.search(r"train: +\d+%.*[1-9]\d*/24", seen) and (piece := running.stderr.read(1)):
            seen += piece
        running.send_signal(signal.SIGTERM)
        _, last_words = running.communicate(timeout=120)
    finally:
        running.kill()
    assert "Traceback" not in seen + last_words
    # On a fast machine the few pictures may be done before the signal comes.
    assert running.returncode in (0, 130)
    if running.returncode == 130:
        assert "the same command goes on" in last_words
    assert not list(dexycb.root.rglob("*.partial"))
    for file in dexycb.root.rglob("occ_v2_*.json"):
        assert tuple(json.loads(file.read_text())) == OCCLUSION_KEYS
