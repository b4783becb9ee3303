"""What the programs that walk through a data set share: arguments, processes, and ending in good order."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from train.datasets.base import DataSetError
from train.datasets.hands import HandDataset, open_dataset
from train.datasets.layout import find_layout

T = TypeVar("T")

SPLITS = {
    "dexycb": ("train", "val", "test"),
    "ho3d_v2": ("train", "val", "evaluation"),
    "ho3d_v3": ("train", "val", "evaluation"),
}
_CHUNK = 8
_POLL = 0.2


@dataclass(frozen=True)
class Opening:
    """How to open a split; travels to other processes."""

    name: str
    root: Path
    split: str
    mano: Path
    setup: str
    cache: Path | None
    occlusion: bool = False
    checked: bool = True

    def open(self, progress: bool = False) -> HandDataset:
        return open_dataset(
            self.name,
            self.root,
            self.split,
            self.mano,
            self.setup,
            occlusion=self.occlusion,
            cache=self.cache,
            progress=progress,
            checked=self.checked,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which data set, and with how many processes."""
    parser.add_argument("name", choices=sorted(SPLITS), help="data set")
    parser.add_argument("root", type=Path, help="its folder, which holds `annotations`")
    parser.add_argument("--mano", type=Path, required=True, help="MANO_RIGHT.pkl")
    parser.add_argument(
        "--split",
        action="append",
        help="train, val, test or evaluation; may be repeated (default: all there are)",
    )
    parser.add_argument("--setup", default="s0", choices=("s0", "s1", "s2", "s3"), help="of DexYCB (s0)")
    parser.add_argument("--cache", type=Path, help="folder for the index (default: beside the annotations)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one a core)")


def openings(arguments: argparse.Namespace, **options: Any) -> list[Opening]:
    """The splits that were asked for, or those whose annotations are there.

    Raises:
        DataSetError: there are none, or one that was asked for is not there.
    """
    splits = arguments.split or []
    for split in splits:
        find_layout(arguments.name, arguments.root, split, arguments.setup)
    if not splits:
        for split in SPLITS[arguments.name]:
            try:
                find_layout(arguments.name, arguments.root, split, arguments.setup)
            except DataSetError as error:
                missing = error
            else:
                splits.append(split)
        if not splits:
            raise missing
    return [
        Opening(
            arguments.name,
            arguments.root,
            split,
            arguments.mano,
            arguments.setup,
            arguments.cache,
            **options,
        )
        for split in splits
    ]


@contextlib.contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Being ended by another program is no different from Ctrl-C, even where the shell has masked that."""
    before = {cause: signal.getsignal(cause) for cause in (signal.SIGINT, signal.SIGTERM)}
    for cause in before:
        signal.signal(cause, signal.default_int_handler)
    try:
        yield
    finally:
        for cause, handler in before.items():
            signal.signal(cause, handler)


def map_rows(
    opening: Opening,
    dataset: HandDataset,
    work: Callable[[HandDataset, int], T],
    rows: np.ndarray,
    workers: int,
) -> Iterator[T]:
    """`work(dataset, row)` of all rows, in any order, by so many processes.

    Args:
        opening: opens the data set in other processes.
        dataset: the same, open in this one.
        work: a function of a module.
        rows: `(n,)` of the index.
        workers: 1 works in this process.

    Raises:
        DataSetError: a process was ended from outside.
        KeyboardInterrupt: SIGINT or SIGTERM came; what had begun was finished first.
    """
    with _postponed() as stop:
        if workers <= 1 or len(rows) <= _CHUNK:
            for row in rows:
                stop()
                yield work(dataset, int(row))
        else:
            yield from _by_processes(opening, work, rows, workers, stop)
        stop()


def _by_processes(
    opening: Opening,
    work: Callable[[HandDataset, int], T],
    rows: np.ndarray,
    workers: int,
    stop: Callable[[], None],
) -> Iterator[T]:
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(opening,)
    )
    pending: set[Future] = set()
    try:
        for i in range(0, len(rows), _CHUNK):
            with _unheard():
                pending.add(pool.submit(_work, work, [int(row) for row in rows[i : i + _CHUNK]]))
            last = i + _CHUNK >= len(rows)
            while pending and (last or len(pending) >= 3 * workers):
                stop()
                done, pending = wait(pending, _POLL, FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
    except BrokenProcessPool as error:
        raise DataSetError(
            "A worker process was ended from outside, perhaps for want of memory: try fewer `--workers`."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _postponed() -> Iterator[Callable[[], None]]:
    """Notes SIGINT and SIGTERM; the function it gives raises KeyboardInterrupt if there was one.

    An exception out of nowhere could leave a lock of the process pool taken, and the program would hang.
    """
    noted: list[int] = []

    def stop() -> None:
        if noted:
            raise KeyboardInterrupt

    before = {cause: signal.getsignal(cause) for cause in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may change handlers
        return
    for cause in before:
        signal.signal(cause, lambda number, _: noted.append(number))
    try:
        yield stop
    finally:
        for cause, handler in before.items():
            signal.signal(cause, handler)


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Processes started meanwhile do not hear Ctrl-C, which is the parent's business."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_dataset: HandDataset | None = None


def _start(opening: Opening) -> None:
    global _dataset
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _dataset = opening.open()


def _end_with_parent() -> None:
    """A killed parent cannot end its workers; they must not wait for it forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _work(work: Callable[[HandDataset, int], T], rows: list[int]) -> list[T]:
    assert _dataset is not None
    return [work(_dataset, row) for row in rows]
