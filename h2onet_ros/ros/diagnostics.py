"""The node's health as `diagnostic_msgs`: a level with its reasons, and figures. No publisher in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from h2onet_ros.ros.statistics import Recent, Totals

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

CAMERA_AGE_WARN_S, CAMERA_AGE_ERROR_S = 1.0, 5.0
DELAY_WARN_S, DELAY_ERROR_S = 0.1, 0.5
SKIPPED_WARN = 0.1
"""Part of the images that came."""


@dataclass(frozen=True)
class Health:
    """All that the level depends on, and the figures.

    Attributes:
        state: of the life cycle.
        is_wanted: whether anybody has subscribed to an output.
        camera_age: seconds since the last image.
        recent, totals: see `statistics`.
        faults: how many of each kind since the start; `latest_fault` in words.
        conditions: sentences on what is wrong for longer: QoS, calibration, several cameras.
        facts: further figures, by name.
    """

    state: str
    is_wanted: bool
    camera_age: float
    recent: Recent
    totals: Totals
    faults: Mapping[str, int] = field(default_factory=dict)
    latest_fault: str = ""
    conditions: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def judge(health: Health) -> tuple[bytes, str]:
    """Level and message: the worst that is wrong, or what the node is doing."""
    if health.state != "active":
        return OK, health.state
    if not health.is_wanted:
        return OK, "idle: nobody has subscribed"
    found: list[tuple[bytes, str]] = [(WARN, condition) for condition in health.conditions]
    recent, age = health.recent, health.camera_age
    if age > CAMERA_AGE_WARN_S:
        found.append((ERROR if age > CAMERA_AGE_ERROR_S else WARN, f"no image for {age:.1f} s"))
    if recent.dropped:
        level = WARN if recent.processed_rate else ERROR
        found.append((level, f"{recent.dropped} unusable images lately, the last one: {health.latest_fault}"))
    if recent.delay_p95 > DELAY_WARN_S:
        level = ERROR if recent.delay_p95 > DELAY_ERROR_S else WARN
        found.append((level, f"hands come {recent.delay_p95:.2f} s after their image"))
    if recent.skipped > SKIPPED_WARN * max(recent.arrived, 1):
        found.append((WARN, f"{recent.skipped} images skipped lately: the processor is too slow or busy"))
    if not found:
        return OK, "working"
    return max(level for level, _ in found), "; ".join(text for _, text in found)


def status(health: Health, name: str, hardware_id: str) -> DiagnosticStatus:
    """The message; `name` is the node's, `hardware_id` the camera's frame."""
    level, message = judge(health)
    recent, totals = health.recent, health.totals
    values = {
        "state": health.state,
        "subscribed to": str(health.is_wanted),
        **health.facts,
        "image rate (1/s)": f"{recent.image_rate:.1f}",
        "processed rate (1/s)": f"{recent.processed_rate:.1f}",
        "delay arrival to publication, median (ms)": _milliseconds(recent.delay_median),
        "delay arrival to publication, p95 (ms)": _milliseconds(recent.delay_p95),
        "latency stamp to publication, median (ms)": _milliseconds(recent.latency_median),
        "processing time, median (ms)": _milliseconds(recent.processing_median),
        "age of the last image (s)": f"{health.camera_age:.2f}",
        "images": str(totals.arrived),
        "images processed": str(totals.processed),
        "images skipped": str(totals.skipped),
        "images dropped": str(totals.dropped),
        "images with depth": str(totals.with_depth),
        "latest fault": health.latest_fault or "none",
        **{f"faults: {kind}": str(count) for kind, count in sorted(health.faults.items())},
    }
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}" if seconds == seconds else "none"
