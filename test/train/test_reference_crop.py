"""The published augmentation against the reference's own numbers."""

from pathlib import Path

import numpy as np
import pytest

from train.datasets.base import Frame
from train.datasets.regions import joints_region, mirrored
from train.reference_crop import ReferenceAugmentation, ReferenceJitter

CASE = Path(__file__).parents[3] / "shared" / "parity" / "crop_case.npz"


def frame_of(image: np.ndarray, points: np.ndarray, left: bool) -> Frame:
    """A frame as the data sets make it: a left hand mirrored, its square found before that."""
    height, width = image.shape[:2]
    region = joints_region(points.astype(np.float64), (width, height))
    assert region is not None
    if left:
        image, region = np.ascontiguousarray(image[:, ::-1]), mirrored(region, width)
        points = points * [-1, 1] + [width - 1, 0]
    eye = np.eye(3)
    return Frame(image, points, eye, np.zeros((4, 3)), eye, np.zeros(6), region=region, mirrored=left)


@pytest.mark.skipif(not CASE.is_file(), reason=f"the parity cases are not at {CASE.parent.name} beside here")
def test_crops_equal_the_references():
    with np.load(CASE) as case:
        for i, points in enumerate(case["joints2d"]):
            scale, degrees, flip = (float(v) for v in case["scale_rotdeg_flip"][i])
            frame = frame_of(case["image"], points, bool(flip))
            augmentation = ReferenceAugmentation(scale, float(np.deg2rad(degrees)))
            np.testing.assert_allclose(augmentation.affine(frame), case["affine"][i], atol=2e-4)
            np.testing.assert_allclose(augmentation.patch(frame), case["patch"][i], atol=0.07)
            image, uv, _ = augmentation.crop(frame)
            assert np.abs(image - case["patch"][i].astype(np.float32)).max() <= 0.58
            expected = np.c_[frame.points, np.ones(21)] @ case["affine"][i].T.astype(np.float64) / 128
            np.testing.assert_allclose(uv, expected, atol=1e-4)


def test_points_and_rotation_turn_together():
    """Joints turned by the label project where the crop shows them, for a camera that looks at the hand."""
    rng = np.random.default_rng(0)
    joints = rng.normal(0, 0.03, (21, 3))
    camera = np.array([[5000.0, 0, 320], [0, 5000, 240], [0, 0, 1]])
    flat = (joints + np.array([0, 0, 10])) @ camera.T
    frame = Frame(
        np.zeros((480, 640, 3), np.uint8),
        flat[:, :2] / flat[:, 2:],
        camera,
        joints,
        np.eye(3),
        np.zeros(6),
    )
    for rotation in (0.7, -1.2):
        _, uv, turned = ReferenceAugmentation(1.1, rotation).crop(frame)
        seen = (joints @ turned.T)[:, :2]
        seen, uv = seen - seen.mean(0), uv - uv.mean(0)
        scale = (seen * uv).sum() / (seen * seen).sum()
        assert scale > 0
        np.testing.assert_allclose(seen * scale, uv, atol=0.01)


def test_randomness_is_the_published_one():
    rng = np.random.default_rng(0)
    drawn = [ReferenceAugmentation.draw(ReferenceJitter(), rng) for _ in range(4000)]
    scale, rotation = (np.array([getattr(a, name) for a in drawn]) for name in ("scale", "rotation"))
    colour = np.stack([a.colour for a in drawn])
    assert scale.min() == 0.75 and scale.max() == 1.25
    # Beyond one standard deviation lies 31.7 % of a normal distribution.
    assert abs(np.isin(scale, (0.75, 1.25)).mean() - 0.317) < 0.03
    assert abs((rotation == 0).mean() - 0.4) < 0.03
    np.testing.assert_allclose(np.abs(rotation).max(), np.deg2rad(60))
    assert 0.8 <= colour.min() < 0.81 and 1.19 < colour.max() <= 1.2
    assert np.abs(np.corrcoef(colour.T) - np.eye(3)).max() < 0.06


def test_colours_are_scaled_and_clipped():
    frame = frame_of(
        np.full((480, 640, 3), 220, np.uint8), np.random.default_rng(1).uniform(200, 300, (21, 2)), False
    )
    image = ReferenceAugmentation(colour=np.array([0.8, 1.0, 1.2])).crop(frame)[0]
    np.testing.assert_array_equal(image[64, 64], [176, 220, 255])
