"""Writing recordings as MCAP files that are complete at every moment.

Each write to the disk carries the end of the file (index, statistics, footer) with it, and the next one
overwrites that end. So a file whose writer is killed is as readable as one that was closed, and lacks only
what was not yet flushed: a second's worth at most. Where the disk is full, the last complete state is put
back.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

import lz4.frame
from rosbags.typesys.store import Typestore

from h2onet_ros.bag import mcap_format as mcap
from h2onet_ros.bag.errors import NO_ROOM, BagError, DiskFullError
from h2onet_ros.bag.message_types import create_typestore

FLUSH_SIZE = 1 << 20
"""A chunk is written when it holds this many bytes."""
FLUSH_SECONDS = 1.0
"""A chunk is written with the first message that comes this much later than the one before."""

_LATCHED_QOS = (
    "- history: 1\n  depth: 1\n  reliability: 1\n  durability: 1\n"
    "  deadline: {sec: 9223372036, nsec: 854775807}\n  lifespan: {sec: 9223372036, nsec: 854775807}\n"
    "  liveliness: 1\n  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}\n"
    "  avoid_ros_namespace_conventions: false\n"
)


class BagWriter:
    """Writes serialised messages to one MCAP file, which `ros2 bag`, RViz and Foxglove read.

    Not for use by several threads at once. Raises `BagError` where the file cannot be made, and from `write`,
    `flush` or `close` a `DiskFullError` where no room is left: it is closed then; what it wrote stays.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        typestore: Typestore | None = None,
        compression: Literal["", "lz4"] = "",
        flush_size: int = FLUSH_SIZE,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        """Make the file `path` (it must end in .mcap), replacing one that is there.

        Args:
            path: the file.
            typestore: knows the types of the topics.
            compression: of the chunks.
            flush_size: bytes of messages that are written together; the end that each write carries grows
                with their number.
            flush_seconds: a message waits this much longer than the one before at most.
        """
        self.path = Path(path)
        if self.path.suffix != ".mcap":
            raise BagError(f"A recording is written as an .mcap file, got {self.path}; give it that ending.")
        self.message_count = 0
        """Messages that are on the disk."""
        self._typestore = typestore if typestore is not None else create_typestore()
        self._schema_ids: dict[str, int] = {}
        self._channel_ids: dict[str, int] = {}
        self._compression = compression
        self._flush_size, self._flush_seconds = flush_size, flush_seconds
        self._summary = mcap.Summary()
        self._chunk = _PendingChunk()
        self._flushed_at = time.monotonic()
        self._ending = b""
        self._offset = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        except OSError as error:
            raise BagError(f"Cannot write the recording {self.path}: {error.strerror}.") from error
        self._put(mcap.header("h2onet_ros"), self._summary)

    def add_topic(self, topic: str, message_type: str, latched: bool = False) -> None:
        """Tell of a topic before its first message.

        Args:
            topic: name, as "/hand_mesh_node/hands".
            message_type: as "h2onet_msgs/msg/HandArray"; it must be in the typestore.
            latched: played back as transient local, so that late subscribers get the last message.
        """
        if topic in self._channel_ids:
            raise BagError(f"The topic {topic} was added to {self.path} before; add each one once.")
        if message_type not in self._schema_ids:
            if message_type not in self._typestore.types:
                raise BagError(f"The message type {message_type} of topic {topic} is not in the typestore.")
            identity = len(self._schema_ids) + 1
            definition, _ = self._typestore.generate_msgdef(message_type, ros_version=2)
            self._chunk.add(mcap.schema(identity, message_type, definition), schema=identity)
            self._schema_ids[message_type] = identity
        channel_id = len(self._channel_ids) + 1
        metadata = {"offered_qos_profiles": _LATCHED_QOS if latched else ""}
        channel = mcap.channel(channel_id, self._schema_ids[message_type], topic, metadata)
        self._chunk.add(channel, channel=channel_id)
        self._channel_ids[topic] = channel_id

    def write(self, topic: str, time_ns: int, data: bytes | memoryview) -> None:
        """Append one serialised message with the time (nanoseconds) it is to be played at."""
        if topic not in self._channel_ids:
            raise BagError(f"The topic {topic} was not added to {self.path}; call add_topic first.")
        self._chunk.add_message(self._channel_ids[topic], time_ns, data)
        waited = time.monotonic() - self._flushed_at
        if self._chunk.size >= self._flush_size or waited >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Put what is pending on the disk, as a complete file."""
        if self._file is None:
            raise BagError(f"The recording {self.path} is closed.")
        if self._chunk.size:
            chunk, summary = self._chunk.finish(self._offset, self._summary, self._compression)
            self._put(chunk, summary)
            self._chunk = _PendingChunk()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Flush and close the file; nothing happens the second time."""
        if self._file is None:
            return
        try:
            self.flush()
        finally:
            self._close()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, DiskFullError):
            self._close()
        else:
            self.close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _put(self, data: bytes, summary: mcap.Summary) -> None:
        """Append `data` to the data section and write the file's new end, or leave the file as it was."""
        assert self._file is not None
        ending = summary.ending(self._offset + len(data))
        try:
            _write_at(self._file, self._offset, data + ending)
        except OSError as error:
            # The blocks of the old end are still the file's own, so there is room to write it again. If not
            # even that works, the file has no end, and the reader salvages its whole chunks.
            with suppress(OSError):
                _write_at(self._file, self._offset, self._ending)
                os.ftruncate(self._file, self._offset + len(self._ending))
            self._close()
            if error.errno not in NO_ROOM:
                raise BagError(f"Cannot write the recording {self.path}: {error.strerror}.") from error
            lost = sum(len(entries) for entries in self._chunk.messages.values())
            raise DiskFullError(
                f"No room left for the recording {self.path} ({error.strerror}): {self.message_count} "
                f"messages are in it, the last {lost} are lost. Free some space, or write elsewhere."
            ) from error
        self._offset += len(data)
        self._ending = ending
        self._summary = summary
        self.message_count = sum(summary.counts.values())


class _PendingChunk:
    """Records that are not on the disk yet."""

    def __init__(self) -> None:
        self.size = 0
        self.messages: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._parts: list[bytes] = []
        self._schemas: dict[int, bytes] = {}
        self._channels: dict[int, bytes] = {}

    def add(self, data: bytes, schema: int | None = None, channel: int | None = None) -> None:
        if schema is not None:
            self._schemas[schema] = data
        if channel is not None:
            self._channels[channel] = data
        self._parts.append(data)
        self.size += len(data)

    def add_message(self, channel: int, time_ns: int, data: bytes | memoryview) -> None:
        self.messages[channel].append((time_ns, self.size))
        self.add(
            mcap.record(mcap.MESSAGE, mcap.MESSAGE_PREFIX.pack(channel, 0, time_ns, time_ns), bytes(data))
        )

    def finish(self, offset: int, before: mcap.Summary, compression: str = "") -> tuple[bytes, mcap.Summary]:
        """The chunk with its indexes as bytes that go to `offset`, and the file's summary with it."""
        records = b"".join(self._parts)
        times = [time_ns for entries in self.messages.values() for time_ns, _ in entries]
        start, end = (min(times), max(times)) if times else (0, 0)
        packed = lz4.frame.compress(records) if compression else records
        chunk = mcap.record(
            mcap.CHUNK,
            mcap.CHUNK_PREFIX.pack(start, end, len(records), zlib.crc32(records)),
            mcap.text(compression),
            struct.pack("<Q", len(packed)),
            packed,
        )
        index, index_offsets = mcap.message_indexes(self.messages, offset + len(chunk))
        summary = mcap.Summary(
            schemas=before.schemas | self._schemas,
            channels=before.channels | self._channels,
            chunks=[
                *before.chunks,
                mcap.ChunkInfo(
                    start,
                    end,
                    offset,
                    len(chunk),
                    index_offsets,
                    len(index),
                    compression,
                    len(packed),
                    len(records),
                ),
            ],
            counts=dict(before.counts),
            start=before.start,
            end=before.end,
        )
        if times:
            summary.extend_times(start, end)
        for channel, entries in self.messages.items():
            summary.counts[channel] = summary.counts.get(channel, 0) + len(entries)
        return chunk + index, summary


def _write_at(file: int, offset: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
