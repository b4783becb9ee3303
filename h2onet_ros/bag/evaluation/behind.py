"""Work that follows the network in order, while the network goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

LENGTH = 16
"""Pieces of work that may wait; beyond that the network waits."""


class Behind:
    """One thread that does one piece of work after the other. An error of one comes out of a later call."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._waiting: deque[Future] = deque()

    def do(self, work: Callable[..., None], *arguments: Any) -> None:
        """Append a piece of work; waits while there are too many. Raises what an earlier one raised."""
        while self._waiting and (len(self._waiting) >= LENGTH or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._worker.submit(work, *arguments))

    def finish(self) -> None:
        """Wait for all of it. Raises what a piece raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Wait, whatever came of it, and end the thread."""
        self._waiting.clear()
        self._worker.shutdown(wait=True)
