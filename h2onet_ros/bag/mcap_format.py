"""Records of the MCAP container (https://mcap.dev/spec), as far as ROS 2 recordings need them.

Everything is little-endian. A file is magic, header, data section, summary section, footer, magic; the
functions here build records and the end of a file as bytes, and know nothing of disks.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

MAGIC = b"\x89MCAP0\r\n"

HEADER = 0x01
FOOTER = 0x02
SCHEMA = 0x03
CHANNEL = 0x04
MESSAGE = 0x05
CHUNK = 0x06
MESSAGE_INDEX = 0x07
CHUNK_INDEX = 0x08
STATISTICS = 0x0B
DATA_END = 0x0F
SUMMARY_OFFSET = 0x0E

RECORD_PREFIX = struct.Struct("<BQ")
MESSAGE_PREFIX = struct.Struct("<HIQQ")
CHUNK_PREFIX = struct.Struct("<QQQI")
INDEX_ENTRY = struct.Struct("<QQ")


def record(opcode: int, *parts: bytes) -> bytes:
    """One record: opcode, length of the content, content."""
    return b"".join((RECORD_PREFIX.pack(opcode, sum(len(part) for part in parts)), *parts))


def sized(data: bytes) -> bytes:
    """Bytes after their length as 32 bits: how MCAP stores strings, maps and arrays."""
    return struct.pack("<I", len(data)) + data


def text(value: str) -> bytes:
    return sized(value.encode())


def string_map(values: dict[str, str]) -> bytes:
    return sized(b"".join(text(key) + text(value) for key, value in values.items()))


def message_indexes(messages: dict[int, list[tuple[int, int]]], offset: int) -> tuple[bytes, dict[int, int]]:
    """The indexes that follow a chunk, starting at byte `offset`, and where each channel's one begins.

    `messages` holds (time in ns, place within the chunk's records) of every message, by channel.
    """
    index = b""
    places = {}
    for channel_id, entries in messages.items():
        places[channel_id] = offset + len(index)
        entry_bytes = b"".join(INDEX_ENTRY.pack(*entry) for entry in sorted(entries))
        index += record(MESSAGE_INDEX, struct.pack("<H", channel_id), sized(entry_bytes))
    return index, places


def header(library: str) -> bytes:
    """What a file begins with."""
    return MAGIC + record(HEADER, text("ros2"), text(library))


@dataclass(frozen=True)
class ChunkInfo:
    """One chunk of a file: time span (ns), place and sizes (bytes), where each channel's index is."""

    start: int
    end: int
    offset: int
    length: int
    index_offsets: dict[int, int]
    index_length: int
    compression: str
    compressed_size: int
    size: int

    def record(self) -> bytes:
        offsets = b"".join(struct.pack("<HQ", *entry) for entry in self.index_offsets.items())
        return record(
            CHUNK_INDEX,
            struct.pack("<QQQQ", self.start, self.end, self.offset, self.length),
            sized(offsets),
            struct.pack("<Q", self.index_length),
            text(self.compression),
            struct.pack("<QQ", self.compressed_size, self.size),
        )


@dataclass
class Summary:
    """What the end of a file says about the whole of it.

    Attributes:
        schemas, channels: their complete records by id.
        chunks: the chunks in the order of the file.
        counts: messages of each channel.
        start, end: first and last time of a message, nanoseconds.
    """

    schemas: dict[int, bytes] = field(default_factory=dict)
    channels: dict[int, bytes] = field(default_factory=dict)
    chunks: list[ChunkInfo] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    start: int = 0
    end: int = 0

    def extend_times(self, start: int, end: int) -> None:
        """Take in the time span of more messages; call it before their counts are added."""
        has_any = any(self.counts.values())
        self.start = min(self.start, start) if has_any else start
        self.end = max(self.end, end) if has_any else end

    def ending(self, offset: int) -> bytes:
        """Everything that follows a data section which ends at byte `offset` of the file."""
        data_end = record(DATA_END, struct.pack("<I", 0))
        groups = [
            (SCHEMA, b"".join(self.schemas.values())),
            (CHANNEL, b"".join(self.channels.values())),
            (CHUNK_INDEX, b"".join(chunk.record() for chunk in self.chunks)),
            (STATISTICS, self._statistics()),
        ]
        summary_start = place = offset + len(data_end)
        offsets = b""
        for opcode, content in groups:
            if content:
                offsets += record(SUMMARY_OFFSET, struct.pack("<BQQ", opcode, place, len(content)))
            place += len(content)
        summary = b"".join(content for _, content in groups) + offsets
        # The checksum covers the summary and the footer up to the checksum itself.
        footer = RECORD_PREFIX.pack(FOOTER, 20) + struct.pack("<QQ", summary_start, place)
        checksum = struct.pack("<I", zlib.crc32(footer, zlib.crc32(summary)))
        return data_end + summary + footer + checksum + MAGIC

    def _statistics(self) -> bytes:
        counts = b"".join(struct.pack("<HQ", *entry) for entry in sorted(self.counts.items()))
        return record(
            STATISTICS,
            struct.pack(
                "<QHIIIIQQ",
                sum(self.counts.values()),
                len(self.schemas),
                len(self.channels),
                0,
                0,
                len(self.chunks),
                self.start,
                self.end,
            ),
            sized(counts),
        )


def schema(identity: int, name: str, definition: str) -> bytes:
    """A message type: its name and the text of its .msg definition with all it refers to."""
    return record(
        SCHEMA, struct.pack("<H", identity), text(name), text("ros2msg"), sized(definition.encode())
    )


def channel(identity: int, schema_identity: int, topic: str, metadata: dict[str, str]) -> bytes:
    """A topic of serialised (CDR) messages."""
    return record(
        CHANNEL, struct.pack("<HH", identity, schema_identity), text(topic), text("cdr"), string_map(metadata)
    )
