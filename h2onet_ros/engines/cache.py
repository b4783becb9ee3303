"""Compiled networks kept on disk: keyed, checksummed, written atomically."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

MAGIC = b"h2onet_ros cache 1\n"
MOST_BYTES = 1 << 30
"""Where the entries take more, those that were used longest ago are removed when another is stored."""

_log = logging.getLogger(__name__)


def default_cache_folder() -> Path:
    """`h2onet_ros` in the user's cache folder (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "h2onet_ros"


class CompiledCache:
    """Compiled networks by key; a cache that cannot be used costs time, never an answer.

    A missing or outdated entry is rebuilt, a damaged one reported as a warning and rebuilt, and where nothing
    can be written the cache says so once and does without. It grows to `MOST_BYTES`, or to what its user
    needs at once.

    Args:
        folder: made when first written to.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._in_use: set[Path] = set()

    def path(self, key: Mapping[str, str]) -> Path:
        """File of an entry: the key's "engine" and a hash of the whole key."""
        return self.folder / f"{key['engine']}-{hashlib.sha256(_text(key)).hexdigest()[:24]}.bin"

    def load(self, key: Mapping[str, str]) -> bytes | None:
        """The compiled network stored under exactly this key, or None."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("cannot read the cached network %s: %s; compiling it anew", path, error)
            return None
        data = _unpack(content, _text(key))
        if data is None:
            _log.warning("the cached network %s is damaged; compiling it anew", path)
        else:
            self._in_use.add(path)
            with suppress(OSError):  # a cache that may only be read serves as well
                os.utime(path)
        return data

    def store(self, key: Mapping[str, str], data: bytes) -> bool:
        """Keep a compiled network. False, with a warning, where it cannot be written."""
        path = self.path(key)
        text = _text(key)
        header = MAGIC + len(text).to_bytes(8, "little") + text + hashlib.sha256(data).digest()
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                file.write(header)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
            self._in_use.add(path)
            self._make_room()
        except OSError as error:
            _log.warning("cannot keep the compiled network in %s: %s; every start compiles it", path, error)
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            return False
        return True

    def _make_room(self) -> None:
        entries = []
        for path in self.folder.glob("*-*.bin"):
            with suppress(OSError):  # another process may have removed it
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total > MOST_BYTES and path not in self._in_use:
                with suppress(OSError):
                    path.unlink()
                    total -= size


def _text(key: Mapping[str, str]) -> bytes:
    return json.dumps(dict(key), sort_keys=True).encode()


def _unpack(content: bytes, key: bytes) -> bytes | None:
    """The data of a file's content, or None where anything about it is wrong."""
    start = len(MAGIC) + 8
    length = int.from_bytes(content[len(MAGIC) : start], "little")
    view = memoryview(content)
    if content[: len(MAGIC)] != MAGIC or view[start : start + length] != key:
        return None
    digest, data = view[start + length : start + length + 32], view[start + length + 32 :]
    return bytes(data) if hashlib.sha256(data).digest() == digest else None
