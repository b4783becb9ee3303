"""Reading recordings: rosbag2 folders and single files, mcap and sqlite3, complete, cut off or damaged."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_idl, get_types_from_msg
from rosbags.typesys.store import Typestore

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.mcap_salvage import SalvagedMcap, is_complete
from h2onet_ros.bag.message_types import COMPRESSED_IMAGE, IMAGE, create_typestore
from h2onet_ros.bag.sqlite_salvage import SalvagedSqlite

_ENDINGS = (".mcap", ".db3")
_EXPECTED = "Give a rosbag2 folder (with metadata.yaml), an .mcap file or a .db3 file."


@dataclass(frozen=True)
class Topic:
    """A topic of a recording: its name, the type of its messages and how many there are."""

    name: str
    message_type: str
    message_count: int


@dataclass(frozen=True)
class Message:
    """One message of a recording: topic, type, time of recording (ns), serialised (CDR) content."""

    topic: str
    message_type: str
    time: int
    data: bytes


class _Storage(Protocol):
    topics: list[Topic]

    def messages(self, topics: set[str]) -> Iterator[Message]: ...

    def close(self) -> None: ...


class BagReader:
    """Reads one recording.

    Attributes:
        path: what was opened.
        topics: the topics by name.
        warnings: what could not be read, one sentence each; empty for a complete recording. Damage inside is
            found only while messages are read.
        notes: what is unusual, though nothing is lost by it.

    Raises:
        BagError: for a path that is no recording, or one of which nothing can be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.topics: dict[str, Topic] = {}
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self._typestore = create_typestore()
        self._storages: list[_Storage] = []
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[Message]:
        """The messages in order of time, of the given topics or of all.

        Raises:
            BagError: for a topic that is not there, and where the recording proves to be damaged on the way.
        """
        wanted = set(self.topics if topics is None else topics)
        for name in wanted:
            self.require_topic(name)
        for storage in self._storages:
            yield from storage.messages(wanted)

    def deserialize(self, message: Message) -> Any:
        """The message as an object with the fields of its type, arrays as NumPy arrays.

        Raises:
            BagError: for a type that is neither known here nor defined in the recording, or other content.
        """
        if message.message_type not in self._typestore.types:
            raise BagError(
                f"The message type {message.message_type} of topic {message.topic} is unknown and "
                f"not defined in {self.path}. Record it as mcap, which holds the definitions."
            )
        try:
            return self._typestore.deserialize_cdr(message.data, message.message_type)
        except Exception as error:  # Whatever it stumbles over, the content is not of the type.
            raise BagError(
                f"A message of topic {message.topic} in {self.path} is no {message.message_type}: {error}"
            ) from error

    def require_topic(self, name: str, what: str = "", *types: str) -> Topic:
        """The topic of that name, or a `BagError` that tells which ones there are.

        Args:
            name: the topic.
            what, types: what it is to hold, in words, and the types of messages that do; any without.
        """
        if name in self.topics:
            topic = self.topics[name]
            if types and topic.message_type not in types:
                raise BagError(
                    f"Expected {what} ({' or '.join(types)}) on the topic {name}, it has "
                    f"{topic.message_type}. The recording {self.path} has {self.describe_topics()}."
                )
            return topic
        near = difflib.get_close_matches(name, self.topics, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise BagError(f"There is no topic {name} in {self.path}; it has {self.describe_topics()}.{hint}")

    def image_topics(self) -> list[Topic]:
        """Topics of images, raw or compressed, that have messages; the fullest first.

        Topics of depth, which are images too, are left out where there are others: names tell (REP 118).
        """
        images = self._topics_of(IMAGE, COMPRESSED_IMAGE)
        seen = [topic for topic in images if not _is_depth(topic)]
        return sorted(seen or images, key=lambda topic: -topic.message_count)

    def depth_topics(self) -> list[Topic]:
        """Topics of uncompressed depth images that have messages, by their names."""
        return [topic for topic in self._topics_of(IMAGE) if _is_depth(topic)]

    def first_frame(self, topic: str) -> str | None:
        """The frame of a topic's first message, None where it cannot be read."""
        with suppress(BagError):
            for message in self.messages([topic]):
                frame: str = self.deserialize(message).header.frame_id
                return frame
        return None

    def describe_topics(self) -> str:
        """The topics in words, for messages to people."""
        if not self.topics:
            return "no topics"
        return ", ".join(
            f"{topic.name} ({topic.message_type}, {topic.message_count} messages)"
            for topic in self.topics.values()
        )

    def close(self) -> None:
        for storage in self._storages:
            storage.close()
        self._storages.clear()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _topics_of(self, *types: str) -> list[Topic]:
        return [
            topic for topic in self.topics.values() if topic.message_type in types and topic.message_count
        ]

    def _open(self) -> None:
        if not self.path.exists():
            raise BagError(f"There is no recording at {self.path}. {_EXPECTED}")
        if self.path.is_dir():
            self._open_folder()
        elif self.path.suffix in _ENDINGS:
            self._open_file(self.path)
        else:
            raise BagError(f"{self.path} is no recording that can be read here. {_EXPECTED}")
        self._merge_topics()

    def _open_folder(self) -> None:
        files = sorted(file for file in self.path.iterdir() if file.suffix in _ENDINGS)
        if not (self.path / "metadata.yaml").is_file():
            if not files:
                raise BagError(
                    f"{self.path} holds neither metadata.yaml nor an .mcap or .db3 file. {_EXPECTED}"
                )
            self.notes.append(
                f"{self.path} has no metadata.yaml; reading its files one by one ({len(files)})."
            )
        elif all(file.suffix != ".mcap" or is_complete(file) for file in files):
            try:
                self._storages.append(_Rosbags(self.path, self._typestore, self.warnings))
                return
            except BagError as error:
                if not files:
                    raise
                self.warnings.append(f"{error} Reading its files one by one ({len(files)}).")
        problem: BagError | None = None
        for file in files:
            try:
                self._open_file(file)
            except BagError as error:  # The other parts of the recording are worth having.
                problem = error
                self.warnings.append(str(error))
        if problem and not self._storages:
            raise problem

    def _open_file(self, path: Path) -> None:
        if path.suffix == ".mcap" and not is_complete(path):
            storage = _Salvaged(path, self._typestore)
            self._storages.append(storage)
            if storage.is_whole:
                self.notes.append(f"{path} has no index: it was read from its start, nothing is lost.")
                return
            count = sum(topic.message_count for topic in storage.topics)
            self.warnings.append(
                f"{path} was not closed by its recorder: reading its {count} whole messages, "
                f"{storage.lost_bytes} bytes at its end are lost."
            )
            return
        try:
            self._storages.append(_Rosbags(path, self._typestore, self.warnings))
        except BagError as error:
            if path.suffix != ".db3":
                raise
            try:
                storage_of_rows = _SalvagedRows(path)
            except BagError:
                raise error from None
            self._storages.append(storage_of_rows)
            self.warnings.append(
                f"{path} is damaged: reading its {storage_of_rows.count} intact messages; "
                f"{storage_of_rows.unreadable} between them and perhaps some at its end are lost."
            )

    def _merge_topics(self) -> None:
        for storage in self._storages:
            for topic in storage.topics:
                before = self.topics.get(topic.name)
                count = topic.message_count + (before.message_count if before else 0)
                self.topics[topic.name] = Topic(topic.name, topic.message_type, count)


def _is_depth(topic: Topic) -> bool:
    return "depth" in topic.name.lower()


class _Rosbags:
    """A complete recording, read by rosbags."""

    def __init__(self, path: Path, typestore: Typestore, warnings: list[str]) -> None:
        self._path = path
        self._typestore = typestore
        self._warnings = warnings
        try:
            self._reader = Reader(path)
            self._reader.open()
        except Exception as error:  # rosbags lets errors of SQLite, YAML and zstd through beside its own.
            raise BagError(f"Cannot read the recording {path}: {error} {_EXPECTED}") from error
        for connection in self._reader.connections:
            _register(typestore, connection)
        self.topics = [
            Topic(name, info.msgtype or "", info.msgcount) for name, info in self._reader.topics.items()
        ]

    def messages(self, topics: set[str]) -> Iterator[Message]:
        connections = [found for found in self._reader.connections if found.topic in topics]
        if not connections:
            return
        last, at_last = -1, Counter[str]()
        try:
            for connection, time_ns, data in self._reader.messages(connections):
                if time_ns != last:
                    last, at_last = time_ns, Counter()
                at_last[connection.topic] += 1
                yield Message(connection.topic, connection.msgtype, time_ns, bytes(data))
        except Exception as error:
            if self._path.suffix not in _ENDINGS:
                raise BagError(f"The recording {self._path} is damaged: {error}") from error
            yield from self._after_damage(topics, last, at_last)

    def _after_damage(self, topics: set[str], last: int, at_last: Counter[str]) -> Iterator[Message]:
        """The messages from the time `last` on, of which some were given, without the damaged ones."""
        intact: _Salvaged | _SalvagedRows
        if self._path.suffix == ".mcap":
            intact = _Salvaged(self._path, self._typestore)
            lost = f"{intact.lost_bytes} bytes"
        else:
            intact = _SalvagedRows(self._path)
            lost = f"{intact.unreadable} messages"
        warning = f"{self._path} is damaged inside: {lost} of it are lost."
        if warning not in self._warnings:
            self._warnings.append(warning)
        for message in intact.messages(topics):
            if message.time == last and at_last[message.topic] > 0:
                at_last[message.topic] -= 1
            elif message.time >= last:
                yield message

    def close(self) -> None:
        if self._reader.is_open:
            self._reader.close()


class _Salvaged:
    """What is intact of an .mcap file without an end."""

    def __init__(self, path: Path, typestore: Typestore) -> None:
        self._mcap = SalvagedMcap(path)
        self.lost_bytes, self.is_whole = self._mcap.lost_bytes, self._mcap.is_whole
        self.topics = []
        for channel, topic in self._mcap.topics.items():
            if topic.definition and topic.message_type not in typestore.types:
                _register_definition(typestore, topic.message_type, topic.definition, is_idl=False)
            self.topics.append(Topic(topic.name, topic.message_type, self._mcap.counts[channel]))

    def messages(self, topics: set[str]) -> Iterator[Message]:
        channels = {channel for channel, topic in self._mcap.topics.items() if topic.name in topics}
        for channel, time_ns, data in self._mcap.messages(channels):
            topic = self._mcap.topics[channel]
            yield Message(topic.name, topic.message_type, time_ns, data)

    def close(self) -> None:
        pass


class _SalvagedRows:
    """What is intact of a damaged .db3 file; rosbag2 stores no definitions in it."""

    def __init__(self, path: Path) -> None:
        self._rows = SalvagedSqlite(path)
        self.unreadable = self._rows.unreadable
        self.count = sum(self._rows.counts.values())
        self.topics = [
            Topic(name, kind, self._rows.counts[identity])
            for identity, (name, kind) in self._rows.topics.items()
        ]

    def messages(self, topics: set[str]) -> Iterator[Message]:
        wanted = {identity for identity, (name, _) in self._rows.topics.items() if name in topics}
        for identity, time_ns, data in self._rows.messages(wanted):
            yield Message(*self._rows.topics[identity], time_ns, data)

    def close(self) -> None:
        pass


def _register(typestore: Typestore, connection: Connection) -> None:
    form, definition = connection.msgdef.format, connection.msgdef.data
    if connection.msgtype not in typestore.types and form != MessageDefinitionFormat.NONE:
        _register_definition(typestore, connection.msgtype, definition, form == MessageDefinitionFormat.IDL)


def _register_definition(typestore: Typestore, name: str, definition: str, is_idl: bool) -> None:
    """Learn a type from the recording; one that cannot be parsed stays unknown until it is asked for."""
    try:
        types = get_types_from_idl(definition) if is_idl else get_types_from_msg(definition, name)
        typestore.register({key: value for key, value in types.items() if key not in typestore.types})
    except Exception:  # A strange definition of a topic that nobody wants must not stop the others.
        return
