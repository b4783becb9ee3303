import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2onet_ros.engines.base import FrameFeatures
from h2onet_ros.perception.memory import TemporalMemory

SECOND = 10**9


def features(tag: float) -> FrameFeatures:
    """Features of one hand that can be told apart."""
    shapes = (21, 2), (2, 6), (778, 32), (1024,), (778, 3)
    return FrameFeatures(*(np.full((1, *shape), tag, np.float32) for shape in shapes))


def ages(memory: TemporalMemory, now: float) -> tuple[float, float]:
    """Seconds back to the short-term and the long-term past."""
    return tuple(round(now - float(past.orientation[0, 0]), 4) for past in memory.past())


def run(rate: float, duration: float) -> tuple[TemporalMemory, float]:
    memory = TemporalMemory((0.17, 0.33))
    for frame in range(round(rate * duration) + 1):
        memory.remember(round(frame / rate * SECOND), features(frame / rate))
    return memory, round(rate * duration) / rate


@pytest.mark.parametrize("rate", [15, 25, 30, 60, 90, 240])
def test_the_past_is_chosen_by_time_whatever_the_frame_rate(rate):
    memory, now = run(rate, 2.0)
    # At high rates not every frame is kept, so the choice is within one spacing.
    np.testing.assert_allclose(ages(memory, now), (0.17, 0.33), atol=0.5 / min(rate, 30) + 1e-4)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0, (0, 0)), (1 / 30, (1 / 30, 1 / 30)), (4 / 30, (2 / 30, 4 / 30)), (8 / 30, (4 / 30, 8 / 30))],
)
def test_a_short_history_gives_its_oldest_frame_and_one_half_way(duration, expected):
    memory, now = run(30, duration)
    np.testing.assert_allclose(ages(memory, now), expected, atol=1e-3 if duration != 1 / 30 else 0.034)


def test_a_slow_camera_does_not_look_back_too_far():
    memory, now = run(1, 5)
    assert ages(memory, now) == (0, 0)
    memory, now = run(5, 2)
    assert ages(memory, now) == (0.2, 0.4)


def test_after_a_gap_the_past_is_not_older_than_it_should_be():
    memory, now = run(30, 1.0)
    memory.remember(round((now + 2) * SECOND), features(now + 2))
    assert ages(memory, now + 2) == (0, 0)
    assert len(memory) == 1


def test_a_second_look_at_a_frame_replaces_the_first():
    memory = TemporalMemory((0.17, 0.33))
    memory.remember(5, features(1))
    memory.remember(5, features(2))
    assert len(memory) == 1 and memory.past()[0].orientation[0, 0] == 2


def test_time_going_backwards_is_an_error():
    memory = TemporalMemory((0.17, 0.33))
    memory.remember(5, features(1))
    with pytest.raises(ValueError, match="from 5 back to 4"):
        memory.remember(4, features(1))


@pytest.mark.parametrize("rate", [30, 1000])
def test_memory_is_bounded(rate):
    memory, _ = run(rate, 3.0)
    assert len(memory) <= 40
    assert all(past.nbytes < 110_000 for past in memory.past())


@given(st.lists(st.floats(0.001, 0.4), min_size=1, max_size=80))
def test_the_past_lies_in_the_past_whatever_the_rhythm(gaps):
    memory, now = TemporalMemory((0.17, 0.33)), 0.0
    for gap in gaps:
        now += gap
        memory.remember(round(now * SECOND), features(now))
    short, long = (now - float(past.orientation[0, 0]) for past in memory.past())
    assert -1e-4 <= short <= long + 1e-4 <= 0.33 * 1.5 + 1e-3


@pytest.mark.parametrize("offsets", [(0, 0.3), (0.4, 0.3), (-1, 1)])
def test_offsets_must_lead_into_the_past(offsets):
    with pytest.raises(ValueError, match="0 < short <= long"):
        TemporalMemory(offsets)
