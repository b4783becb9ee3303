"""What a stream of hands says about itself: counts, latency, rate, tracks. No ground truth is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from h2onet_ros.bag.units import SECOND


@dataclass(frozen=True)
class Track:
    """One hand that was followed: its id, and in how many images it was."""

    track_id: int
    images: int


@dataclass(frozen=True)
class StreamSummary:
    """What a stream was like; times in seconds, None where nothing was received.

    Attributes:
        answers: images that were answered, with hands or without.
        answers_with_hands: those with a hand at least.
        hands: hands in all answers together.
        skipped: images that the node passed over for newer ones, as it says.
        latency_median, latency_p95: from the image's stamp to just before its answer was published, as the
            node measured it.
        arrival_median, arrival_p95: from the image's stamp to the answer's arrival in the recorder.
        processing_median: what the pipeline took of that.
        answers_per_second: between the first and the last answer.
        tracks: the hands followed, the longest first.
    """

    answers: int
    answers_with_hands: int
    hands: int
    skipped: int
    latency_median: float | None
    latency_p95: float | None
    arrival_median: float | None
    arrival_p95: float | None
    processing_median: float | None
    answers_per_second: float | None
    tracks: tuple[Track, ...]

    def as_dict(self) -> dict:
        """Plain values, as for a JSON file."""
        return asdict(self)


class StreamStatistics:
    """Collects answers one by one."""

    def __init__(self) -> None:
        self._latencies: list[float] = []
        self._arrivals: list[float] = []
        self._processing: list[float] = []
        self._stamps: list[int] = []
        self._tracks: Counter[int] = Counter()
        self._with_hands = 0
        self._skipped = 0

    def add(
        self,
        stamp: int,
        arrival: int,
        latency: float,
        processing: float,
        skipped: int,
        track_ids: Sequence[int],
    ) -> None:
        """Take in one answer.

        Args:
            stamp: the image's stamp, nanoseconds.
            arrival: when the answer was received, nanoseconds of the same clock.
            latency: seconds from the stamp to publishing.
            processing: seconds the pipeline took.
            skipped: images passed over since the answer before.
            track_ids: of the hands in the image.
        """
        self._stamps.append(stamp)
        self._arrivals.append((arrival - stamp) / SECOND)
        self._latencies.append(latency)
        self._processing.append(processing)
        self._skipped += skipped
        self._tracks.update(track_ids)
        self._with_hands += bool(track_ids)

    def summary(self) -> StreamSummary:
        """What came so far."""
        span = (self._stamps[-1] - self._stamps[0]) / SECOND if self._stamps else 0.0
        return StreamSummary(
            answers=len(self._stamps),
            answers_with_hands=self._with_hands,
            hands=sum(self._tracks.values()),
            skipped=self._skipped,
            latency_median=_percentile(self._latencies, 50),
            latency_p95=_percentile(self._latencies, 95),
            arrival_median=_percentile(self._arrivals, 50),
            arrival_p95=_percentile(self._arrivals, 95),
            processing_median=_percentile(self._processing, 50),
            answers_per_second=(len(self._stamps) - 1) / span if span > 0 else None,
            tracks=tuple(Track(*entry) for entry in self._tracks.most_common()),
        )


def _percentile(values: list[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
