import numpy as np
import pytest

from h2onet_ros.perception.network import NetworkError
from h2onet_ros.perception.palm import (
    PALM_ASSET,
    PalmDetector,
    letterbox,
    search_windows,
    weighted_suppression,
)
from h2onet_ros.perception.types import Region


@pytest.fixture(scope="module")
def detector() -> PalmDetector:
    return PalmDetector()


def canvas_with(real_hands, places: dict[int, tuple[int, int]], size: tuple[int, int]) -> np.ndarray:
    """Photographs pasted with their top left corner at (x, y) on a grey image of `size` (width, height)."""
    image = np.full((size[1], size[0], 3), 120, np.uint8)
    for index, (x, y) in places.items():
        image[y : y + 160, x : x + 160] = real_hands.image(index)
    return image


def true_region(joints: np.ndarray) -> Region:
    low, high = joints.min(0), joints.max(0)
    return Region(*((low + high) / 2), 1.5 * float((high - low).max()))


def test_photographed_hands_are_found_where_they_are(detector, real_hands):
    chosen = np.random.default_rng(0).permutation(len(real_hands.names))[:120]
    overlaps, inside = [], []
    for index in chosen:
        found = detector.detect(canvas_with(real_hands, {index: (60, 40)}, (320, 240)))
        joints = real_hands.joints[index] + [60, 40]
        truth = true_region(joints)
        best = max(found, key=lambda palm: palm.region.iou(truth), default=None)
        overlaps.append(best.region.iou(truth) if best else 0.0)
        if best and overlaps[-1] > 0.2:
            left, top, right, bottom = best.region.corners
            inside.append(((joints > [left, top]) & (joints < [right, bottom])).all(1).mean())
    found = np.array(overlaps) > 0.3
    assert found.mean() > 0.92
    assert np.mean(np.array(overlaps)[found]) > 0.62
    assert np.mean(inside) > 0.97


def test_its_points_lie_on_the_palm(detector, real_hands):
    errors = []
    for index in np.random.default_rng(1).permutation(len(real_hands.names))[:60]:
        for palm in detector.detect(canvas_with(real_hands, {index: (10, 20)}, (200, 200)))[:1]:
            joints = real_hands.joints[index] + [10, 20]
            knuckles = joints[[0, 5, 9, 13, 17, 1, 2]]
            errors.append(np.linalg.norm(palm.points - knuckles, axis=1).mean() / np.ptp(joints, 0).max())
    assert np.median(errors) < 0.08


def test_several_hands_in_one_image(detector, real_hands):
    clear = [
        index
        for index in np.random.default_rng(2).permutation(len(real_hands.names))[:20]
        for found in [detector.detect(canvas_with(real_hands, {index: (80, 80)}, (320, 320)))]
        if len(found) == 1 and found[0].score > 0.93
    ][:3]
    places = dict(zip(clear, [(0, 0), (175, 10), (90, 170)]))
    found = detector.detect(canvas_with(real_hands, places, (340, 330)))
    assert len(found) == 3
    for index, corner in places.items():
        truth = true_region(real_hands.joints[index] + np.array(corner))
        assert max(palm.region.iou(truth) for palm in found) > 0.4
    assert [palm.score for palm in found] == sorted((palm.score for palm in found), reverse=True)


def test_where_the_hand_is_in_the_image_does_not_matter(detector, real_hands):
    def centre(size, corner):
        (palm,) = detector.detect(canvas_with(real_hands, {5: corner}, size))
        return np.array([palm.region.x, palm.region.y]) - corner

    reference = centre((320, 240), (60, 40))
    for size, corner in (((240, 320), (30, 100)), ((320, 320), (0, 160)), ((317, 203), (157, 21))):
        np.testing.assert_allclose(centre(size, corner), reference, atol=6)


def test_nothing_is_found_where_nothing_is(detector):
    rng = np.random.default_rng(0)
    for image in (
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 200, np.uint8),
        rng.integers(0, 256, (480, 640, 3), dtype=np.uint8),
    ):
        assert detector.detect(image) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (7, 5), (192, 192), (1080, 1920)])
def test_images_of_any_size_are_looked_at(detector, shape):
    assert detector.detect(np.zeros((*shape, 3), np.uint8)) == []


def test_letterbox_keeps_proportions_and_centres():
    image = np.full((100, 200, 3), 255, np.uint8)
    square, scale, offset = letterbox(image, 192)
    assert square.shape == (192, 192, 3) and scale == pytest.approx(0.96)
    np.testing.assert_array_equal(offset, [0, 48])
    assert (square[48:144] == 255).all() and not square[:48].any() and not square[144:].any()


def test_overlapping_detections_are_averaged_by_score():
    box = np.array([[0, 0], [10, 10]], np.float32)
    points = np.stack([box, box + 1, box + 100]).astype(np.float32)
    merged = weighted_suppression(np.array([0.9, 0.6, 0.7], np.float32), points)
    assert [round(score, 2) for score, _ in merged] == [0.9, 0.7]
    np.testing.assert_allclose(merged[0][1], box + 0.4, atol=1e-5)
    np.testing.assert_allclose(merged[1][1], box + 100)


def test_a_missing_network_is_named(tmp_path):
    with pytest.raises(NetworkError, match=r"expected a network at .*none"):
        PalmDetector(tmp_path / "none.onnx")


def test_a_broken_network_is_named(tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(PALM_ASSET.read_bytes()[:5000])
    with pytest.raises(NetworkError, match="cannot read the network"):
        PalmDetector(path)


def test_another_network_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Identity", ["image"], ["boxes"])
    value = onnx.helper.make_tensor_value_info
    shape = [1, 3, 64, 64]
    graph = onnx.helper.make_graph([node], "other", [value("image", 1, shape)], [value("boxes", 1, shape)])
    path = tmp_path / "other.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path
    )
    with pytest.raises(NetworkError, match="is another network"):
        PalmDetector(path)


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1, np.nan])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match="between 0 and 1"):
        PalmDetector(threshold=threshold)


def test_a_small_hand_is_found_by_looking_at_a_part_of_the_image(detector, real_hands):
    """Of hands that are 19 pixels high for the network half are missed; windows make them 34 pixels high."""
    indices = np.random.default_rng(4).permutation(len(real_hands.names))[:60]
    width, height = 800, 450
    found = {"whole": 0, "windows": 0}
    for index in indices:
        image = canvas_with(real_hands, {index: (30, 250)}, (width, height))
        truth = true_region(real_hands.joints[index] + np.array([30, 250]))
        whole, left, _, right = search_windows(width, height)
        for name, views in (("whole", [whole]), ("windows", [whole, left, right])):
            palms = [palm for view in views for palm in detector.detect(image, view)]
            found[name] += any(palm.region.iou(truth) > 0.3 for palm in palms)
    assert found["windows"] > 0.85 * len(indices)
    assert found["windows"] > 1.2 * found["whole"]


def test_a_hand_that_fills_a_square_image_is_found_with_its_surroundings(detector, real_hands):
    indices = np.random.default_rng(4).permutation(len(real_hands.names))[:120]
    found = {"whole": 0, "windows": 0}
    for index in indices:
        image, truth = real_hands.image(index), true_region(real_hands.joints[index])
        whole, surroundings = search_windows(*image.shape[1::-1])
        for name, views in (("whole", [whole]), ("windows", [whole, surroundings])):
            palms = [palm for view in views for palm in detector.detect(image, view)]
            found[name] += any(palm.region.iou(truth) > 0.4 for palm in palms)
    assert found["windows"] > 0.95 * len(indices)
    assert found["windows"] > found["whole"]


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1920, 1080), (1, 1000)])
def test_windows_lie_in_the_image_and_cover_it_at_every_other_look(size):
    windows = search_windows(*size)
    assert set(windows[::2]) == {(0, 0, *size)}
    for left, top, right, bottom in windows:
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]


@pytest.mark.parametrize("window", [(-40, -30, 200, 210), (10, 10, 260, 260), (-60, 0, 190, 200)])
def test_beyond_the_image_all_is_black(detector, real_hands, window):
    left, top, right, bottom = window
    image = canvas_with(real_hands, {5: (20, 20)}, (240, 240))[:200, :190]
    framed = np.zeros((500, 500, 3), np.uint8)
    framed[100:300, 100:290] = image
    expected = detector.detect(framed[100 + top : 100 + bottom, 100 + left : 100 + right])
    assert expected
    for one, other in zip(expected, detector.detect(image, window), strict=True):
        np.testing.assert_allclose(one.points + np.array([left, top]), other.points, atol=1e-3)
        assert one.score == pytest.approx(other.score)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_region_turns_with_the_hand(detector, real_hands, turns):
    image = canvas_with(real_hands, {5: (40, 40)}, (240, 240))
    (before,), (after,) = (
        detector.detect(image),
        detector.detect(np.ascontiguousarray(np.rot90(image, turns))),
    )
    turned = after.region.angle - before.region.angle + turns * np.pi / 2  # rot90 turns anti-clockwise
    assert abs((turned + np.pi) % (2 * np.pi) - np.pi) < 0.25
    assert after.region.size == pytest.approx(before.region.size, rel=0.25)
