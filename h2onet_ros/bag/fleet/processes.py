"""Workers that are processes of this machine, one for each job: one that dies takes no other along."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from h2onet_ros.bag.fleet.jobs import Job, JobResult
from h2onet_ros.bag.fleet.schedule import Died, Event, Finished, Progress

_REPORT_PERIOD = 0.2
_END_PATIENCE = 10.0


class LocalWorkers:
    """At most `count` processes at a time; use it as a context, which leaves none behind."""

    def __init__(self, count: int) -> None:
        self.description = f"{count} process{'es' if count > 1 else ''} on this machine"
        self._count = count
        # Not forked: threads of the engines and of OpenCV do not survive that.
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[Connection, tuple[Job, SpawnProcess]] = {}

    def has_room(self) -> bool:
        return len(self._running) < self._count

    def start(self, job: Job) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(job, theirs), name=job.name, daemon=True)
        process.start()
        # The child alone holds its end, so that its death closes the pipe.
        theirs.close()
        self._running[ours] = job, process

    def wait(self, seconds: float) -> list[Event]:
        events: list[Event] = []
        for ready in wait(list(self._running), seconds):
            assert isinstance(ready, Connection)
            job, process = self._running[ready]
            try:
                event: Event = ready.recv()
            except (EOFError, OSError):
                process.join()
                event = Died(job, _cause(process.exitcode))
            events.append(event)
            if not isinstance(event, Progress):
                process.join()
                ready.close()
                self._running.pop(ready)
        return events

    def interrupt(self) -> None:
        for _job, process in self._running.values():
            process.terminate()

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
        for _job, process in self._running.values():
            process.join(_END_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        memory = " (out of memory?)" if name == "SIGKILL" else ""
        return f"ended by {name}{memory}"
    return f"ended with exit code {exit_code}"


def _work(job: Job, connection: Connection) -> None:
    """The process: one job, and what becomes of it into the pipe."""
    is_stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopped
        is_stopped = True

    # Ctrl-C reaches the whole group of processes; whether to stop is for the one that started this to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    from h2onet_ros.bag.fleet.work import run_job

    reported_at = 0.0

    def tell(done: int, expected: int | None) -> None:
        nonlocal is_stopped, reported_at
        if done != expected and time.monotonic() - reported_at < _REPORT_PERIOD:
            return
        reported_at = time.monotonic()
        try:
            connection.send(Progress(job, done, expected))
        except OSError:
            # Whoever started this is gone: keep what is done, and end.
            is_stopped = True

    result: JobResult = run_job(job, tell, lambda: is_stopped)
    with suppress(OSError):
        connection.send(Finished(job, result))
    connection.close()


def default_count() -> int:
    """As many as there are cores that this process may use."""
    with suppress(AttributeError):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
