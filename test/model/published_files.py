"""Writes files as the published project ships them, from the parity cases."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import parity_network as parity
import scipy.sparse
import torch


def write_checkpoint(path: Path, state: dict, prefix: str = "") -> Path:
    """As the published training writes it, NumPy scalars included."""
    torch.save(
        {
            "state_dict": {prefix + name: value for name, value in state.items()},
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
            "scheduler": {"milestones": {30: 1}, "last_epoch": 37},
            "step": np.int64(12345),
            "epoch": 37,
            "score_status": {"best": np.float64(5.3), "mean": np.float32(5.5)},
        },
        path,
    )
    return path


def write_template(folder: Path) -> Path:
    """A folder like the published one, with the old spelling of SciPy's and NumPy's modules."""
    arrays = parity.case("reference_topology")
    up, down = [], []
    for k in range(4):
        shape = len(arrays[f"vertices_{k}"]), len(arrays[f"vertices_{k + 1}"])
        index = arrays[f"up_{k}_row"], arrays[f"up_{k}_col"]
        up.append(scipy.sparse.csc_matrix((arrays[f"up_{k}_val"], index), shape=shape))
        kept = arrays[f"down_{k}_index"]
        ones = np.ones(len(kept), np.float32)
        down.append(scipy.sparse.csc_matrix((ones, (np.arange(len(kept)), kept)), shape=shape[::-1]))
    content = {
        "vertices": [arrays[f"vertices_{k}"] for k in range(5)],
        "face": [arrays[f"faces_{k}"] for k in range(5)],
        "adj": [scipy.sparse.csc_matrix((len(arrays["vertices_4"]),) * 2, dtype=np.float32)],
        "up_transform": up,
        "down_transform": down,
    }
    folder.mkdir()
    text = pickle.dumps(content, 2).replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n")
    (folder / "transform.pkl").write_bytes(text.replace(b"cnumpy._core.", b"cnumpy.core."))
    return folder
