"""MCAP files without a readable end: a recorder that was killed leaves one, cut off within a record.

`SalvagedMcap` reads such a file from its start, once for what is in it and once for the messages. It passes
over chunks that are damaged inside and ends at a record that is cut off or whose length makes no sense.
"""

from __future__ import annotations

import heapq
import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag2.storage_mcap import decompress

from h2onet_ros.bag import mcap_format as mcap
from h2onet_ros.bag.errors import BagError

_MAGIC_SIZE = len(mcap.MAGIC)
_FOOTER_SIZE = 20


def is_complete(path: Path) -> bool:
    """Whether the file ends as an MCAP file does, with a summary before it."""
    size = path.stat().st_size
    ending = mcap.RECORD_PREFIX.size + _FOOTER_SIZE + _MAGIC_SIZE
    if size < ending + _MAGIC_SIZE:
        return False
    with path.open("rb") as file:
        file.seek(size - ending)
        opcode, length = mcap.RECORD_PREFIX.unpack(file.read(mcap.RECORD_PREFIX.size))
        (summary_start,) = struct.unpack("<Q", file.read(8))
        file.seek(-_MAGIC_SIZE, os.SEEK_END)
        has_magic = file.read() == mcap.MAGIC
    return has_magic and (opcode, length) == (mcap.FOOTER, _FOOTER_SIZE) and summary_start > 0


@dataclass(frozen=True)
class SalvagedTopic:
    """A topic as its channel record tells of it; `definition` is empty where the file holds none."""

    name: str
    message_type: str
    definition: str
    encoding: str


@dataclass(frozen=True, order=True)
class _Unit:
    """A chunk, or a message outside chunks: where it is, and the times (ns) of its messages."""

    start: int
    end: int
    offset: int


class SalvagedMcap:
    """What is intact of a damaged MCAP file.

    Attributes:
        path: the file.
        topics: by channel number.
        counts: messages by channel number.
        lost_bytes: how much of the file could not be used: damaged chunks, and all from the first record on
            that was cut off.
        is_whole: the file lacks nothing but its index.

    Raises:
        BagError: for a file that is no MCAP file, or is cut off before its first topic.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[int, SalvagedTopic] = {}
        self.counts: Counter[int] = Counter()
        self._units: list[_Unit] = []
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self.is_whole = False
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(_MAGIC_SIZE) != mcap.MAGIC:
                raise BagError(
                    f"{path} is no MCAP file: it does not begin like one. Give a recording made by ros2 bag."
                )
            self.lost_bytes = self._scan(file, size)
        if not self.topics:
            raise BagError(
                f"{path} is cut off before its first topic ({size} bytes): nothing is in it. Record it again."
            )

    def messages(self, channels: set[int]) -> Iterator[tuple[int, int, bytes]]:
        """(channel, time in ns, serialised message) of the given channels, in order of time."""
        waiting: list[tuple[int, int, int, bytes]] = []
        order = 0
        with self.path.open("rb") as file:
            for unit in sorted(self._units):
                while waiting and waiting[0][0] < unit.start:
                    time_ns, _, channel, data = heapq.heappop(waiting)
                    yield channel, time_ns, data
                file.seek(unit.offset)
                opcode, content = _read_record(file)
                for channel, time_ns, data in _messages_of(opcode, content):
                    if channel in channels:
                        order += 1
                        heapq.heappush(waiting, (time_ns, order, channel, data))
        while waiting:
            time_ns, _, channel, data = heapq.heappop(waiting)
            yield channel, time_ns, data

    def _scan(self, file: BinaryIO, size: int) -> int:
        """Take in all whole records; returns how many bytes are lost."""
        lost = 0
        while True:
            begin = file.tell()
            try:
                opcode, content = _read_record(file)
            except _DamagedError:
                return lost + size - begin
            if opcode == mcap.DATA_END:
                self.is_whole = lost == 0
                return lost
            try:
                self._take(opcode, content, begin)
            except _DamagedError:
                if opcode != mcap.CHUNK:
                    return lost + size - begin
                lost += file.tell() - begin

    def _take(self, opcode: int, content: bytes, offset: int) -> None:
        times = []
        records = _records_in_chunk(content) if opcode == mcap.CHUNK else [(opcode, content)]
        counts: Counter[int] = Counter()
        for kind, data in records:
            if kind == mcap.SCHEMA:
                self._take_schema(data)
            elif kind == mcap.CHANNEL:
                self._take_channel(data)
            elif kind == mcap.MESSAGE:
                channel, _, time_ns, _ = _unpack(mcap.MESSAGE_PREFIX, data)
                times.append(time_ns)
                counts[channel] += 1
        if times:
            self._units.append(_Unit(min(times), max(times), offset))
            self.counts.update(counts)

    def _take_schema(self, data: bytes) -> None:
        fields = _Fields(data)
        identity = fields.number("<H")
        self._schemas[identity] = (fields.text(), fields.text(), fields.text())

    def _take_channel(self, data: bytes) -> None:
        fields = _Fields(data)
        identity, schema = fields.number("<H"), fields.number("<H")
        message_type, encoding, definition = self._schemas.get(schema, ("", "", ""))
        self.topics[identity] = SalvagedTopic(
            fields.text(), message_type, definition if encoding == "ros2msg" else "", fields.text()
        )


class _DamagedError(Exception):
    """A record that is cut off or makes no sense."""


class _Fields:
    """Reads the fields of a record one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def number(self, layout: str) -> int:
        field = struct.Struct(layout)
        (value,) = _unpack(field, self._data, self._place)
        self._place += field.size
        return value

    def bytes(self, layout: str = "<I") -> bytes:
        length = self.number(layout)
        value = self._data[self._place : self._place + length]
        if len(value) < length:
            raise _DamagedError
        self._place += length
        return value

    def text(self) -> str:
        try:
            return self.bytes().decode()
        except UnicodeDecodeError as error:
            raise _DamagedError from error


def _unpack(layout: struct.Struct, data: bytes, place: int = 0) -> tuple:
    if place + layout.size > len(data):
        raise _DamagedError
    return layout.unpack_from(data, place)


def _read_record(file: BinaryIO) -> tuple[int, bytes]:
    opcode, length = _unpack(mcap.RECORD_PREFIX, file.read(mcap.RECORD_PREFIX.size))
    left = os.fstat(file.fileno()).st_size - file.tell()
    if opcode == 0 or length > left:
        raise _DamagedError
    return opcode, file.read(length)


def _records_in_chunk(content: bytes) -> Iterator[tuple[int, bytes]]:
    fields = _Fields(content)
    _, _, size, checksum = (fields.number(layout) for layout in ("<Q", "<Q", "<Q", "<I"))
    compression, packed = fields.text(), fields.bytes("<Q")
    try:
        records = decompress(packed, compression, size, checksum)
    except Exception as error:  # Each decompressor has errors of its own; all of them mean damage here.
        raise _DamagedError from error
    place = 0
    while place < len(records):
        opcode, length = _unpack(mcap.RECORD_PREFIX, records, place)
        place += mcap.RECORD_PREFIX.size
        if place + length > len(records):
            raise _DamagedError
        yield opcode, records[place : place + length]
        place += length


def _messages_of(opcode: int, content: bytes) -> Iterator[tuple[int, int, bytes]]:
    records = _records_in_chunk(content) if opcode == mcap.CHUNK else iter([(opcode, content)])
    for kind, data in records:
        if kind == mcap.MESSAGE:
            channel, _, time_ns, _ = _unpack(mcap.MESSAGE_PREFIX, data)
            yield channel, time_ns, data[mcap.MESSAGE_PREFIX.size :]
