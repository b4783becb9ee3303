"""The pipeline while it runs: settings that change, orders from other threads, frames that make no sense."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2onet_ros.engines import WeightsBundle, create_engine
from h2onet_ros.perception.camera import Camera, CameraError
from h2onet_ros.perception.hand_size import hand_length
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.smoothing import HandPose, HandSmoother, SmoothingConfig
from h2onet_ros.perception.tracker import TrackerConfig
from h2onet_ros.perception.types import Frame, GivenRegion, Region

DEMO = Path(__file__).parents[2] / "h2onet_ros" / "assets" / "demo"
CAMERA = Camera(640, 480, np.array([[545.0, 0, 322.4], [0, 545, 236.8], [0, 0, 1]]))
RATE = 33_333_333


@pytest.fixture(scope="module")
def engine():
    return create_engine(WeightsBundle.load())


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """A stretch of the demo with both hands in full view."""
    capture = cv2.VideoCapture(str(DEMO / "demo.mp4"))
    images = [capture.read()[1] for _ in range(84)]
    return [
        Frame(np.ascontiguousarray(image[..., ::-1]), i * RATE, CAMERA)
        for i, image in enumerate(images)
        if i >= 64
    ]


def later(frame: Frame, by: int) -> Frame:
    return replace(frame, stamp=frame.stamp + by)


def test_hands_go_on_under_their_identities_when_settings_change(engine, frames):
    pipeline = HandPipeline(engine)
    before = [pipeline.process(f).hands for f in frames[:8]][-1]
    config = replace(
        pipeline.config,
        smoothing=SmoothingConfig(strength=3.0),
        tracker=TrackerConfig(min_presence=0.2),
        palm_threshold=0.6,
        max_hands=3,
    )
    pipeline.reconfigure(config)
    assert pipeline.config == config
    after = pipeline.process(frames[8]).hands
    assert {h.track_id: h.handedness for h in after} == {h.track_id: h.handedness for h in before}
    for hand, old in zip(after, before, strict=True):
        assert np.linalg.norm(hand.position - old.position) < 0.03


def test_another_size_counts_from_the_next_frame_on(engine, frames):
    off = SmoothingConfig(enabled=False)
    pipeline = HandPipeline(engine, PipelineConfig(smoothing=off))
    twin = HandPipeline(engine, PipelineConfig(smoothing=off))
    for frame in frames[:6]:
        pipeline.process(frame)
        twin.process(frame)
    pipeline.reconfigure(replace(pipeline.config, hand_scale=1.3))
    for hand, usual in zip(pipeline.process(frames[6]).hands, twin.process(frames[6]).hands, strict=True):
        np.testing.assert_allclose(hand.position, 1.3 * usual.position, rtol=1e-4)
        np.testing.assert_allclose(hand.vertices, 1.3 * usual.vertices, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(hand.reprojection_error, usual.reprojection_error, rtol=1e-3)
    pipeline.reconfigure(replace(pipeline.config, hand_length=0.21))
    for hand in pipeline.process(frames[7]).hands:
        assert hand_length(hand.joints) == pytest.approx(0.21, rel=1e-3)


def test_fewer_hands_are_followed_from_the_next_frame_on(engine, frames):
    pipeline = HandPipeline(engine)
    both = [pipeline.process(f).hands for f in frames[:8]][-1]
    assert len(both) == 2
    pipeline.reconfigure(replace(pipeline.config, max_hands=1))
    assert [h.track_id for h in pipeline.process(frames[8]).hands] == [both[0].track_id]


def test_threads_cannot_be_changed(engine):
    pipeline = HandPipeline(engine)
    with pytest.raises(ValueError, match="expected threads to stay 1, got 2"):
        pipeline.reconfigure(PipelineConfig(threads=2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_hands": 0},
        {"palm_threshold": 0.0},
        {"palm_threshold": 1.0},
        {"hand_scale": 0.0},
        {"hand_scale": float("nan")},
        {"hand_length": 18.0},
        {"image_alignment": 1.5},
        {"hand_length": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"PipelineConfig.{next(iter(wrong))}: expected"):
        PipelineConfig(**wrong)


def test_orders_may_come_from_other_threads(engine, frames):
    pipeline = HandPipeline(engine)
    stop = threading.Event()

    def give_orders() -> None:
        strength = 0.5
        while not stop.is_set():
            strength = 6.0 if strength < 1 else 0.5
            pipeline.reconfigure(replace(pipeline.config, smoothing=SmoothingConfig(strength=strength)))
            pipeline.reset()
            stop.wait(0.001)

    thread = threading.Thread(target=give_orders)
    thread.start()
    try:
        for frame in frames[:12]:
            for hand in pipeline.process(frame).hands:
                assert np.isfinite(hand.vertices).all()
    finally:
        stop.set()
        thread.join()


def test_a_closed_pipeline_leaves_no_thread(engine, frames):
    def threads() -> set[threading.Thread]:
        return {t for t in threading.enumerate() if t.name.startswith("perception")}

    before = threads()
    pipeline = HandPipeline(engine)
    for frame in frames[:4]:
        pipeline.process(frame)
    assert len(threads() - before) == 1
    pipeline.close()
    assert threads() <= before


def test_a_reset_forgets_all_hands_at_the_next_frame(engine, frames):
    pipeline = HandPipeline(engine)
    old = {h.track_id for f in frames[:4] for h in pipeline.process(f).hands}
    pipeline.reset()
    new = {h.track_id for h in pipeline.process(frames[4]).hands}
    assert new and not new & old


def test_smoothing_is_turned_off_and_on_and_made_stronger_without_a_jump():
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(30, 3)).astype(np.float32) * 0.05

    def pose() -> HandPose:
        noisy = shape + rng.normal(size=shape.shape).astype(np.float32) * 0.002
        position = np.array([0.1, 0, 0.5 * np.exp(rng.normal() * 0.01)], np.float32)
        return HandPose(position, np.eye(3, dtype=np.float32), noisy, noisy[:21])

    smoother = HandSmoother(SmoothingConfig())
    shown = [smoother(pose(), i * RATE) for i in range(30)]
    smoother.reconfigure(SmoothingConfig(strength=5.0))
    stronger = smoother(pose(), 30 * RATE)
    assert np.linalg.norm(stronger.position - shown[-1].position) < 0.004
    smoother.reconfigure(SmoothingConfig(enabled=False))
    raw = pose()
    assert smoother(raw, 31 * RATE) is raw
    smoother.reconfigure(SmoothingConfig())
    first = pose()
    np.testing.assert_allclose(smoother(first, 32 * RATE).position, first.position, rtol=1e-6)


def test_time_that_goes_back_is_told_and_nothing_old_is_mixed_in(engine, frames):
    pipeline = HandPipeline(engine)
    first = [pipeline.process(f) for f in frames[:5]]
    assert all(result.warnings == () for result in first)
    again = pipeline.process(frames[0])
    assert "time went back by 0.133 s" in again.warnings[0]
    fresh = HandPipeline(engine).process(frames[0])
    for hand, twin in zip(again.hands, fresh.hands, strict=True):
        np.testing.assert_allclose(hand.joints, twin.joints, atol=1e-5)


@pytest.mark.parametrize("stamp", [0, 10**18])
def test_a_clock_that_stands_still_costs_smoothing_but_no_hands(engine, frames, stamp):
    pipeline = HandPipeline(engine)
    results = [pipeline.process(replace(f, stamp=stamp)) for f in frames]
    assert len(results[-1].hands) == 2
    assert results[0].warnings == () and "the stamp repeats the last one" in results[1].warnings[0]
    assert {h.track_id for r in results[3:] for h in r.hands} == {h.track_id for h in results[3].hands}
    raw = HandPipeline(engine, PipelineConfig(smoothing=SmoothingConfig(enabled=False)))
    plain = [raw.process(replace(f, stamp=stamp)) for f in frames]
    for hand, twin in zip(results[-1].hands, plain[-1].hands, strict=True):
        np.testing.assert_allclose(hand.joints, twin.joints, atol=1e-5)


def test_a_leap_in_time_loses_the_past_but_not_the_hands(engine, frames):
    pipeline = HandPipeline(engine)
    before = [pipeline.process(f).hands for f in frames[:6]][-1]
    after = pipeline.process(later(frames[6], 3600 * 10**9))
    assert {h.track_id for h in after.hands} == {h.track_id for h in before}
    assert after.warnings == ()


def test_images_of_another_size_are_told(engine, frames):
    pipeline = HandPipeline(engine)
    pipeline.process(frames[0])
    half = cv2.resize(frames[1].rgb, (320, 240), interpolation=cv2.INTER_AREA)
    result = pipeline.process(Frame(half, frames[1].stamp, CAMERA.scaled(320, 240)))
    assert result.warnings == ("images changed from 640 x 480 to 320 x 240 pixels: all hands are forgotten",)


@pytest.mark.parametrize(("width", "height"), [(7680, 4320), (1, 1), (1, 4000), (65, 3)])
def test_images_of_any_size_pass(engine, frames, width, height):
    pipeline = HandPipeline(engine)
    rgb = cv2.resize(frames[0].rgb, (width, height))
    hands = [
        pipeline.process(Frame(rgb, i * RATE, Camera.assumed(width, height))).hands
        for i in range(2 if width > 1000 else 6)
    ]
    assert all(np.isfinite(h.vertices).all() for found in hands for h in found)
    if width == 7680:
        truth = {h.handedness for h in HandPipeline(engine).process(frames[0]).hands}
        assert {h.handedness for h in hands[-1]} == truth
        assert all(h.image_points.max() > 1000 for h in hands[-1])


def test_intrinsics_that_are_not_numbers_never_reach_the_pipeline(frames):
    with pytest.raises(CameraError, match="finite 3 x 3"):
        Camera(640, 480, np.full((3, 3), np.nan))


def test_depth_of_no_use_is_told_and_hands_are_placed_without(engine, frames):
    empty = np.full((480, 640), np.nan, np.float32)
    with_depth, without = HandPipeline(engine), HandPipeline(engine)
    for frame in frames[:5]:
        blind = with_depth.process(replace(frame, depth=empty))
        plain = without.process(frame)
    assert blind.warnings and "depth of no use" in blind.warnings[0]
    for hand, twin in zip(blind.hands, plain.hands, strict=True):
        assert np.isnan(hand.depth_scale)
        np.testing.assert_allclose(hand.joints, twin.joints, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.zeros((480, 640), np.uint16), "expected float32 metres"),
        (np.zeros((480, 640, 1), np.float32), "expected an array of shape"),
        (np.zeros((480, 480), np.float32), "register the depth image"),
        (np.zeros((0, 0), np.float32), "register the depth image"),
    ],
)
def test_depth_that_does_not_belong_to_the_image_is_refused(frames, depth, message):
    with pytest.raises(ValueError, match=message):
        replace(frames[0], depth=depth)


@given(
    st.lists(
        st.tuples(
            st.floats(-1e4, 1e4),
            st.floats(-1e4, 1e4),
            st.floats(1e-3, 1e5),
            st.floats(-10, 10),
            st.sampled_from(["left", "right", None]),
            st.booleans(),
        ),
        max_size=4,
    )
)
@settings(max_examples=12, deadline=None)
def test_regions_given_anywhere_do_no_harm(engine, frames, boxes):
    pipeline = HandPipeline(engine)
    for frame in frames[:2]:
        regions = [
            GivenRegion(Region(x, y, size, angle), side, 1.0, upright)
            for x, y, size, angle, side, upright in boxes
        ]
        for hand in pipeline.process(frame, regions).hands:
            assert np.isfinite(hand.vertices).all() and hand.detection_score >= 0.3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"handedness": "both"}, "left"), ({"score": 1.5}, "0 to 1"), ({"score": float("nan")}, "0 to 1")],
)
def test_given_regions_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        GivenRegion(Region(1, 1, 10), **wrong)
