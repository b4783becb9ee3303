"""`h2onet evaluate-bag` for many recordings: one progress display, one report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.folder import write_json
from h2onet_ros.bag.evaluation.settings import EXIT_INTERRUPTED, EXIT_LOSSES, EXIT_OK, EXIT_USAGE
from h2onet_ros.bag.fleet.jobs import Job, JobResult
from h2onet_ros.bag.fleet.processes import LocalWorkers, default_count
from h2onet_ros.bag.fleet.report import summary_text, write_summary_page
from h2onet_ros.bag.fleet.schedule import Died, Event, Finished, Progress, Workers, run_jobs
from h2onet_ros.bag.fleet.summary import summarise

SUMMARY, REPORT = "recordings.json", "report.html"


def evaluate_many(
    jobs: list[Job], out: Path, workers: int | None, ray: str | None, is_interrupted: Callable[[], bool]
) -> int:
    """Evaluate recordings and write the joint report to the folder `out`; the exit code.

    0 all images of all recordings were processed, 1 some were lost or some recordings failed, 2 none could be
    used, 130 interrupted: the report tells of those that were finished.

    Args:
        jobs: at least one.
        workers: recordings at the same time on this machine; one a core without it.
        ray: address of a Ray cluster to use instead.

    Raises:
        BagError: for workers that cannot be had, or a folder that is occupied or cannot be written.
    """
    if (out / SUMMARY).exists() and jobs[0].settings.existing == "refuse":
        raise BagError(
            f"Expected a folder without an evaluation, {out} has {SUMMARY}; name another with --out, go on "
            "with --resume, or replace it with --force."
        )
    begin = time.monotonic()
    with _workers(jobs, workers, ray) as pool, _Display(jobs) as display:
        results = run_jobs(jobs, pool, display.show, is_interrupted)
        description = pool.description
    summary = summarise(jobs, results, time.monotonic() - begin, description)
    print(summary_text(summary))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BagError(f"Expected a folder to write to, cannot use {out}: {error.strerror}.") from error
    write_json(out / SUMMARY, summary)
    write_summary_page(summary, out / REPORT)
    print(f"written to {out / REPORT}")
    return _exit_code(results)


def _exit_code(results: list[JobResult]) -> int:
    statuses = [result.status for result in results]
    if any(status in ("interrupted", "not started") for status in statuses):
        return EXIT_INTERRUPTED
    if all(status == "done" for status in statuses):
        return EXIT_OK
    return EXIT_USAGE if all(status == "failed" for status in statuses) else EXIT_LOSSES


def _workers(jobs: list[Job], count: int | None, ray: str | None) -> Workers:
    if ray is None:
        return LocalWorkers(min(count or default_count(), len(jobs)))
    from h2onet_ros.bag.fleet.ray_cluster import RayWorkers

    return RayWorkers(ray)


class _Display:
    """One bar for all: recordings done, parts of one included; a line where one ends."""

    def __init__(self, jobs: list[Job]) -> None:
        self._bar = tqdm(
            total=len(jobs),
            unit=" recordings",
            file=sys.stderr,
            mininterval=0.2 if sys.stderr.isatty() else 5.0,
            bar_format="{percentage:3.0f}%|{bar}| {n:.1f}/{total}{unit} [{elapsed}<{remaining}{postfix}]",
        )
        self._images: dict[int, int] = {}
        self._shares: dict[int, float] = {}
        self._begin = time.monotonic()

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, event: Event) -> None:
        number = event.job.number
        if isinstance(event, Progress):
            self._images[number] = event.done
            self._shares[number] = min(event.done / event.expected, 1.0) if event.expected else 0.0
        elif isinstance(event, Died):
            self._shares[number] = 0.0
            self._say(f"{event.job.name}: its worker died ({event.reason})")
        elif isinstance(event, Finished):
            self._shares[number] = 1.0
            result = event.result
            if result.metrics:
                self._images[number] = result.metrics["images"]
            more = f": {result.problems[0]}" if result.problems else ""
            self._say(f"{event.job.name}: {result.status}, {self._images.get(number, 0)} images{more}")
        self._bar.n = sum(self._shares.values())
        images = sum(self._images.values())
        rate = images / max(time.monotonic() - self._begin, 1e-9)
        self._bar.set_postfix_str(f"{images} images, {rate:.0f} a second", refresh=False)
        self._bar.update(0)

    def _say(self, text: str) -> None:
        self._bar.clear()
        print(text, file=sys.stderr, flush=True)
        self._bar.refresh()
