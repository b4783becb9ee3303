import cv2
import numpy as np
import pytest

from h2onet_ros.perception.smoothing import HandPose, HandSmoother, SmoothingConfig

RATE = 30
SHAPE = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * 0.05


def pose(position, turn=(0.0, 0.0, 0.0), noise: np.random.Generator | None = None) -> HandPose:
    """A hand of fixed shape; `noise` adds what a network's jitter looks like."""
    position, turn, shape = np.array(position, float), np.array(turn, float), SHAPE.copy()
    if noise is not None:
        depth = np.exp(noise.normal() * 0.02)
        position = (position + np.append(noise.normal(size=2) * 0.001, 0)) * depth
        turn = turn + noise.normal(size=3) * 0.02
        shape = shape + noise.normal(size=shape.shape) * 0.002
    rotation = cv2.Rodrigues(turn)[0].astype(np.float32)
    oriented = shape @ rotation.T
    return HandPose(position.astype(np.float32), rotation, oriented, oriented[:21])


def run(poses: list[HandPose], config: SmoothingConfig | None = None) -> list[HandPose]:
    smoother = HandSmoother(config or SmoothingConfig())
    return [smoother(p, round(i / RATE * 1e9)) for i, p in enumerate(poses)]


def test_a_resting_hand_jitters_less():
    noise = np.random.default_rng(0)
    raw = [pose((0.1, 0, 0.5), noise=noise) for _ in range(90)]
    calm = run(raw)

    def jitter(poses, name):
        values = np.stack([getattr(p, name) for p in poses[30:]])
        return np.abs(np.diff(values, axis=0)).mean()

    for name, least in (("position", 3.0), ("rotation", 2.0), ("vertices", 2.0)):
        assert jitter(raw, name) > least * jitter(calm, name)
    np.testing.assert_allclose(np.mean([p.position for p in calm], axis=0), [0.1, 0, 0.5], atol=0.01)


def test_a_moving_hand_is_followed_with_little_lag():
    speed = 0.6  # metres per second across, 0.3 in depth, 2 rad/s
    path = [pose((-0.3 + speed * i / RATE, 0, 0.5 + 0.3 * i / RATE), (0, 2 * i / RATE, 0)) for i in range(40)]
    calm = run(path)
    lag = (path[-1].position[0] / path[-1].position[2] - calm[-1].position[0] / calm[-1].position[2]) / (
        (path[-1].position[0] / path[-1].position[2] - path[-2].position[0] / path[-2].position[2]) * RATE
    )
    assert lag < 0.03
    assert (path[-1].position[2] - calm[-1].position[2]) / 0.3 < 0.12
    angle = np.linalg.norm(cv2.Rodrigues(path[-1].rotation @ calm[-1].rotation.T)[0])
    assert angle / 2 < 0.04


def test_a_hand_that_does_not_move_is_left_as_it_is():
    still = [pose((0.1, -0.1, 0.4), (0.3, 2.0, -1.0)) for _ in range(10)]
    for smooth in run(still):
        for name in ("position", "rotation", "vertices", "joints"):
            np.testing.assert_allclose(getattr(smooth, name), getattr(still[0], name), atol=1e-6)


def test_results_stay_a_rigid_turn_of_a_shape_whose_joints_are_its_own():
    noise = np.random.default_rng(1)
    for smooth in run([pose((0, 0, 0.5), (0, 3.1, 0), noise) for _ in range(40)]):
        np.testing.assert_allclose(smooth.rotation @ smooth.rotation.T, np.eye(3), atol=1e-5)
        assert np.linalg.det(smooth.rotation) > 0
        np.testing.assert_allclose(smooth.vertices[:21], smooth.joints, atol=1e-6)


def test_turning_through_half_a_turn_takes_the_short_way():
    turns = [pose((0, 0, 0.5), (0, np.pi - 0.2 + 0.02 * i, 0)) for i in range(20)]
    for smooth, raw in zip(run(turns), turns, strict=True):
        assert np.linalg.norm(cv2.Rodrigues(smooth.rotation @ raw.rotation.T)[0]) < 0.1


def test_off_changes_nothing():
    noise = np.random.default_rng(2)
    raw = [pose((0, 0, 0.5), noise=noise) for _ in range(5)]
    assert run(raw, SmoothingConfig(enabled=False)) == raw


def test_more_strength_is_calmer():
    def travel(strength):
        noise = np.random.default_rng(3)
        calm = run([pose((0, 0, 0.5), noise=noise) for _ in range(60)], SmoothingConfig(strength=strength))
        return np.abs(np.diff([p.position[2] for p in calm])).sum()

    assert travel(0.3) > travel(1) > travel(3)


@pytest.mark.parametrize("jump", [2.0, -1.0, 0.0])
def test_after_a_gap_or_a_step_back_in_time_nothing_old_is_mixed_in(jump):
    smoother = HandSmoother(SmoothingConfig())
    for i in range(10):
        smoother(pose((0, 0, 0.5)), i * 33_000_000)
    moved = pose((0.2, 0, 1.0), (1, 0, 0))
    result = smoother(moved, 9 * 33_000_000 + round(jump * 1e9))
    np.testing.assert_allclose(result.position, moved.position)
    np.testing.assert_allclose(result.vertices, moved.vertices, atol=1e-6)


@pytest.mark.parametrize("strength", [0, -1, np.nan, np.inf])
def test_impossible_strengths_are_refused(strength):
    with pytest.raises(ValueError, match="positive number"):
        SmoothingConfig(strength=strength)
