"""Hand-over of images from the thread that receives them to one that must not fall behind."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ImageQueue(Generic[T]):
    """Gives items in order while they are fresh; those that waited too long make way for newer ones.

    Items that arrive in a burst, as over a busy network or from a busy camera driver, are thus all worked on
    where there is time for it, and the delay stays bounded where there is not.

    Args:
        max_wait: seconds after which an item is skipped if a newer one is there; 0 gives the newest only.
        capacity: items kept at most.
        clock: monotonic seconds.

    Attributes:
        max_wait: may be changed at any time.
    """

    def __init__(
        self, max_wait: float, capacity: int = 8, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_wait = max_wait
        self._capacity = capacity
        self._clock = clock
        self._condition = threading.Condition()
        self._items: deque[tuple[float, T]] = deque()
        self._skipped = 0
        self._closed = False

    def put(self, item: T) -> None:
        """Offer an item."""
        with self._condition:
            self._items.append((self._clock(), item))
            if len(self._items) > self._capacity:
                self._skip()
            self._condition.notify()

    def take(self) -> tuple[T, int] | None:
        """Wait for an item: it and the number skipped since the last one; None once the queue is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return None
            oldest = self._clock() - self.max_wait
            while len(self._items) > 1 and self._items[0][0] <= oldest:
                self._skip()
            skipped, self._skipped = self._skipped, 0
            return self._items.popleft()[1], skipped

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let `take` return None from now on, also in a thread that is waiting."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _skip(self) -> None:
        self._items.popleft()
        self._skipped += 1
