"""Reads numbers out of untrusted pickles: dictionaries, lists, NumPy arrays and SciPy sparse matrices, no
code.

A pickle can call any function it names. Here every name it may mention stands for a harmless class of this
module; any other name is refused before anything is called.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

MAX_FILE_SIZE = 64 * 1024 * 1024
MAX_ENTRIES = 8 * 1024 * 1024
"""Most entries a sparse matrix may have when written out."""


class PlainPickleError(ValueError):
    """The file is no pickle of plain data, is damaged, or asks for code."""


def load_plain_pickle(path: str | Path, further: Mapping[str, type[StandIn]] | None = None) -> Any:
    """Content of a pickle: dict, list, tuple, str, bytes, numbers, and NumPy arrays; sparse matrices
    written out.

    Text of Python 2 is read as latin-1.

    Args:
        path: the file.
        further: classes that stand for all classes of a package, by the package's name.

    Raises:
        OSError: the file cannot be read.
        PlainPickleError: it is too large, damaged, or names anything but arrays and sparse matrices.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_SIZE:
        raise PlainPickleError(
            f"{path} has {size} bytes, more than the {MAX_FILE_SIZE} expected of such a file"
        )
    try:
        with path.open("rb") as file:
            return plain(_Unpickler(file, further or {}).load())
    except PlainPickleError as error:
        raise PlainPickleError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise PlainPickleError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def plain(value: Any, depth: int = 0) -> Any:
    """`value` with every stand-in replaced by what it stands for."""
    if depth > 20:
        raise PlainPickleError("its content is nested too deeply")
    if isinstance(value, StandIn):
        return value.array()
    if isinstance(value, dict):
        return {key: plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item, depth + 1) for item in value)
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    raise PlainPickleError(f"unexpected content of type {type(value).__name__}")


class StandIn:
    """Takes the place of a class or function the pickle names; keeps the state it is given.

    All of them are classes with a `__setstate__`, so that a pickle cannot set attributes of anything else.
    """

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        raise PlainPickleError(f"unexpected {type(self).__name__.strip('_').lower()} object")


class _Dtype(StandIn):
    """`numpy.dtype` of plain numbers."""

    def dtype(self) -> np.dtype:
        code = self.arguments[0] if self.arguments else ""
        if not isinstance(code, str):
            raise PlainPickleError("an array of an unexpected type")
        dtype = np.dtype(code)
        if dtype.kind not in "iufb":
            raise PlainPickleError(f"arrays of type {code!r} are not plain numbers")
        order = self.state[1] if isinstance(self.state, tuple) else "<"
        return dtype.newbyteorder(">" if order in (">", b">") else "<")


class _Ndarray(StandIn):
    """`numpy.ndarray`, and the functions that make one."""

    def array(self) -> np.ndarray:
        if self.state is None:
            raise PlainPickleError("an array without content")
        _, shape, dtype, fortran, raw = self.state
        if not isinstance(dtype, _Dtype):
            raise PlainPickleError("an array of an unexpected type")
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        return np.frombuffer(data, dtype.dtype()).reshape(shape, order="F" if fortran else "C")


class _Scalar(StandIn):
    """A NumPy scalar."""

    def array(self) -> np.ndarray:
        dtype, raw = self.arguments
        data = raw.encode("latin1") if isinstance(raw, str) else raw
        return np.frombuffer(data, dtype.dtype())[0]


class _Sparse(StandIn):
    """SciPy's sparse matrices: compressed columns, compressed rows, coordinates."""

    def array(self) -> np.ndarray:
        rows, columns = (int(n) for n in self._entry("_shape", "shape"))
        if not 0 <= rows * columns <= MAX_ENTRIES:
            raise PlainPickleError(f"a sparse matrix of {rows} x {columns} entries is too large")
        data = self._entry("data")
        row, column = self._coordinates()
        if not len(data) == len(row) == len(column):
            raise PlainPickleError("a sparse matrix does not fit together")
        if len(row) and not (
            0 <= row.min() <= row.max() < rows and 0 <= column.min() <= column.max() < columns
        ):
            raise PlainPickleError("a sparse matrix has entries outside its shape")
        dense = np.zeros((rows, columns), dtype=data.dtype)
        np.add.at(dense, (row, column), data)
        return dense

    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        indices, ends = self._entry("indices"), self._entry("indptr")
        if np.any(np.diff(ends) < 0) or ends[-1] != len(indices):
            raise PlainPickleError("a sparse matrix does not fit together")
        return indices, np.repeat(np.arange(len(ends) - 1), np.diff(ends))

    def _entry(self, *names: str) -> Any:
        for name in names:
            if isinstance(self.state, dict) and name in self.state:
                return plain(self.state[name])
        raise PlainPickleError(f"a sparse matrix lacks '{names[0]}'")


class _SparseRows(_Sparse):
    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        column, row = super()._coordinates()
        return row, column


class _SparseCoordinates(_Sparse):
    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(self.state, dict) and "coords" in self.state:
            row, column = self._entry("coords")
            return row, column
        return self._entry("row"), self._entry("col")


class _Encoded(StandIn):
    """How Python 3 writes bytes into an old pickle."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise PlainPickleError(f"unexpected text encoding {encoding!r}")
        return text.encode("latin1")


class _NoBytes(StandIn):
    """How Python 3 writes empty bytes into an old pickle."""

    def __new__(cls, *content: Any) -> Any:
        if content:
            raise PlainPickleError("unexpected call of bytes")
        return b""


class _Reconstructed(StandIn):
    """How a protocol-0 pickle makes an object."""

    def __new__(cls, kind: Any, *_: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, StandIn)):
            raise PlainPickleError("an object of an unexpected class")
        return kind()


class _Object(StandIn):
    """What pickles mention beside their data: base classes and sets."""


class _Unpickler(pickle.Unpickler):
    known: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): _Ndarray,
        ("numpy", "dtype"): _Dtype,
        **{
            (f"numpy.{core}.multiarray", name): kind
            for core in ("core", "_core")
            for name, kind in (("_reconstruct", _Ndarray), ("scalar", _Scalar))
        },
        **{
            (f"scipy.sparse.{prefix}{layout}", f"{layout}_{name}"): kind
            for prefix in ("", "_")
            for layout, kind in (("csc", _Sparse), ("csr", _SparseRows), ("coo", _SparseCoordinates))
            for name in ("matrix", "array")
        },
        ("_codecs", "encode"): _Encoded,
        ("builtins", "bytes"): _NoBytes,
        ("__builtin__", "bytes"): _NoBytes,
        ("copyreg", "_reconstructor"): _Reconstructed,
        ("copy_reg", "_reconstructor"): _Reconstructed,
        ("builtins", "object"): _Object,
        ("__builtin__", "object"): _Object,
        ("builtins", "set"): _Object,
        ("__builtin__", "set"): _Object,
    }

    def __init__(self, file: IO[bytes], further: Mapping[str, type[StandIn]]):
        super().__init__(file, encoding="latin1")
        self._further = further

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.known:
            return self.known[module, name]
        package = module.split(".")[0]
        if package in self._further:
            return self._further[package]
        raise PlainPickleError(f"it asks for {module}.{name}, which plain data never needs; refused")
