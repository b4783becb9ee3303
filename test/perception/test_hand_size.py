"""The size of hands: measured, learnt from depth, calibrated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from h2onet_ros.hand.model import open_hand
from h2onet_ros.perception.hand_size import CalibrationError, LearntLength, SizeCalibration, hand_length
from h2onet_ros.perception.types import FrameResult, Hand, Region

HAND = Hand(
    track_id=1,
    handedness="right",
    handedness_score=1.0,
    detection_score=1.0,
    region=Region(100, 100, 100),
    position=np.zeros(3, np.float32),
    rotation=np.eye(3, dtype=np.float32),
    joints=np.zeros((21, 3), np.float32),
    vertices=np.zeros((5, 3), np.float32),
    occlusion=np.zeros(6, np.float32),
    image_points=np.zeros((21, 2), np.float32),
    reprojection_error=0.0,
)


def result(*hands: dict[str, float]) -> FrameResult:
    return FrameResult(0, "camera", tuple(replace(HAND, **hand) for hand in hands), {})


def test_the_length_does_not_depend_on_the_pose():
    model = open_hand()
    angles = np.zeros((2, 16, 3))
    angles[1, 1:, 0] = 1.0
    flat, fist = (model.pose(model.pose_from_angles(a), np.zeros(model.shape_count)).joints for a in angles)
    assert hand_length(flat) == pytest.approx(hand_length(fist), rel=0.03)
    assert 0.16 < hand_length(flat) < 0.21
    assert hand_length(flat) == pytest.approx(np.linalg.norm(flat[12] - flat[0]), rel=0.03)


def test_a_ruler_gives_the_factor_to_the_networks_hands():
    calibration = SizeCalibration(frames=10, length=0.162)
    rng = np.random.default_rng(0)
    while not calibration.is_done:
        calibration.add(result({"raw_length": 0.18 * float(np.exp(rng.normal() * 0.03))}))
    estimate = calibration.estimate()
    assert estimate.scale == pytest.approx(0.9, rel=0.03)
    assert estimate.frames == 10 and 0 < estimate.spread < 0.06


def test_depth_gives_the_factor_without_a_ruler_and_wild_frames_do_not_count():
    calibration = SizeCalibration(frames=20)
    rng = np.random.default_rng(1)
    for i in range(20):
        scale = 3.0 if i % 7 == 0 else 1.15 * float(np.exp(rng.normal() * 0.03))
        calibration.add(result({"raw_length": 0.18, "depth_scale": scale}))
        assert calibration.progress == pytest.approx((i + 1) / 20)
    assert calibration.estimate().scale == pytest.approx(1.15, rel=0.03)


def test_both_hands_of_a_person_count():
    calibration = SizeCalibration(frames=4, length=0.2)
    calibration.add(result({"raw_length": 0.2}, {"raw_length": 0.2}))
    assert calibration.progress == 0.5 and not calibration.is_done


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "got 0: hold a hand"),
        ([{"raw_length": 0.18}] * 10, "got 0: none with usable depth"),
        ([{"raw_length": 0.18, "depth_scale": 1.0}] * 9, "expected 10 sightings of a hand, got 9"),
        ([{"depth_scale": s} for s in (0.6, 1.4) * 5], "agree within 15 %, got"),
        ([{"depth_scale": 0.2}] * 10, r"factor of 0.3 to 3.0 on the usual hand, got 0.20"),
    ],
)
def test_no_size_is_invented(frames, message):
    calibration = SizeCalibration(frames=10)
    for frame in frames:
        calibration.add(result(frame))
    with pytest.raises(CalibrationError, match=message):
        calibration.estimate()


@pytest.mark.parametrize("length", [0.0, 18.0, -0.1, float("nan")])
def test_lengths_that_no_hand_has_are_refused(length):
    with pytest.raises(CalibrationError, match="give metres"):
        SizeCalibration(length=length)


def test_depth_teaches_a_length_little_by_little_and_for_good():
    learnt = LearntLength()
    assert learnt.expected(0.18, 1.1) == pytest.approx(0.198) and not learnt.is_known
    lengths = []
    for i in range(100):
        learnt.add(2.0 if i % 10 == 5 else 0.16)
        lengths.append(learnt.expected(0.18, 1.0))
    assert learnt.is_known
    assert 0.165 < lengths[0] < 0.18 and lengths[-1] == pytest.approx(0.16, rel=0.02)
    # A network that now thinks otherwise changes little.
    assert learnt.expected(0.2, 1.0) == pytest.approx(0.16, rel=0.03)
