"""Hands jobs to workers, and to another worker once where one dies."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from h2onet_ros.bag.fleet.jobs import Job, JobResult

MOST_ATTEMPTS = 2
_PATIENCE = 0.25
"""Seconds that may pass before an interruption is noticed."""


@dataclass(frozen=True)
class Progress:
    """A job has done so many images of those expected (None: unknown)."""

    job: Job
    done: int
    expected: int | None


@dataclass(frozen=True)
class Finished:
    """A job came to its end, a good or a bad one."""

    job: Job
    result: JobResult


@dataclass(frozen=True)
class Died:
    """The worker of a job is gone, for a reason that may not be the job's."""

    job: Job
    reason: str


Event = Progress | Finished | Died


class Workers(Protocol):
    """Where jobs run; a context that leaves none of them running."""

    description: str

    def __enter__(self) -> Workers: ...

    def __exit__(self, *_: object) -> None: ...

    def has_room(self) -> bool:
        """Whether `start` may be called."""
        ...

    def start(self, job: Job) -> None: ...

    def wait(self, seconds: float) -> list[Event]:
        """What happened; waits for something to happen, but not longer than that."""
        ...

    def interrupt(self) -> None:
        """Ask all jobs to stop after the image they are at."""
        ...


def run_jobs(
    jobs: Sequence[Job],
    workers: Workers,
    on_event: Callable[[Event], None],
    is_interrupted: Callable[[], bool],
) -> list[JobResult]:
    """Run all jobs; their results in the same order.

    A job whose worker dies is given to another one, once. After an interruption those that run are stopped,
    and those that wait do not begin.
    """
    waiting = deque(jobs)
    running: dict[int, Job] = {}
    attempts: Counter[int] = Counter()
    results: dict[int, JobResult] = {}
    has_stopped = False
    while running or (waiting and not has_stopped):
        if not has_stopped and is_interrupted():
            has_stopped = True
            workers.interrupt()
            continue
        while waiting and not has_stopped and workers.has_room():
            job = waiting.popleft()
            attempts[job.number] += 1
            running[job.number] = job
            workers.start(job)
        for event in workers.wait(_PATIENCE):
            number = event.job.number
            if isinstance(event, Progress):
                on_event(event)
                continue
            running.pop(number, None)
            if isinstance(event, Finished):
                results[number] = event.result
            elif has_stopped:
                results[number] = JobResult("interrupted", [event.reason])
            elif attempts[number] < MOST_ATTEMPTS:
                waiting.appendleft(event.job.again())
            else:
                reason = f"Its worker died {attempts[number]} times: {event.reason}"
                results[number] = JobResult("died", [reason])
            on_event(event)
    for job in jobs:
        # One whose worker died just before the interruption had begun.
        left = JobResult("interrupted" if attempts[job.number] else "not started")
        result = results.setdefault(job.number, left)
        result.attempts = attempts[job.number]
    return [results[job.number] for job in jobs]
