"""rosbag2's SQLite files that are damaged or cut off: message by message, whatever can still be read.

The layout is rosbag2_storage_sqlite3's: `topics (id, name, type, ...)` and
`messages (id, topic_id, timestamp, data)`, ids ascending in the order of recording.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from h2onet_ros.bag.errors import BagError

_LONGEST_GAP = 20_000
"""Ids in a row without a readable message after which there are no more."""


class SalvagedSqlite:
    """What is intact of a damaged SQLite recording.

    Attributes:
        path: the file.
        topics: name and type by topic id.
        counts: readable messages by topic id.
        unreadable: ids within the readable ones whose message cannot be read.

    Raises:
        BagError: for a file that is no such recording, or whose list of topics is lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[int, tuple[str, str]] = {}
        self.counts: Counter[int] = Counter()
        self.unreadable = 0
        try:
            with self._open() as database:
                rows = database.execute("SELECT id, name, type FROM topics").fetchall()
        except sqlite3.Error as error:
            raise BagError(
                f"Cannot read the recording {path}: {error}, and its list of topics is lost too."
            ) from error
        self.topics = {int(identity): (str(name), str(kind)) for identity, name, kind in rows}
        gap = 0
        for _, topic, _, _ in self._rows():
            if topic is None:
                gap += 1
            else:
                self.counts[topic] += 1
                self.unreadable += gap
                gap = 0

    def messages(self, topics: set[int]) -> Iterator[tuple[int, int, bytes]]:
        """(topic id, time in ns, serialised message) of the given topics, in the order of recording."""
        for _, topic, time_ns, data in self._rows():
            if topic in topics and topic is not None:
                yield topic, time_ns, data

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)

    def _rows(self) -> Iterator[tuple[int, int | None, int, bytes]]:
        """(id, topic id, time, content) one by one; a topic of None where there is no readable message."""
        database = self._open()
        try:
            identity = gap = 0
            while gap < _LONGEST_GAP:
                identity += 1
                try:
                    query = "SELECT topic_id, timestamp, data FROM messages WHERE id = ?"
                    row = database.execute(query, (identity,)).fetchone()
                except sqlite3.Error:
                    row = None
                if row is None or row[0] not in self.topics or not isinstance(row[2], bytes):
                    gap += 1
                    yield identity, None, 0, b""
                    continue
                gap = 0
                yield identity, int(row[0]), int(row[1]), row[2]
        finally:
            database.close()
