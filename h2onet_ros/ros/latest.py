"""Hand-over between a thread that produces and a slower one that wants only the newest."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestSlot(Generic[T]):
    """Holds the newest item; one that was not taken in time is replaced and counted as skipped."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._skipped = 0
        self._closed = False

    def put(self, item: T) -> None:
        """Offer an item."""
        with self._condition:
            self._skipped += self._item is not None
            self._item = item
            self._condition.notify()

    def take(self) -> tuple[T, int] | None:
        """Wait for an item: it and the number skipped since the last one; None once the slot is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._item is not None)
            if self._closed or self._item is None:
                return None
            item, skipped = self._item, self._skipped
            self._item, self._skipped = None, 0
            return item, skipped

    def close(self) -> None:
        """Let `take` return None from now on, also in a thread that is waiting."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
