"""Work done beside the mesh network, whose answer counts one frame later."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """At most one piece of work under way, done by `worker`.

    The answer is taken up at the start of the next frame, never earlier or later, so that results do not hang
    on how busy the processor is.
    """

    def __init__(self, worker: ThreadPoolExecutor) -> None:
        self._worker = worker
        self._pending: Future[T] | None = None

    def begin(self, work: Callable[[], T]) -> None:
        """Start `work`; what was begun before and not collected is forgotten."""
        self._pending = self._worker.submit(work)

    def collect(self) -> T | None:
        """What the work begun before has returned, waiting for it if need be; None if there was none."""
        pending, self._pending = self._pending, None
        return None if pending is None else pending.result()

    def forget(self) -> None:
        """Do not answer with what is under way."""
        self._pending = None
