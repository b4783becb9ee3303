"""Annotation files made from the data sets as published equal the pre-processed ones."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the miniature trees need SciPy (extra `train`)")
sys.path.insert(0, str(Path(__file__).parent))

import miniature

from h2onet_ros.hand.mano import ManoFileError, load_pose_components
from train import convert_annotations
from train.datasets import open_dataset
from train.datasets.raw_dexycb import split_of


@pytest.fixture(scope="module")
def dexycb(tmp_path_factory):
    return miniature.write_dexycb(tmp_path_factory.mktemp("dexycb"), frames=3, test_frames=2)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["convert_annotations", *(str(a) for a in arguments)])
    return convert_annotations.main()


def content(path):
    """Annotations by file name."""
    read = json.loads(path.read_text())
    files = {image["id"]: image for image in read["images"]}
    return {
        files[entry["image_id"]]["file_name"]: (files[entry["image_id"]], entry)
        for entry in read["annotations"]
    }


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for file, (image, entry) in ours.items():
        other_image, other = theirs[file]
        assert {**image, "id": 0} == {**other_image, "id": 0}
        assert entry.keys() == other.keys() and entry.get("hand_type") == other.get("hand_type")
        for name in ("joints_coord_cam", "joints_img", "root_joint_cam", "bbox"):
            if name in other:
                np.testing.assert_allclose(
                    entry[name], other[name], rtol=1e-5, atol=1e-4 if "img" in name else 1e-6
                )
        for name in ("cam_param", "mano_param"):
            for key, value in other.get(name, {}).items():
                np.testing.assert_allclose(entry[name][key], value, rtol=1e-5, atol=2e-6)


def test_dexycb(dexycb, monkeypatch, capsys):
    """Finger poses are coefficients, other ones for left hands; frames without a hand are no samples."""
    folder = dexycb.root / "annotations"
    theirs = content(folder / "DEX_YCB_s0_train_data.json") | content(folder / "DEX_YCB_s0_test_data.json")
    command = ["dexycb", dexycb.root, "--mano", dexycb.mano, "--setup", "s1", "--incomplete"]
    assert run(monkeypatch, *command) == 2
    assert "--mano-left" in capsys.readouterr().err
    assert run(monkeypatch, *command, "--mano-left", dexycb.mano.with_name("MANO_LEFT.pkl")) == 0
    # All three subjects are of setup s1's training split.
    assert "DEX_YCB_s1_train_data.json: 13 annotations of 5 recordings" in capsys.readouterr().out
    assert_same(content(folder / "DEX_YCB_s1_train_data.json"), theirs)
    dataset = open_dataset("dexycb", dexycb.root, "train", dexycb.mano, setup="s1", occlusion=False)
    assert len(dataset) == 13 and not dataset.problems
    assert {frame.mirrored for index in range(13) for frame in dataset.sample(index, 1)} == {True, False}


@pytest.mark.parametrize("version", [2, 3])
def test_ho3d(tmp_path, monkeypatch, version):
    tree = miniature.write_ho3d(tmp_path, version, frames=3, evaluation_frames=2)
    files = [tree.root / "annotations" / f"HO3D_{split}_data.json" for split in ("train", "evaluation")]
    theirs = [content(file) for file in files]
    command = ["convert", f"ho3d_v{version}", tree.root, "--mano", tree.mano][1:]
    assert run(monkeypatch, *command) == 2, "files that are there must not be replaced unasked"
    assert [content(file) for file in files] == theirs
    assert run(monkeypatch, *command, "--overwrite") == 0
    for file, other in zip(files, theirs):
        assert_same(content(file), other)


def test_splits_are_the_published_ones():
    shares = {}
    for setup in ("s0", "s1", "s2", "s3"):
        where = Counter(
            split_of(setup, subject, sequence, camera)
            for subject in range(10)
            for sequence in range(100)
            for camera in range(8)
        )
        shares[setup] = [where[split] for split in ("train", "val", "test")]
    assert shares == {
        "s0": [6400, 320, 1280],
        "s1": [5600, 800, 1600],
        "s2": [6000, 1000, 1000],
        "s3": [6000, 800, 1200],
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("sequences", r"holds 1 sequences, expected 100.*--incomplete"),
        ("calibration", r"836212060125_640x480\.yml cannot be read"),
        ("camera", r"836212060125_640x480\.yml lacks 'ppy'"),
        ("meta", r"meta\.yml lacks 'mano_sides'"),
        ("shape", r"mano\.yml.*damaged"),
        ("labels", r"labels_000001\.npz is missing"),
        ("subjects", r"No folders like 20200709-subject-01"),
        ("mano", r"MANO_RIGHT\.pkl is not a usable MANO file"),
    ],
)
def test_what_is_missing_is_named(tmp_path, dexycb, monkeypatch, capsys, damage, message):
    import re
    import shutil

    root, mano = tmp_path / "DEX_YCB", tmp_path / "MANO_RIGHT.pkl"
    shutil.copytree(dexycb.root, root, ignore=shutil.ignore_patterns("*.json", "*.jpg"))
    shutil.copy(dexycb.mano, mano)
    calibration = root / "calibration"
    camera = calibration / "intrinsics" / "836212060125_640x480.yml"
    sequence = root / "20200709-subject-01" / "20200709_141754"
    if damage == "calibration":
        camera.unlink()
    elif damage == "camera":
        camera.write_text("color: {fx: 1, fy: 1, ppx: 2}\n")
    elif damage == "meta":
        (sequence / "meta.yml").write_text("num_frames: 2\n")
    elif damage == "shape":
        next(calibration.glob("mano_*/mano.yml")).write_text("betas: [1, 2]\n")
    elif damage == "labels":
        (sequence / "836212060125" / "labels_000001.npz").unlink()
    elif damage == "subjects":
        for folder in root.glob("*-subject-*"):
            shutil.rmtree(folder)
    elif damage == "mano":
        mano.write_bytes(b"\x80\x02}q\x00.")
    command = ["dexycb", root, "--mano", mano, "--mano-left", dexycb.mano.with_name("MANO_LEFT.pkl")]
    assert run(monkeypatch, *command, *([] if damage == "sequences" else ["--incomplete"])) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(root.rglob("*_data.json")) and not list(root.rglob("*.partial"))


def test_a_sample_without_a_hand_is_left_out_and_a_hostile_file_refused(tmp_path, monkeypatch, capsys):
    import pickle

    tree = miniature.write_ho3d(tmp_path, frames=3, evaluation_frames=1)
    meta = tree.root / "train" / "ABF10" / "meta"
    (meta / "0003.pkl").write_bytes(pickle.dumps({"handJoints3D": None, "camMat": None}))
    command = ["ho3d_v2", tree.root, "--mano", tree.mano, "--overwrite"]
    assert run(monkeypatch, *command) == 0
    assert "3 annotations, 1 samples without a hand" in capsys.readouterr().out
    (meta / "0006.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert run(monkeypatch, *command) == 2
    assert "0006.pkl" in capsys.readouterr().err
    with pytest.raises(ManoFileError, match="hands_components"):
        load_pose_components(meta / "0000.pkl")
