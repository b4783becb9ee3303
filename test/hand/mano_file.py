"""Writes files of the kind of MANO_RIGHT.pkl, chumpy objects included, from any hand."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from h2onet_ros.hand.model import HandModel


@contextlib.contextmanager
def _modules(**classes: type) -> Iterator[None]:
    """Makes classes importable under `module.name`, which pickling checks."""
    added = []
    for path, kind in classes.items():
        module, _, name = path.replace("__", ".").rpartition(".")
        kind.__module__, kind.__name__, kind.__qualname__ = module, name, name
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            parent = ".".join(parts[:i])
            if parent not in sys.modules:
                sys.modules[parent] = types.ModuleType(parent)
                added.append(parent)
        setattr(sys.modules[module], name, kind)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


class Ch:
    """A plain array as chumpy keeps it."""

    def __init__(self, x: np.ndarray):
        self.x = x
        self._dirty_vars = set[str]()
        self._itr = None


class Select:
    """A selection of entries of another chumpy array."""

    def __init__(self, a: Ch, idxs: np.ndarray, preferred_shape: tuple[int, ...]):
        self.a = a
        self.idxs = idxs
        self.preferred_shape = preferred_shape
        self._dirty_vars = {"a"}


class CscMatrix:
    """The state of SciPy's matrix in compressed columns."""

    def __init__(self, dense: np.ndarray):
        columns, rows = np.nonzero(dense.T)
        self._shape = dense.shape
        self.maxprint = 50
        self.indices = rows.astype(np.int32)
        self.indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(dense, axis=0))]).astype(np.int32)
        self.data = dense[rows, columns]


def mano_content(hand: HandModel, pose_basis: np.ndarray, mean_pose: np.ndarray) -> dict[str, Any]:
    """Entries of a MANO file, with dense arrays throughout."""
    return {
        "v_template": hand.template.astype(np.float64),
        "f": hand.faces.astype(np.uint32),
        "shapedirs": hand.shape_basis.astype(np.float64),
        "posedirs": pose_basis,
        "weights": hand.skin_weights.astype(np.float64),
        "J_regressor": hand.joint_regressor.astype(np.float64),
        "kintree_table": np.stack([hand.parents.astype(np.int64) % 2**32, np.arange(16)]),
        "hands_mean": mean_pose.reshape(-1),
        "hands_components": np.linalg.qr(np.random.default_rng(3).standard_normal((45, 45)))[0],
        "hands_coeffs": np.zeros((5, 45)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def write_mano(path: Path, content: dict[str, Any], protocol: int = 2) -> None:
    """Pickle the entries as MANO's authors did: chumpy, SciPy, and module names of that time."""
    disguised = dict(content)
    shape_basis = content["shapedirs"]
    # The shipped basis is a selection out of a longer one.
    longer = np.concatenate([np.zeros(7), shape_basis.ravel()[::-1]])
    selection = (len(longer) - 1 - np.arange(shape_basis.size)).astype(np.int64)
    disguised["shapedirs"] = Select(Ch(longer), selection, shape_basis.shape)
    disguised["posedirs"] = Ch(content["posedirs"])
    disguised["J_regressor"] = CscMatrix(content["J_regressor"])
    buffer = io.BytesIO()
    names = {
        "chumpy__ch__Ch": Ch,
        "chumpy__reordering__Select": Select,
        "oldscipy__csc__csc_matrix": CscMatrix,
    }
    with _modules(**names):
        pickle.dump(disguised, buffer, protocol=protocol)
    old_names = buffer.getvalue().replace(b"coldscipy.csc\n", b"cscipy.sparse.csc\n")
    path.write_bytes(old_names.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
