"""`h2onet photos`: pictures in; overlays, joints and meshes out."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from h2onet_ros.engines import bundle_path
from h2onet_ros.hand.metrics import pa_mean_distance
from h2onet_ros.photos import command

DEMO = bundle_path().parents[1] / "demo"
FRAME = 100
"""Shows a right and a left hand, whole."""


@pytest.fixture(scope="module")
def picture():
    """(480, 640, 3) BGR."""
    capture = cv2.VideoCapture(str(DEMO / "demo.mp4"))
    for _ in range(FRAME):
        capture.grab()
    return capture.read()[1]


@pytest.fixture(scope="module")
def true_joints():
    """(2, 21, 3) of the right and the left hand, metres before the camera."""
    with np.load(DEMO / "truth.npz") as truth:
        return truth["joints"][FRAME]


def call(*arguments) -> int:
    return command.main([str(argument) for argument in arguments])


def hands_of(folder) -> list[dict]:
    return json.loads((folder / "hands.json").read_text())["hands"]


def half(picture, side):
    return np.ascontiguousarray(picture[:, :340] if side == "right" else picture[:, 300:])


def test_hands_are_placed_drawn_and_stored(picture, true_joints, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "two.png"), picture)
    out = tmp_path / "out"
    assert call(tmp_path / "two.png", "--out", out, "--calibration", DEMO / "camera.yaml") == 0
    assert re.match(r"two\.png: 2 hands: right at 0\.[45]\d m, left at 0\.[45]\d m", capsys.readouterr().out)
    right, left = hands_of(out / "two")
    assert (right["track_id"], right["handedness"]) == (1, "right")
    assert (left["track_id"], left["handedness"]) == (2, "left")
    for hand, truth in zip((right, left), true_joints, strict=True):
        joints = np.array(hand["joints"])
        assert pa_mean_distance(joints[None], truth[None]).item() < 0.02
        assert np.linalg.norm(joints[0] - truth[0]) < 0.08
    assert sorted(path.name for path in (out / "two").iterdir()) == [
        "hand_1.obj", "hand_2.obj", "hands.json", "overlay.jpg",
    ]  # fmt: skip
    lines = (out / "two" / "hand_2.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    assert len(vertices) == 800 and np.abs(vertices - left["joints"][0]).max() < 0.25
    changed = cv2.absdiff(cv2.imread(str(out / "two" / "overlay.jpg")), picture).max(2) > 60
    assert 0.01 < changed.mean() < 0.2
    assert cv2.imread(str(out / "photos.jpg")).shape == (360, 480, 3)


def test_each_photograph_is_a_scene_of_its_own(picture, tmp_path):
    """What one shows does not lead the search in the next; sizes may differ."""
    folder = tmp_path / "in"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), half(picture, "right"))
    cv2.imwrite(str(folder / "2.png"), half(picture, "left")[:400])
    cv2.imwrite(str(folder / "3.png"), np.full((240, 320, 3), 90, np.uint8))
    assert call(folder, "--out", tmp_path / "all") == 0
    found = [hands_of(tmp_path / "all" / name) for name in "123"]
    assert [[(h["track_id"], h["handedness"]) for h in hands] for hands in found] == [
        [(1, "right")], [(1, "left")], [],
    ]  # fmt: skip
    assert call(folder / "2.png", "--out", tmp_path / "alone") == 0
    alone = hands_of(tmp_path / "alone" / "2")
    np.testing.assert_allclose(alone[0]["joints"], found[1][0]["joints"], atol=1e-4)


def test_small_hands_of_a_wide_picture_are_found(picture, tmp_path):
    """They are seen only in the last of the windows in which palms are looked for."""
    wide = np.full((480, 1920, 3), picture[:40].mean((0, 1)), np.uint8)
    wide[100:412, -416:] = cv2.resize(picture, (416, 312), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    assert call(tmp_path / "wide.png", "--out", tmp_path / "out") == 0
    assert [hand["handedness"] for hand in hands_of(tmp_path / "out" / "wide")] == ["right", "left"]


def test_the_focal_length_in_the_file_places_the_hands(picture, tmp_path, capsys):
    """Twice the focal length, twice the distance; a field of view that is given counts more."""
    image = Image.fromarray(np.ascontiguousarray(half(picture, "right")[..., ::-1]))
    for name, focal_length in (("wide", 26), ("tele", 52)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0xA405] = focal_length
        image.save(tmp_path / f"{name}.jpg", exif=exif, quality=95)
    pair = (tmp_path / "wide.jpg", tmp_path / "tele.jpg")
    assert call(*pair, "--out", tmp_path / "noted") == 0
    assert "focal length as noted in the file, 52 mm" in capsys.readouterr().out
    near, far = (hands_of(tmp_path / "noted" / name)[0]["joints"][0][2] for name in ("wide", "tele"))
    assert far == pytest.approx(2 * near, rel=0.1)
    assert call(*pair, "--out", tmp_path / "given", "--field-of-view", "70") == 0
    near, far = (hands_of(tmp_path / "given" / name)[0]["joints"][0][2] for name in ("wide", "tele"))
    assert far == pytest.approx(near, rel=1e-3)


def test_a_photograph_is_turned_as_its_camera_noted(picture, tmp_path):
    upright = Image.fromarray(np.ascontiguousarray(picture[..., ::-1]))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif, quality=98)
    assert call(tmp_path / "a.jpg", "--out", tmp_path / "out") == 0
    camera = json.loads((tmp_path / "out" / "a" / "hands.json").read_text())["camera"]
    assert (camera["width"], camera["height"]) == (640, 480)
    assert [hand["handedness"] for hand in hands_of(tmp_path / "out" / "a")] == ["right", "left"]


def test_what_cannot_be_read_is_told_and_the_rest_is_done(picture, tmp_path, capsys):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "same.png"), half(picture, "right"))
    given = [tmp_path / "broken.jpg", tmp_path / "a" / "same.png", tmp_path / "b" / "same.png"]
    assert call(*given, "--out", tmp_path / "out") == 1
    heard = capsys.readouterr()
    assert "broken.jpg: it cannot be read as a picture" in heard.err
    assert "2 photographs, 2 hands" in heard.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["photos.jpg", "same", "same_2"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.png"], "nothing is at nowhere.png"),
        (["{here}"], "Expected a folder with pictures"),
        (["{here}/a.png", "--calibration", "{here}/none.yaml"], "Cannot read the calibration"),
        (["{here}/a.png", "--weights", "{here}/none"], "none"),
        (["{here}/a.png", "--engine", "abacus"], "unknown engine"),
    ],
)
def test_input_that_cannot_be_used_is_refused(picture, tmp_path, capsys, arguments, told):
    if len(arguments) > 1:
        cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert call(*(one.format(here=tmp_path) for one in arguments), "--out", tmp_path / "out") == 2
    heard = capsys.readouterr().err
    assert heard.startswith("h2onet photos: ") and told in heard and "Traceback" not in heard
    assert not (tmp_path / "out").exists()


def test_results_are_replaced_only_on_request(picture, tmp_path, capsys):
    photo, out = tmp_path / "a.png", tmp_path / "out"
    cv2.imwrite(str(photo), half(picture, "right"))
    assert call(photo, "--out", out) == 0
    cv2.imwrite(str(photo), half(picture, "left"))
    assert call(photo, "--out", out) == 2
    assert "add --force" in capsys.readouterr().err
    assert hands_of(out / "a")[0]["handedness"] == "right"
    assert call(photo, "--out", out, "--force") == 0
    assert hands_of(out / "a")[0]["handedness"] == "left"

    (out / "a" / "thesis.tex").write_text("written by hand")
    assert call(photo, "--out", out, "--force") == 2
    assert "something else is there" in capsys.readouterr().err
    assert (out / "a" / "thesis.tex").is_file()


def test_the_example_of_the_documentation_runs(picture, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "photographs.md").read_text()
    example = page.split("```python\n")[1].split("```")[0]
    cv2.imwrite(str(tmp_path / "hand.jpg"), half(picture, "right"))
    heard = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert heard.stdout.startswith("right [[")


def test_ctrl_c_keeps_what_was_found(picture, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(300):
        cv2.imwrite(str(folder / f"{number}.jpg"), picture)
    photos = [sys.executable, "-m", "h2onet_ros.cli", "photos", str(folder), "--out", str(out)]
    process = subprocess.Popen(photos, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("0.jpg: 2 hands")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "stopped" in told
    done = [path for path in out.iterdir() if path.is_dir()]
    assert 1 <= len(done) < 300
    assert all(len(hands_of(path)) == 2 for path in done)
    assert (out / "photos.jpg").is_file()
