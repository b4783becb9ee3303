import numpy as np
import pytest

from h2onet_ros.perception.palm import PalmDetector
from h2onet_ros.perception.search import PalmSearch


@pytest.fixture(scope="module")
def detector() -> PalmDetector:
    return PalmDetector()


def wide_image(real_hands, x: int) -> np.ndarray:
    """A photograph of a hand at `x` in an image of 640 x 320."""
    image = np.full((320, 640, 3), 120, np.uint8)
    image[80:240, x : x + 160] = real_hands.image(5)
    return image


def test_the_background_finds_the_same_as_the_foreground(detector, real_hands):
    images = [wide_image(real_hands, 20 + 30 * i) for i in range(8)]
    foreground, background = PalmSearch(detector), PalmSearch(detector)
    for image in images:
        background.prepare(image)
        assert background.collect() == foreground.now(image)


def test_an_answer_is_given_once(detector, real_hands):
    search = PalmSearch(detector)
    assert search.collect() is None
    search.prepare(wide_image(real_hands, 100))
    assert search.collect() is not None
    assert search.collect() is None


def test_after_a_reset_nothing_old_is_answered(detector, real_hands):
    search = PalmSearch(detector)
    search.prepare(wide_image(real_hands, 100))
    search.reset()
    assert search.collect() is None


def test_a_hand_cut_off_by_a_window_is_left_to_the_whole_image(detector, real_hands):
    """Looks: whole, left square, whole, right square. The hand lies across the border of both squares."""
    image = wide_image(real_hands, 240)
    search = PalmSearch(detector)
    looks = [search.now(image) for _ in range(4)]
    assert [len(found) for found in looks] == [1, 0, 1, 0]
    assert looks[0][0].x == pytest.approx(320, abs=25)


def test_a_hand_at_the_image_border_is_found_in_the_window_there(detector, real_hands):
    search = PalmSearch(detector)
    looks = [search.now(wide_image(real_hands, 0)) for _ in range(4)]
    assert [len(found) for found in looks] == [1, 1, 1, 0]
