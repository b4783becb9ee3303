"""What the programs that walk through a data set share: arguments, processes, and ending in good order."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
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


def end_like_ctrl_c() -> None:
    """Being ended by another program is no different from Ctrl-C, even where the shell has masked that."""
    for cause in (signal.SIGINT, signal.SIGTERM):
        signal.signal(cause, signal.default_int_handler)


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
    """
    if workers <= 1 or len(rows) <= _CHUNK:
        for row in rows:
            yield work(dataset, int(row))
        return
    chunks = iter([[int(r) for r in rows[i : i + _CHUNK]] for i in range(0, len(rows), _CHUNK)])
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(opening,)
    )
    pending: set[Future] = set()
    try:
        for chunk in chunks:
            pending.add(pool.submit(_work, work, chunk))
            if len(pending) >= 3 * workers:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        for future in pending:
            yield from future.result()
    except BrokenProcessPool as error:
        raise DataSetError(
            "A worker process was ended from outside, perhaps for want of memory: try fewer `--workers`."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_dataset: HandDataset | None = None


def _start(opening: Opening) -> None:
    global _dataset
    # Ctrl-C is the parent's business: it ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _dataset = opening.open()


def _work(work: Callable[[HandDataset, int], T], rows: list[int]) -> list[T]:
    assert _dataset is not None
    return [work(_dataset, row) for row in rows]
