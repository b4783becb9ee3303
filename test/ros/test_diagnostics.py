"""Levels of the node's diagnostics, rates, and faults that are told of once."""

from __future__ import annotations

import math

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from h2onet_ros.ros.diagnostics import Health, judge
from h2onet_ros.ros.faults import MOST_CAUSES, FaultLog
from h2onet_ros.ros.statistics import NodeStatistics, Recent, Totals

GOOD = {
    "image_rate": 30.0,
    "processed_rate": 30.0,
    "arrived": 150,
    "skipped": 0,
    "dropped": 0,
    "delay_median": 0.01,
    "delay_p95": 0.02,
    "latency_median": 0.01,
    "processing_median": 0.01,
}


def level(recent=(), **changes) -> tuple[bytes, str]:
    fields = {"state": "active", "is_wanted": True, "camera_age": 0.03, "totals": Totals()}
    return judge(Health(recent=Recent(**(GOOD | dict(recent))), **(fields | changes)))


@pytest.mark.parametrize(
    ("recent", "changes", "expected", "words"),
    [
        ({}, {}, DiagnosticStatus.OK, "working"),
        ({}, {"state": "inactive", "camera_age": 99.0}, DiagnosticStatus.OK, "inactive"),
        ({}, {"is_wanted": False, "camera_age": 99.0}, DiagnosticStatus.OK, "nobody has subscribed"),
        ({}, {"camera_age": 1.5}, DiagnosticStatus.WARN, "no image for 1.5 s"),
        ({}, {"camera_age": 6.0}, DiagnosticStatus.ERROR, "no image for 6.0 s"),
        ({"dropped": 2}, {"latest_fault": "image: x"}, DiagnosticStatus.WARN, "2 unusable images"),
        ({"dropped": 2, "processed_rate": 0.0}, {}, DiagnosticStatus.ERROR, "2 unusable images"),
        ({"delay_p95": 0.2}, {}, DiagnosticStatus.WARN, "0.20 s after their image"),
        ({"delay_p95": 0.6}, {}, DiagnosticStatus.ERROR, "0.60 s after their image"),
        ({"delay_p95": math.nan}, {}, DiagnosticStatus.OK, "working"),
        ({"skipped": 15}, {}, DiagnosticStatus.OK, "working"),
        ({"skipped": 16}, {}, DiagnosticStatus.WARN, "16 images skipped"),
        ({}, {"conditions": ("not calibrated",)}, DiagnosticStatus.WARN, "not calibrated"),
    ],
)
def test_levels_follow_the_documented_thresholds(recent, changes, expected, words):
    found, message = level(recent, **changes)
    assert found == expected and words in message


def test_the_worst_counts_and_all_are_told():
    found, message = level({"delay_p95": 0.2}, camera_age=9.0, conditions=("not calibrated",))
    assert found == DiagnosticStatus.ERROR
    assert all(words in message for words in ("no image", "after their image", "not calibrated"))


def test_rates_and_delays_are_those_of_the_last_seconds():
    now = [0.0]
    statistics = NodeStatistics(clock=lambda: now[0])
    for _ in range(300):
        now[0] += 0.1
        statistics.arrived()
        statistics.processed(0.02, 1.0, 0.01, hands=2, had_depth=False)
    recent = statistics.recent()
    assert recent.image_rate == pytest.approx(10, rel=0.05)
    assert recent.processed_rate == pytest.approx(10, rel=0.05)
    assert recent.delay_p95 == pytest.approx(0.02) and recent.latency_median == pytest.approx(1.0)
    assert statistics.totals.processed == 300
    now[0] += 60
    silent = statistics.recent()
    assert silent.processed_rate == 0 and math.isnan(silent.delay_p95)
    assert statistics.camera_age() == pytest.approx(60)


class TestFaultLog:
    def test_a_cause_is_told_of_once_and_counted_always(self):
        told, relieved = [], []
        faults = FaultLog(told.append, relieved.append)
        for size in range(50):
            faults.report("image", f"expected 10 bytes, got {size} of 'jpeg{size}'")
        faults.report("image", "expected pixels")
        assert len(told) == 2 and faults.counts() == {"image": 51}
        assert faults.latest == "image: expected pixels"

    def test_the_first_good_image_after_a_new_cause_is_told_of(self):
        told, relieved = [], []
        faults = FaultLog(told.append, relieved.append)
        faults.good()
        faults.report("note", "nothing was lost", drops_image=False)
        faults.good()
        assert relieved == []
        for _ in range(3):
            faults.report("image", "expected pixels")
            faults.good()
        assert len(relieved) == 1

    def test_no_input_can_fill_the_log(self):
        told: list[str] = []
        faults = FaultLog(told.append, told.append)
        for number in range(10 * MOST_CAUSES):
            faults.report("image", "word " * number)
        assert len(told) == MOST_CAUSES and faults.total == 10 * MOST_CAUSES
