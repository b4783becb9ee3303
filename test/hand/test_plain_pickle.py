"""Untrusted pickles: numbers come out, code never runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from h2onet_ros.hand.plain_pickle import PlainPickleError, load_plain_pickle


def write(path: Path, content, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(5))
def test_plain_data_and_arrays_come_through(tmp_path, protocol):
    content = {
        "list": [1, 2.5, "text", None, (True, b"bytes")],
        "floats": np.arange(6, dtype=np.float64).reshape(2, 3),
        "big endian": np.arange(3, dtype=">i4"),
        "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "scalar": np.float32(1.5),
    }
    read = load_plain_pickle(write(tmp_path / "x.pkl", content, protocol))
    assert read["list"] == content["list"]
    for name in ("floats", "big endian", "columns first", "scalar"):
        np.testing.assert_array_equal(read[name], content[name])


@pytest.mark.parametrize("layout", ["csc_matrix", "csr_matrix", "coo_matrix", "csr_array"])
def test_sparse_matrices_are_written_out(tmp_path, layout):
    dense = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    path = write(tmp_path / "x.pkl", [getattr(scipy.sparse, layout)(dense)])
    np.testing.assert_array_equal(load_plain_pickle(path)[0], dense)


class Runs:
    """Whatever loads this as a pickle runs a command."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"vertices": [x]}, lambda x: (x,)])
def test_code_is_refused_and_not_run(tmp_path, wrap):
    trace = tmp_path / "trace"
    path = write(tmp_path / "evil.pkl", wrap(Runs(os.mkdir, str(trace))))
    with pytest.raises(PlainPickleError, match=r"asks for \w+\.mkdir"):
        load_plain_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "function",
    [eval, exec, getattr, __import__, np.load, np.fromfile],
    ids=lambda function: function.__name__,
)
def test_no_dangerous_name_is_known(tmp_path, function):
    with pytest.raises(PlainPickleError, match="asks for"):
        load_plain_pickle(write(tmp_path / "evil.pkl", Runs(function, "x")))


def test_objects_in_arrays_are_refused(tmp_path):
    path = write(tmp_path / "x.pkl", np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(PlainPickleError, match="not plain numbers"):
        load_plain_pickle(path)


def test_a_huge_sparse_matrix_is_refused(tmp_path):
    huge = scipy.sparse.csc_matrix((2**20, 2**20))
    with pytest.raises(PlainPickleError, match="too large"):
        load_plain_pickle(write(tmp_path / "x.pkl", huge))


def test_a_sparse_matrix_with_entries_outside_is_refused(tmp_path):
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix.indices[0] = 7
    with pytest.raises(PlainPickleError, match="outside its shape"):
        load_plain_pickle(write(tmp_path / "x.pkl", matrix))


@pytest.mark.parametrize("content", [b"", b"\x80", b"hello", pickle.dumps(list(range(1000)))[:100]])
def test_damaged_files_are_refused(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(PlainPickleError, match="damaged"):
        load_plain_pickle(tmp_path / "x.pkl")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_plain_pickle(tmp_path / "x.pkl")
