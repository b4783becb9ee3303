"""Work done in the background, whose answer counts one frame later."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """At most one piece of work, done by `worker` from when it is started.

    The answer is taken up at the start of the next frame, never earlier or later, so that results do not hang
    on how busy the processor is, nor on when the work is started.

    Attributes:
        seconds: that the last piece took; 0 before the first.
    """

    def __init__(self, worker: ThreadPoolExecutor) -> None:
        self._worker = worker
        self.seconds = 0.0
        self._waiting: Callable[[], T] | None = None
        self._pending: Future[T] | None = None

    def prepare(self, work: Callable[[], T]) -> None:
        """Have `work` done once started; what was prepared before and not collected is forgotten."""
        self._waiting, self._pending = work, None

    def start(self) -> None:
        """Start what was prepared, if anything was."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._pending = self._worker.submit(self._timed, waiting)

    def _timed(self, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        self.seconds = time.perf_counter() - start
        return result

    def collect(self) -> T | None:
        """What the work prepared before returns, waiting for it if need be; None if there was none."""
        self.start()
        pending, self._pending = self._pending, None
        return None if pending is None else pending.result()

    def forget(self) -> None:
        """Do not answer with what was prepared or is under way."""
        self._waiting = self._pending = None
