"""Workers of a Ray cluster: one task a recording. Ray (extra `ray`) is imported only here.

Recordings and output folders must be at the same paths on every node, as on storage that they share, and
h2onet_ros must be installed on each.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from typing import Any

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.fleet.jobs import Job, JobResult
from h2onet_ros.bag.fleet.schedule import Died, Event, Finished, Progress

LOCAL = "local"
"""The address that starts an instance on this machine for the time of the evaluation."""
_REPORT_PERIOD = 1.0
_CONNECT_PATIENCE = 10.0


class RayWorkers:
    """A task for each job, as many at a time as the cluster has cores; use it as a context.

    Args:
        address: of a running cluster ("auto", "host:6379", "ray://host:10001"), or `LOCAL`.

    Raises:
        BagError: where Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str) -> None:
        self._ray = ray = _import_ray()
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if address == LOCAL:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options["include_dashboard"] = False
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            _require_listener(address)
            ray.init(address=address, **options)
        except Exception as error:  # Each version of Ray has its own for a cluster that does not answer.
            if address == LOCAL:
                reason = f"{_first_line(error)}. Try again, or use --workers instead"
                raise BagError(f"Cannot start a Ray instance on this machine: {reason}.") from error
            raise BagError(
                f"Expected a Ray cluster at {address}, it cannot be reached: {_first_line(error)}. Start one "
                f"with `ray start --head`, or give --ray {LOCAL} for this machine alone."
            ) from error
        # Ray puts its own in their place, which end the program.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        cores = int(ray.cluster_resources().get("CPU", 1))
        self.description = f"Ray cluster {address} ({cores} cores)"
        # Ray itself would try again without telling; here a second attempt is seen and counted.
        self._task = ray.remote(max_retries=0)(_work)
        self._board = ray.remote(num_cpus=0, max_restarts=-1)(_Board).remote()
        self._running: dict[Any, Job] = {}
        self._told: dict[int, int] = {}
        self._asked: Any = None

    def has_room(self) -> bool:
        # Ray queues what it has no core for.
        return True

    def start(self, job: Job) -> None:
        task = self._task.options(name=f"h2onet evaluate-bag {job.name}", num_cpus=job.settings.threads)
        self._running[task.remote(job, self._board)] = job

    def wait(self, seconds: float) -> list[Event]:
        ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        events = self._progress()
        for reference in ready:
            events.append(self._outcome(reference, self._running.pop(reference)))
        return events

    def interrupt(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=False)

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()
        self._ray.shutdown()

    def _outcome(self, reference: Any, job: Job) -> Event:
        errors = self._ray.exceptions
        try:
            return Finished(job, self._ray.get(reference))
        except errors.TaskCancelledError:
            return Finished(job, JobResult("interrupted"))
        except errors.RayTaskError as error:
            # run_job lets nothing through, so this is a node that lacks the package, or another version.
            problem = f"The worker cannot run it: {_first_line(error.cause)}"
            return Finished(job, JobResult("failed", [problem]))
        except errors.RayError as error:
            return Died(job, _first_line(error))

    def _progress(self) -> list[Event]:
        """What the board says that was not told yet. It is asked without waiting for its answer."""
        if self._asked is None:
            self._asked = self._board.read.remote()
        if not self._ray.wait([self._asked], timeout=0)[0]:
            return []
        try:
            counts = self._ray.get(self._asked)
        except self._ray.exceptions.RayError:
            counts = {}
        self._asked = None
        events: list[Event] = []
        for job in self._running.values():
            done, expected = counts.get(job.number, (0, None))
            if self._told.get(job.number) != done and done:
                self._told[job.number] = done
                events.append(Progress(job, done, expected))
        return events


class _Board:
    """Lives in the cluster; workers write on it how far they are."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, int | None]] = {}

    def write(self, number: int, done: int, expected: int | None) -> None:
        self._counts[number] = done, expected

    def read(self) -> dict[int, tuple[int, int | None]]:
        return self._counts


def _work(job: Job, board: Any) -> JobResult:
    """The task. Cancelling it reaches it as Ctrl-C would: it stops after the image it is at."""
    from h2onet_ros.bag.fleet.work import run_job

    is_stopped = False
    reported_at = 0.0

    def stop(*_: object) -> None:
        nonlocal is_stopped
        is_stopped = True

    def tell(done: int, expected: int | None) -> None:
        nonlocal reported_at
        if done == expected or time.monotonic() - reported_at >= _REPORT_PERIOD:
            reported_at = time.monotonic()
            board.write.remote(job.number, done, expected)

    before = signal.signal(signal.SIGINT, stop)
    try:
        return run_job(job, tell, lambda: is_stopped)
    finally:
        signal.signal(signal.SIGINT, before)


def _require_listener(address: str) -> None:
    """Raise an OSError where nobody listens at "host:port": Ray itself would try for many minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_PATIENCE).close()


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise BagError(
            f"--ray needs Ray, which is not installed ({error}): pip install 'h2onet_ros[ray]'."
        ) from error
    return ray


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
