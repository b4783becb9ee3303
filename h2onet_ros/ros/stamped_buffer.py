"""What belongs to an image and comes on another topic: found by stamp."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

_LATELY = 1.0  # seconds; nobody waits for a topic that has been silent for longer


class StampedBuffer(Generic[T]):
    """The latest items with their stamps; filled by one thread, asked by another."""

    def __init__(self, capacity: int = 15) -> None:
        self._items: deque[tuple[int, T]] = deque(maxlen=capacity)
        self._arrived = threading.Condition()
        self._last_arrival = -_LATELY
        self._is_closed = False

    def put(self, stamp: int, item: T) -> None:
        """Keep an item; `stamp` in nanoseconds. Where time goes back, the older items are forgotten."""
        with self._arrived:
            if self._items and stamp < self._items[-1][0]:
                self._items.clear()
            self._items.append((stamp, item))
            self._last_arrival = time.monotonic()
            self._arrived.notify_all()

    def nearest(self, stamp: int, tolerance: float, wait: float = 0.0) -> T | None:
        """The item whose stamp is nearest, if it differs by at most `tolerance` seconds.

        Args:
            stamp: nanoseconds.
            tolerance: seconds.
            wait: seconds to wait for such an item, while the topic is alive and has not gone past the stamp.
        """

        def is_settled() -> bool:
            return self._is_closed or self._find(stamp, tolerance) is not None or self._is_past(stamp)

        with self._arrived:
            if wait and time.monotonic() - self._last_arrival < _LATELY:
                self._arrived.wait_for(is_settled, wait)
            return self._find(stamp, tolerance)

    def take_latest(self, stamp: int, tolerance: float) -> T | None:
        """The latest item, once, if its stamp differs by at most `tolerance` seconds; no other is kept."""
        with self._arrived:
            latest = self._items[-1] if self._items else None
            self._items.clear()
        if latest is None or abs(latest[0] - stamp) > tolerance * 1e9:
            return None
        return latest[1]

    def clear(self) -> None:
        """Forget all items."""
        with self._arrived:
            self._items.clear()

    def close(self) -> None:
        """End a wait, now and later."""
        with self._arrived:
            self._is_closed = True
            self._arrived.notify_all()

    def open(self) -> None:
        """Allow waits again."""
        with self._arrived:
            self._is_closed = False
            self._items.clear()

    def _find(self, stamp: int, tolerance: float) -> T | None:
        best = min(self._items, key=lambda item: abs(item[0] - stamp), default=None)
        return best[1] if best is not None and abs(best[0] - stamp) <= tolerance * 1e9 else None

    def _is_past(self, stamp: int) -> bool:
        return bool(self._items) and self._items[-1][0] > stamp
