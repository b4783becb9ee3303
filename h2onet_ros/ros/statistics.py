"""Figures about what the node does: totals, and rates and delays of the last seconds."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

WINDOW_S = 5.0
"""Seconds that rates and delays are about."""


@dataclass
class Totals:
    """Counters since the node was started.

    Attributes:
        arrived: images that came.
        processed: images whose hands were published.
        skipped: images passed over for a newer one.
        dropped: images that could not be used.
        with_depth: processed images that had a depth image.
    """

    arrived: int = 0
    processed: int = 0
    skipped: int = 0
    dropped: int = 0
    with_depth: int = 0


@dataclass(frozen=True)
class Recent:
    """The last seconds.

    Attributes:
        image_rate, processed_rate: per second.
        arrived, skipped, dropped: numbers of images.
        delay_median, delay_p95: seconds from an image's arrival to its hands' publication; NaN without any.
        latency_median: seconds from an image's stamp to its hands' publication, on the node's clock.
        processing_median: seconds of computation.
    """

    image_rate: float
    processed_rate: float
    arrived: int
    skipped: int
    dropped: int
    delay_median: float
    delay_p95: float
    latency_median: float
    processing_median: float


@dataclass
class _Events:
    arrivals: deque[float] = field(default_factory=deque)
    skipped: deque[float] = field(default_factory=deque)
    dropped: deque[float] = field(default_factory=deque)
    processed: deque[tuple[float, float, float, float]] = field(default_factory=deque)


class NodeStatistics:
    """Filled and read by any thread.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._events = _Events()
        self._last_arrival: float | None = None
        self._start = clock()
        self.totals = Totals()
        self.hands = 0
        """Number of hands in the latest image."""

    def restart(self) -> None:
        """Forget the last seconds, not the totals: the camera is subscribed to anew."""
        with self._lock:
            self._events = _Events()
            self._last_arrival = None
            self._start = self._clock()

    def arrived(self) -> None:
        """An image came."""
        with self._lock:
            self._last_arrival = self._clock()
            self._events.arrivals.append(self._last_arrival)
            self.totals.arrived += 1

    def skipped(self, count: int) -> None:
        """So many images were passed over."""
        with self._lock:
            self._events.skipped.extend([self._clock()] * count)
            self.totals.skipped += count

    def dropped(self) -> None:
        """An image could not be used."""
        with self._lock:
            self._events.dropped.append(self._clock())
            self.totals.dropped += 1

    def processed(self, delay: float, latency: float, processing: float, hands: int, had_depth: bool) -> None:
        """The hands of an image were published; times in seconds as in `Recent`."""
        with self._lock:
            self._events.processed.append((self._clock(), delay, latency, processing))
            self.totals.processed += 1
            self.totals.with_depth += had_depth
            self.hands = hands

    def camera_age(self) -> float:
        """Seconds since the last image, or since the camera was subscribed to."""
        with self._lock:
            return self._clock() - (self._start if self._last_arrival is None else self._last_arrival)

    def recent(self) -> Recent:
        """The last `WINDOW_S` seconds."""
        with self._lock:
            now, events = self._clock(), self._events
            oldest = now - WINDOW_S
            for times in (events.arrivals, events.skipped, events.dropped):
                while times and times[0] < oldest:
                    times.popleft()
            while events.processed and events.processed[0][0] < oldest:
                events.processed.popleft()
            span = max(min(WINDOW_S, now - self._start), 1e-3)
            figures = np.array([entry[1:] for entry in events.processed])
            arrivals, skipped, dropped = len(events.arrivals), len(events.skipped), len(events.dropped)
        if not len(figures):
            figures = np.full((1, 3), np.nan)
            processed = 0
        else:
            processed = len(figures)
        delay, latency, processing = np.median(figures, axis=0)
        return Recent(
            image_rate=arrivals / span,
            processed_rate=processed / span,
            arrived=arrivals,
            skipped=skipped,
            dropped=dropped,
            delay_median=float(delay),
            delay_p95=float(np.percentile(figures[:, 0], 95)),
            latency_median=float(latency),
            processing_median=float(processing),
        )
