"""The crop geometry against the reference's own numbers, and its promises to the tracker."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from h2onet_ros.perception.crop import (
    crop_affine,
    crop_image,
    invert,
    region_from_points,
    transform_points,
    warp,
)
from h2onet_ros.perception.types import Region

CASE = Path(__file__).parents[3] / "shared" / "parity" / "crop_case.npz"


@pytest.mark.skipif(not CASE.is_file(), reason=f"the parity cases are not at {CASE}")
def test_equals_the_reference():
    with np.load(CASE) as case:
        image = case["image"].astype(np.float32)
        height, width = image.shape[:2]
        for i, points in enumerate(case["joints2d"]):
            region = region_from_points(points, image_size=(width, height))
            x, y, side, _ = case["square_box_xywh"][i]
            np.testing.assert_allclose(
                [region.x, region.y, region.size], [x + side / 2, y + side / 2, side], atol=1e-3
            )
            scale, degrees, flip = case["scale_rotdeg_flip"][i]
            scaled = Region(region.x, region.y, region.size * float(scale))
            affine = crop_affine(scaled, 128, np.deg2rad(degrees), mirror=bool(flip))
            # The reference mirrors the image first, so its map starts from the mirrored image.
            mirrored = np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]]) if flip else np.eye(3)
            np.testing.assert_allclose(case["affine"][i] @ mirrored, affine, atol=2e-4)
            np.testing.assert_allclose(warp(image, affine, 128), case["patch"][i], atol=0.07)


def test_points_go_there_and_back():
    points = np.random.default_rng(0).uniform(0, 400, (21, 2))
    for mirror in (False, True):
        affine = crop_affine(region_from_points(points), 128, 0.7, mirror)
        np.testing.assert_allclose(transform_points(invert(affine), transform_points(affine, points)), points)
    inside = transform_points(crop_affine(region_from_points(points), 128), points)
    np.testing.assert_allclose(
        [inside.min(), inside.max()], [64 - 64 / 1.5, 64 + 64 / 1.5], atol=1e-9
    )  # 1.5 times the longer side, centred


def test_a_large_region_is_averaged_not_skipped():
    checks = (np.indices((900, 900)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.repeat(checks[..., None], 3, 2)
    crop = crop_image(image, Region(450, 450, 600), 64)
    assert abs(crop.astype(float) - 127.5).max() < 4
    ramp = np.repeat(np.arange(900, dtype=np.float32)[None, :, None], 900, 0).repeat(3, 2)
    region = Region(437.3, 450, 700)
    crop = crop_image(ramp, region, 128)
    x = transform_points(invert(crop_affine(region, 128)), np.stack([np.arange(128), np.full(128, 64.0)], 1))
    inside = (x[:, 0] > 95) & (x[:, 0] < 780)
    np.testing.assert_allclose(crop[64, inside, 0], x[inside, 0], atol=0.05)


def test_crops_beyond_the_image_are_black():
    image = np.full((50, 60, 3), 200, np.uint8)
    assert not crop_image(image, Region(-4000, -4000, 900), 64).any()
    crop = crop_image(image, Region(0, 25, 40), 64)
    assert not crop[:, :30].any()
    assert (crop[16:48, 34:] == 200).all()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 2)), "finite points"),
        (np.full((21, 2), np.nan), "finite points"),
        (np.full((21, 2), 5.0), "one place"),
    ],
)
def test_bad_points_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        region_from_points(points)


def test_a_hand_outside_the_image_is_refused():
    with pytest.raises(ValueError, match="outside the image"):
        region_from_points(np.array([[500.0, 500], [540, 560]]), image_size=(100, 100))


def test_mirrored_crop_is_the_crop_of_the_mirrored_image():
    image = np.random.default_rng(1).integers(0, 255, (80, 90, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (5, 5), 0)
    region = Region(40, 41, 60)
    mirrored = crop_image(np.ascontiguousarray(image[:, ::-1]), Region(89 - 40, 41, 60), 64, rotation=0.3)
    crop = crop_image(image, region, 64, rotation=0.3, mirror=True)
    assert abs(crop.astype(int) - mirrored).max() <= 1
