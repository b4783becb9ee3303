from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from h2onet_ros.perception.crop import crop_image, to_network, upright_region
from h2onet_ros.perception.hand_check import INPUT_SIZE, HandCheck, RegionCheck
from h2onet_ros.perception.network import NetworkError
from h2onet_ros.perception.palm import PALM_ASSET
from h2onet_ros.perception.types import Region


@pytest.fixture(scope="module")
def network() -> HandCheck:
    return HandCheck()


@pytest.fixture(scope="module")
def looks(network, real_hands) -> dict[str, np.ndarray]:
    """Answers (presence, right) for 60 photographs: the hand, its mirror image, beside it, a corner of it."""
    crops: dict[str, list[np.ndarray]] = {"hand": [], "mirrored": [], "beside": [], "empty": []}
    chosen = np.random.default_rng(0).permutation(len(real_hands.names))[:60]
    for index in chosen:
        image, joints = real_hands.image(index), real_hands.joints[index]
        region = upright_region(joints)
        beside = Region(region.x + 0.8 * region.size, region.y, region.size, region.angle)
        crops["hand"].append(crop_image(image, region, INPUT_SIZE))
        crops["mirrored"].append(crop_image(image, region, INPUT_SIZE, mirror=True))
        crops["beside"].append(crop_image(image, beside, INPUT_SIZE))
        crops["empty"].append(crop_image(image, Region(12, 12, 24), INPUT_SIZE))
    answers = {name: np.stack(network(to_network(pictures)), 1) for name, pictures in crops.items()}
    answers["label"] = real_hands.right_score[chosen] > 0.5
    return answers


def test_hands_are_told_from_what_is_beside_them(looks):
    assert (looks["hand"][:, 0] > 0.5).mean() > 0.95
    assert (looks["beside"][:, 0] > 0.5).mean() < 0.05
    assert (looks["empty"][:, 0] > 0.5).mean() < 0.05


def test_sides_are_told_and_change_in_the_mirror(looks):
    assert ((looks["hand"][:, 1] > 0.5) == looks["label"]).mean() > 0.9
    assert ((looks["mirrored"][:, 1] > 0.5) != looks["label"]).mean() > 0.85


def test_both_ways_the_mirror_image_is_told_the_opposite(network, real_hands):
    check = RegionCheck(network, ThreadPoolExecutor(1))
    right = []
    for index in np.random.default_rng(1).permutation(len(real_hands.names))[:80]:
        image, joints = real_hands.image(index), real_hands.joints[index]
        region = upright_region(joints)
        (_, once), (_, both) = *check.now(image, [region]), *check.now(image, [region], both_ways=True)
        across = joints * [-1, 1] + [image.shape[1] - 1, 0]
        flipped = np.ascontiguousarray(image[:, ::-1])
        ((_, opposite),) = check.now(flipped, [upright_region(across)], both_ways=True)
        assert both + opposite == pytest.approx(1, abs=0.15)
        label = real_hands.right_score[index] > 0.5
        right.append(((once > 0.5) == label, (both > 0.5) == label))
    once, both = np.mean(right, axis=0)
    assert both >= once and both > 0.93


def test_the_background_says_the_same_as_the_foreground(network, real_hands):
    check = RegionCheck(network, ThreadPoolExecutor(1))
    image = real_hands.image(5)
    regions = {7: upright_region(real_hands.joints[5]), 3: Region(20, 20, 30)}
    assert check.collect() == {}
    check.prepare(image, regions)
    assert check.collect() == dict(zip(regions, check.now(image, [*regions.values()]), strict=True))
    assert check.collect() == {}
    check.prepare(image, regions)
    check.reset()
    assert check.collect() == {}
    assert check.now(image, []) == []


def test_crops_of_another_size_are_refused(network):
    with pytest.raises(ValueError, match=r"\(None, 3, 224, 224\), got \(1, 3, 64, 64\)"):
        network(np.zeros((1, 3, 64, 64), np.float32))


def test_another_network_is_refused():
    with pytest.raises(NetworkError, match="is another network"):
        HandCheck(PALM_ASSET)
