"""Backgrounds of the synthetic renderer: panoramas as picture and light, and fetching them."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="backgrounds need SciPy (extra `train`)")

from scipy.spatial.transform import Rotation

from train import fetch_backgrounds
from train.synthetic.backgrounds import BackgroundLibrary, Panorama, sh_basis

CAMERA = np.array([[60.0, 0, 31.5], [0, 60.0, 31.5], [0, 0, 1]])


def lamp(column: int, row: int) -> Panorama:
    """A dim grey room of 128 x 64 with one lamp of 4 x 4 pixels."""
    radiance = np.full((64, 128, 3), 0.2, np.float32)
    radiance[row : row + 4, column : column + 4] = 400.0
    return Panorama(radiance)


@pytest.mark.parametrize(
    ("column", "row", "expected"),
    [(62, 30, (0, 0, 1)), (94, 30, (1, 0, 0)), (30, 30, (-1, 0, 0)), (62, 0, (0, -1, 0))],
    ids=["ahead", "right", "left", "above"],
)
def test_the_lamp_becomes_the_sun_where_it_is(column, row, expected):
    light = lamp(column, row).light(np.eye(3))
    assert np.degrees(np.arccos(light.sun_direction @ np.array(expected))) < 8
    assert (light.sun > 0).all()


def test_light_turns_against_the_camera_and_ambient_light_with_it():
    room = lamp(94, 30)
    turned = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    ahead = room.light(turned)
    np.testing.assert_allclose(ahead.sun_direction, turned.T @ room.light(np.eye(3)).sun_direction, atol=1e-9)
    assert ahead.sun_direction[2] > 0.99
    direction = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
    seen_straight = sh_basis(turned @ direction) @ room.light(np.eye(3)).ambient
    np.testing.assert_allclose(sh_basis(direction) @ ahead.ambient, seen_straight, atol=1e-9)


def test_even_light_is_the_same_from_everywhere():
    light = Panorama(np.full((64, 128, 3), 3.0, np.float32)).light(np.eye(3))
    directions = Rotation.random(50, random_state=1).apply([0, 0, 1.0])
    np.testing.assert_allclose(sh_basis(directions) @ light.ambient, 1.0, atol=0.01)


def test_the_view_shows_the_lamp_in_the_middle_of_a_camera_that_looks_at_it():
    turned = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    view = lamp(94, 30).view(CAMERA, (64, 64), turned).mean(2)
    row, column = np.argwhere(view > 0.9 * view.max()).mean(0)
    np.testing.assert_allclose((row, column), 31.5, atol=1)


def test_without_a_folder_backgrounds_are_made_up_and_repeat():
    first, second = (
        [BackgroundLibrary(None).draw(np.random.default_rng(k)) for k in range(8)] for _ in range(2)
    )
    assert {backdrop.kind for backdrop in first} == {"surface", "plain"}
    library = BackgroundLibrary(None)
    for one, other in zip(first, second):
        pictures = [library.view(backdrop, CAMERA, 64, (0.0, 0.0)) for backdrop in (one, other)]
        assert pictures[0].shape == (64, 64, 3)
        np.testing.assert_array_equal(*pictures)


def test_a_folder_without_pictures_is_told(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileNotFoundError, match="name a folder of images"):
        BackgroundLibrary(tmp_path)


def test_exr_panoramas_are_read_exactly(tmp_path):
    exr = pytest.importorskip("OpenEXR", reason="panoramas need OpenEXR (extra `assets`)")
    radiance = np.random.default_rng(0).random((4, 8, 3)).astype(np.float32) * 50
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"RGB": radiance}).write(str(tmp_path / "room.exr"))
    np.testing.assert_array_equal(fetch_backgrounds.read_exr(tmp_path / "room.exr"), radiance)


def test_fetching_tells_which_tool_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", ["fetch_backgrounds", str(tmp_path)])
    assert fetch_backgrounds.main() == 1
    assert "`apt-get` is not installed" in capsys.readouterr().err
