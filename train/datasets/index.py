"""The annotations of a data set as memory-mapped arrays, made once and kept beside the annotation file.

An index belongs to its annotation file by that file's size and time of change; when either differs it is made
anew. It appears under its name only when complete, and processes that need it at the same time wait for the
one that makes it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from train.datasets.annotations import read_annotations
from train.datasets.base import DataSetError
from train.datasets.layout import Layout
from train.synthetic.shards import ShardError, map_npz, write_shard

FORMAT = "h2onet data set index 1"


def load_index(
    layout: Layout, cache: str | Path | None = None, progress: bool = False
) -> dict[str, np.ndarray]:
    """The arrays of `annotations.read_annotations`, from the index if there is a current one.

    Args:
        layout: the split.
        cache: folder for the index; None is the annotations' folder or, if that cannot be written, a folder
            in the user's cache.
        progress: show a bar while the index is made.

    Raises:
        DataSetError: the annotations cannot be read.
    """
    path = index_path(layout, cache)
    mark = fingerprint(layout)
    stored = _stored(path, mark)
    if stored is not None:
        return stored
    with _alone(path.with_suffix(".lock")):
        stored = _stored(path, mark)  # another process may have made it meanwhile
        if stored is None:
            arrays = read_annotations(layout, progress)
            try:
                write_shard(path, {"mark": np.frombuffer(mark.encode(), np.uint8), **arrays})
            except OSError as error:
                raise DataSetError(
                    f"The index {path} cannot be written ({error}); free some space or choose another folder "
                    "(`cache`)."
                ) from error
            stored = map_npz(path)
    return stored


def fingerprint(layout: Layout) -> str:
    """What an index and a list of checked samples must agree in with the annotation file."""
    status = layout.annotations.stat()
    text = [FORMAT, layout.name, layout.has_truth, layout.split == "test", status.st_size, status.st_mtime_ns]
    return json.dumps(text)


def index_path(layout: Layout, cache: str | Path | None = None) -> Path:
    """Where the index of a split lies; its folder exists."""
    name = f"{layout.annotations.stem}.index.npz"
    if cache is None:
        if os.access(layout.annotations.parent, os.W_OK):
            return layout.annotations.parent / name
        place = sha256(str(layout.annotations.resolve()).encode()).hexdigest()[:16]
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = home / "h2onet" / place
    Path(cache).mkdir(parents=True, exist_ok=True)
    return Path(cache) / name


def _stored(path: Path, mark: str) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        arrays = map_npz(path)
    except ShardError:
        return None
    mine = arrays.pop("mark", np.zeros(0, np.uint8))
    return arrays if bytes(mine.tobytes()) == mark.encode() else None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds a lock file, where the system and the file system know such."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
