"""Which recordings are evaluated, where to, and what came of each: plain values, which travel."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.settings import EvaluationSettings, topic_folder
from h2onet_ros.engines import bundle_path

Status = Literal["done", "losses", "interrupted", "failed", "died", "not started"]
"""How a job ended: all processed, some of it lost, stopped by the user, input that cannot be used (or a fault
of ours), the worker died twice, stopped before it began."""

_FILES = (".mcap", ".db3")
_SPLIT = re.compile(r"(.+)_\d+")


@dataclass(frozen=True)
class Job:
    """One recording to evaluate. Paths are absolute: a worker may run elsewhere.

    Attributes:
        number: place in the list of jobs.
        name: tells it from the others; the name of its folder.
        bag, out: recording and output folder.
        settings: as for a single evaluation.
    """

    number: int
    name: str
    bag: str
    out: str
    settings: EvaluationSettings

    def again(self) -> Job:
        """The job for a second worker, which goes on where the first one died."""
        return replace(self, settings=replace(self.settings, existing="resume"))


@dataclass
class JobResult:
    """What came of a job.

    Attributes:
        status: how it ended.
        problems: what went wrong, a sentence each.
        metrics, timings: as in metrics.json and timings.json; None where there are none.
        attempts: how many workers tried.
    """

    status: Status
    problems: list[str] = field(default_factory=list)
    metrics: dict[str, Any] | None = None
    timings: dict[str, Any] | None = None
    attempts: int = 1


def is_recording(path: Path) -> bool:
    """Whether a path that exists is one recording, not a folder of several.

    A folder without metadata.yaml counts as one where its files are numbered parts of the same, or where it
    holds a single file and no folders.
    """
    if not path.is_dir():
        return True
    if (path / "metadata.yaml").is_file():
        return True
    entries = list(path.iterdir())
    files = [entry for entry in entries if entry.suffix in _FILES]
    if len(files) == 1 and not any(entry.is_dir() for entry in entries):
        return True
    parts = [_SPLIT.fullmatch(file.stem) for file in files]
    return bool(files) and all(parts) and len({part[1] for part in parts if part}) == 1


def is_one(name: str) -> bool:
    """Whether a name is that of one recording, there or not: no pattern, no folder of several."""
    path = Path(name)
    return is_recording(path) if path.exists() else not glob.has_magic(name)


def recording_name(path: Path) -> str:
    """What a recording is called: its folder, or its file without the ending."""
    path = path.absolute()
    return path.stem if path.suffix in _FILES else path.name


def find_recordings(paths: Sequence[str], list_file: Path | None = None) -> list[Path]:
    """The recordings that paths, glob patterns, folders and a list file name, in order, each once.

    Args:
        paths: recordings; folders, which are searched at any depth; patterns such as "runs/**/*.mcap".
        list_file: more of them, one a line, relative to the file's folder; # begins a comment.

    Raises:
        BagError: for a path where nothing is, a pattern nothing matches, a folder without recordings, and a
            list that cannot be read.
    """
    named = [(path, "") for path in paths]
    if list_file is not None:
        named += [(line, f" (in {list_file})") for line in _lines(list_file)]
    found: dict[Path, Path] = {}
    for name, where in named:
        for path in _expand(name, where):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def make_jobs(
    recordings: Sequence[Path],
    out: Path,
    settings: EvaluationSettings,
    topics: Callable[[Path], Sequence[str]] = lambda path: (),
) -> list[Job]:
    """A job for each recording, with folders below `out` named by the recordings.

    Where `topics(recording)` names more than one image topic, each is a job of its own, in a folder of its
    own below the recording's.
    """
    stems = [recording_name(path) for path in recordings]
    taken = set(stems)
    weights = bundle_path(settings.weights) if settings.weights else None
    settings = replace(settings, calibration=_absolute(settings.calibration), weights=_absolute(weights))
    jobs: list[Job] = []
    for path, name in zip(recordings, stems):
        if stems.count(name) > 1:
            name = next(new for k in count(1) if (new := f"{name}_{k}") not in taken)
            taken.add(name)
        chosen = topics(path)
        for topic in chosen or (None,):
            own = f"{name}/{topic_folder(topic)}" if topic and len(chosen) > 1 else name
            here = replace(settings, topic=topic or settings.topic)
            jobs.append(Job(len(jobs), own, str(path.absolute()), str((out / own).absolute()), here))
    return jobs


def _absolute(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise BagError(f"Expected a list of recordings, one a line, cannot read {path}: {reason}.") from error
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    named = [str(path.parent / line) for line in lines if line]
    if not named:
        raise BagError(f"Expected a list of recordings, one a line, {path} names none.")
    return named


def _expand(name: str, where: str) -> Iterator[Path]:
    path = Path(name)
    if path.exists():
        if is_recording(path):
            yield path
            return
        inside = sorted(_inside(path))
        if not inside:
            raise BagError(
                f"Expected recordings (folders with metadata.yaml, .mcap, .db3) in {path}{where}, found none."
            )
        yield from inside
        return
    if not glob.has_magic(name):
        raise BagError(f"There is no recording at {name}{where}.")
    matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207 - also absolute
    matches = [match for match in matches if match.is_dir() or match.suffix in _FILES]
    if not matches:
        raise BagError(f"No recording matches {name}{where}.")
    for match in matches:
        yield from [match] if is_recording(match) else sorted(_inside(match))


def _inside(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        if "hands.mcap" in files and "metrics.json" in files:
            # What an evaluation left, not what it was of.
            folders.clear()
            continue
        if here != folder and is_recording(here):
            folders.clear()
            yield here
            continue
        yield from (here / file for file in files if Path(file).suffix in _FILES)
