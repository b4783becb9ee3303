"""What belongs to the images and comes on another topic: read along with them, found by stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from h2onet_ros.bag.units import SECOND

T = TypeVar("T")


class Along(Generic[T]):
    """Entries of a topic, read as far as the images have come; its size does not grow.

    Args:
        entries: stamps (nanoseconds) and what came with them, in the order of the recording.
        tolerance: nanoseconds that an entry may be from its image.
        look_back: nanoseconds; entries older by more are forgotten, others may be wanted by images that come
            out of order.

    Attributes:
        stamps: the earliest and the latest stamp that was read; None before there is one.
    """

    def __init__(self, entries: Iterator[tuple[int, T]], tolerance: int, look_back: int = 2 * SECOND) -> None:
        self.tolerance = tolerance
        self.stamps: tuple[int, int] | None = None
        self._entries = entries
        self._look_back = look_back
        self._ahead: deque[tuple[int, T]] = deque()
        self._has_ended = False

    def at(self, stamp: int) -> T | None:
        """What is nearest to the stamp of an image; None where nothing is within the tolerance."""
        self._read_to(stamp)
        near = min(self._ahead, key=lambda entry: abs(entry[0] - stamp), default=None)
        return near[1] if near is not None and abs(near[0] - stamp) <= self.tolerance else None

    def _read_to(self, stamp: int) -> None:
        while not self._has_ended and (self.stamps is None or self.stamps[1] < stamp + self.tolerance):
            entry = next(self._entries, None)
            if entry is None:
                self._has_ended = True
                break
            earliest, latest = self.stamps or (entry[0], entry[0])
            self.stamps = min(earliest, entry[0]), max(latest, entry[0])
            if entry[0] >= stamp - self._look_back:
                self._ahead.append(entry)
        while self._ahead and self._ahead[0][0] < stamp - self._look_back:
            self._ahead.popleft()
