"""The hands of an evaluation as a table, one row a hand: Parquet where PyArrow is installed, else CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.errors import NO_ROOM, BagError, DiskFullError
from h2onet_ros.bag.evaluation.accuracy import ERROR_NAMES, Match, hidden_fingers
from h2onet_ros.hand.joints import JOINT_NAMES, OCCLUSION_NAMES
from h2onet_ros.perception.hand_message import quaternion_from_rotation
from h2onet_ros.perception.types import Hand

PARQUET, CSV = "hands.parquet", "hands.csv"
_BATCH = 512
"""Rows that are written together; Parquet's index grows with their number, memory with their size."""

_INTEGER, _REAL, _TEXT = "int64", "float32", "str"
_NULLS: dict[str, Any] = {_INTEGER: -1, _REAL: np.nan, "float64": np.nan, _TEXT: ""}
"""What stands for null in arrays, by the column's type."""


def columns(with_truth: bool) -> dict[str, str]:
    """Names of the columns, in order, with their types; the names are explained in `docs/evaluation.md`."""
    names = {
        "image": _INTEGER,
        "stamp": _INTEGER,
        "time": "float64",
        "track_id": _INTEGER,
        "handedness": _TEXT,
    }
    names |= dict.fromkeys(_HAND_NUMBERS, _REAL)
    if with_truth:
        names |= {"match": _TEXT, "truth_id": _INTEGER, "truth_handedness": _TEXT}
        names["truth_hidden_fingers"] = _INTEGER
        names |= dict.fromkeys((f"truth_occlusion_{part}" for part in OCCLUSION_NAMES), _REAL)
        names |= dict.fromkeys(ERROR_NAMES, _REAL)
    return names


_HAND_NUMBERS = (
    "handedness_score",
    "detection_score",
    *(f"position_{axis}" for axis in "xyz"),
    *(f"rotation_{axis}" for axis in "xyzw"),
    "region_x",
    "region_y",
    "region_size",
    "region_angle",
    "reprojection_error",
    *(f"occlusion_{part}" for part in OCCLUSION_NAMES),
    *(f"joint_{name}_{axis}" for name in JOINT_NAMES for axis in "xyz"),
    *(f"point_{name}_{axis}" for name in JOINT_NAMES for axis in "xy"),
)


def _hand_numbers(hand: Hand) -> NDArray[np.float32]:
    region = hand.region
    return np.concatenate(
        [
            (hand.handedness_score, hand.detection_score),
            hand.position,
            quaternion_from_rotation(hand.rotation),
            (region.x, region.y, region.size, region.angle, hand.reprojection_error),
            hand.occlusion,
            hand.joints.ravel(),
            hand.image_points.ravel(),
        ]
    ).astype(np.float32)


class _File(Protocol):
    def write(self, rows: list[list[Any]]) -> None: ...

    def close(self) -> None: ...


class HandTable:
    """Writes the table as the hands come.

    Attributes:
        path: the file.

    Raises:
        DiskFullError: from `add` and `close`, where no room is left.
        BagError: where the file cannot be made.
    """

    def __init__(self, folder: Path, with_truth: bool) -> None:
        self._columns = columns(with_truth)
        self._with_truth = with_truth
        self._rows: list[list[Any]] = []
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            self.path = folder / CSV
        else:
            self.path = folder / PARQUET
        make = _ParquetFile if self.path.name == PARQUET else _CsvFile
        self._file: _File | None = self._safely(make, self.path, self._columns)

    def add(self, image: int, stamp: int, time: float, matches: Sequence[Match]) -> None:
        """Append the hands of an image, found and true ones; one match at least."""
        for match in matches:
            self._rows.append(self._row(image, stamp, time, match))
        if len(self._rows) >= _BATCH:
            self._flush()

    def close(self) -> None:
        """Write what waits and finish the file; nothing happens the second time."""
        if self._file is None:
            return
        file = self._file
        try:
            self._flush()
        finally:
            self._file = None
            self._safely(file.close)

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows and self._file:
            self._safely(self._file.write, rows)

    def _safely(self, action: Any, *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise DiskFullError(
                    f"No room left for the table {self.path}. Free some space, or write elsewhere."
                ) from error
            raise BagError(f"Cannot write the table {self.path}: {error.strerror or error}.") from error

    def _row(self, image: int, stamp: int, time: float, match: Match) -> list[Any]:
        found, true = match.found, match.true
        row: list[Any] = [image, stamp, time]
        if found is None:
            row += [None] * (2 + len(_HAND_NUMBERS))
        else:
            row += [found.track_id, found.handedness, *_hand_numbers(found)]
        if not self._with_truth:
            return row
        row.append(match.kind)
        if true is None:
            row += [None] * (3 + len(OCCLUSION_NAMES))
        else:
            row += [true.track_id, true.handedness, hidden_fingers(true), *true.occlusion]
        values = match.errors.values if match.errors else {}
        return row + [np.float32(values[name]) if name in values else None for name in ERROR_NAMES]


class _CsvFile:
    """Comma-separated values (RFC 4180), numbers as short as they can be read back exactly."""

    def __init__(self, path: Path, names: dict[str, str]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(names)

    def write(self, rows: list[list[Any]]) -> None:
        self._writer.writerows([["" if _is_null(value) else value for value in row] for row in rows])
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _ParquetFile:
    def __init__(self, path: Path, names: dict[str, str]) -> None:
        import pyarrow
        import pyarrow.parquet

        kinds = {_INTEGER: pyarrow.int64(), _REAL: pyarrow.float32(), _TEXT: pyarrow.string()}
        kinds["float64"] = pyarrow.float64()
        self._schema = pyarrow.schema([(name, kinds[kind]) for name, kind in names.items()])
        self._record_batch = pyarrow.RecordBatch
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: list[list[Any]]) -> None:
        values = [
            [None if _is_null(value) else value for value in column] for column in zip(*rows, strict=True)
        ]
        self._writer.write_batch(self._record_batch.from_arrays(self._arrays(values), schema=self._schema))

    def _arrays(self, values: list[list[Any]]) -> list[Any]:
        import pyarrow

        return [pyarrow.array(column, field.type) for column, field in zip(values, self._schema, strict=True)]

    def close(self) -> None:
        self._writer.close()


def _is_null(value: Any) -> bool:
    return value is None or value != value


def read_table(folder: Path) -> dict[str, NDArray[Any]]:
    """The columns of an evaluation's table; null is NaN in columns of reals, -1 of integers, "" of texts.

    Raises:
        BagError: for a folder without one, or a Parquet file without PyArrow.
    """
    if (folder / PARQUET).is_file():
        return _read_parquet(folder / PARQUET)
    if (folder / CSV).is_file():
        return _read_csv(folder / CSV)
    raise BagError(f"Expected {PARQUET} or {CSV} in {folder}; give the folder of an evaluation.")


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise BagError(f"Reading {path} needs PyArrow: pip install pyarrow.") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise BagError(f"Cannot read the table {path}: {error}. Evaluate the recording again.") from error
    filled = (
        (name, column.fill_null(_NULLS[_kind(name)])) for name, column in zip(table.column_names, table)
    )
    return {name: np.asarray(column.to_numpy(), _kind(name)) for name, column in filled}


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return {
        name: np.array([value or _NULLS[_kind(name)] for value in values], str).astype(_kind(name))
        for name, *values in zip(*rows, strict=True)
    }


_KINDS = columns(with_truth=True)


def _kind(name: str) -> str:
    return _KINDS.get(name, _TEXT)
