"""Writing recordings as rosbag2 folders, mcap or sqlite3, through `rosbags`."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError
from rosbags.typesys.store import Typestore

from h2onet_ros.bag.errors import NO_ROOM, BagError, DiskFullError
from h2onet_ros.bag.message_types import create_typestore

Storage = Literal["mcap", "sqlite3"]

_FOREVER = QosTime(9223372036, 854775807)
_LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)
_RECORDING_FILES = ("metadata.yaml", ".mcap", ".db3", ".zstd")


class FolderWriter:
    """Writes serialised messages to a rosbag2 folder; the same methods as `writer.BagWriter`.

    Args:
        path: the folder to make; nothing may be there.
        typestore: knows the types of the topics.
        storage: "mcap" or "sqlite3".
        is_compressed: with zstd: chunks of an mcap file, single messages in sqlite3.

    Raises:
        BagError: where the folder cannot be made; from `write` and `close` where it cannot be written, as a
            `DiskFullError` where no room is left.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        typestore: Typestore | None = None,
        storage: Storage = "mcap",
        is_compressed: bool = False,
    ) -> None:
        self.path = Path(path)
        self.message_count = 0
        self._typestore = typestore if typestore is not None else create_typestore()
        self._connections: dict[str, Connection] = {}
        self._is_open = False
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        try:
            self._writer = Writer(self.path, version=9, storage_plugin=plugin)
            if is_compressed:
                mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
                self._writer.set_compression(mode, CompressionFormat.ZSTD)
            self._writer.open()
        except WriterError as error:
            raise BagError(f"Expected nothing at {self.path}: {error} Name another folder.") from error
        except OSError as error:
            raise BagError(f"Cannot write the recording {self.path}: {error.strerror}.") from error
        self._is_open = True

    def add_topic(self, topic: str, message_type: str, latched: bool = False) -> None:
        """Tell of a topic before its first message; see `writer.BagWriter.add_topic`."""
        if topic in self._connections:
            raise BagError(f"The topic {topic} was added to {self.path} before; add each one once.")
        if message_type not in self._typestore.types:
            raise BagError(f"The message type {message_type} of topic {topic} is not in the typestore.")
        self._connections[topic] = self._writer.add_connection(
            topic,
            message_type,
            typestore=self._typestore,
            offered_qos_profiles=(_LATCHED,) if latched else (),
        )

    def write(self, topic: str, time_ns: int, data: bytes | memoryview) -> None:
        """Append one serialised message with the time (nanoseconds) it is to be played at."""
        if topic not in self._connections:
            raise BagError(f"The topic {topic} was not added to {self.path}; call add_topic first.")
        try:
            self._writer.write(self._connections[topic], time_ns, data)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
        self.message_count += 1

    def close(self) -> None:
        """Write the index and metadata.yaml; nothing happens the second time."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._writer.close()
        except (OSError, sqlite3.Error) as error:
            self._fail(error)

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fail(self, error: OSError | sqlite3.Error) -> None:
        self._is_open = False
        with suppress(Exception):
            self._writer.abort()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if getattr(error, "errno", None) in NO_ROOM or "full" in str(error):
            raise DiskFullError(
                f"No room left for the recording {self.path} ({reason}); what is whole in its files can be "
                "read, but it has no metadata.yaml. Free some space, or write elsewhere."
            ) from error
        raise BagError(f"Cannot write the recording {self.path}: {reason}.") from error


def remove_recording(path: Path) -> None:
    """Remove a recording, a folder or a file, that is to be replaced.

    Raises:
        BagError: for a folder that holds anything but a recording, or one that cannot be removed.
    """
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        others = sorted(file.name for file in path.iterdir() if not file.name.endswith(_RECORDING_FILES))
        if others:
            raise BagError(
                f"{path} holds more than a recording ({', '.join(others[:3])}), so it is not replaced; "
                "remove it yourself, or write elsewhere."
            )
        shutil.rmtree(path)
    except OSError as error:
        raise BagError(f"Cannot replace {path}: {error.strerror}.") from error
