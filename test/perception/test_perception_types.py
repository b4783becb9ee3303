import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import Frame, Region

squares = st.builds(Region, st.floats(-100, 100), st.floats(-100, 100), st.floats(1, 100))


@given(squares, squares)
def test_overlap_measures_are_symmetric_fractions(a, b):
    assert 0 <= a.iou(b) <= a.overlap(b) + 1e-9 <= 1 + 2e-9
    assert a.iou(b) == pytest.approx(b.iou(a))
    assert a.overlap(b) == pytest.approx(b.overlap(a))
    assert a.iou(a) == pytest.approx(1)


@given(squares)
def test_visible_fraction_counts_the_area_inside_the_image(square):
    left, top, right, bottom = square.corners
    x, y = (np.linspace(a, b, 400, endpoint=False) for a, b in ((left, right), (top, bottom)))
    counted = ((x >= 0) & (x < 60)).mean() * ((y >= 0) & (y < 40)).mean()
    assert square.visible_fraction(60, 40) == pytest.approx(counted, abs=0.01)


def test_a_square_inside_another_overlaps_it_wholly():
    assert Region(10, 10, 4).overlap(Region(12, 12, 40)) == pytest.approx(1)
    assert Region(10, 10, 4).iou(Region(12, 12, 40)) == pytest.approx(0.01)


@pytest.mark.parametrize("values", [(np.nan, 0, 1), (0, 0, 0), (0, 0, -1), (0, np.inf, 1)])
def test_impossible_regions_are_refused(values):
    with pytest.raises(ValueError, match="positive size"):
        Region(*values)


def test_frames_check_their_image():
    camera = Camera.assumed(64, 48)
    Frame(np.zeros((48, 64, 3), np.uint8), 0, camera)
    with pytest.raises(ValueError, match=r"\(None, None, 3\), got \(48, 64\)"):
        Frame(np.zeros((48, 64), np.uint8), 0, camera)
    with pytest.raises(ValueError, match="uint8, got float32"):
        Frame(np.zeros((48, 64, 3), np.float32), 0, camera)
    with pytest.raises(ValueError, match="32 x 48 but the camera is calibrated for 64 x 48"):
        Frame(np.zeros((48, 32, 3), np.uint8), 0, camera)


def test_the_outline_of_a_turned_region_has_its_upper_side_where_the_fingers_are():
    """A hand that points to the right must be turned a quarter anti-clockwise to stand upright."""
    outline = Region(50, 40, 20, np.pi / 2).outline
    np.testing.assert_allclose(outline, [[60, 30], [60, 50], [40, 50], [40, 30]], atol=1e-5)
    np.testing.assert_allclose(outline[:2].mean(0), [60, 40], atol=1e-5)
