"""Checkpoints: a safetensors file of plain tensors with a description, replaced only by a complete one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig

CHECKPOINT = "checkpoint.safetensors"
"""The last state of a run: weights, their average, the optimiser."""

BEST = "best.safetensors"
"""The averaged weights that validated best."""

TOPOLOGY = "topology.npz"
CONFIG = "config.yaml"


class TrainingError(RuntimeError):
    """A run cannot go on: wrong checkpoint, no place for it, or losses that are not finite."""


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], description: dict[str, Any]) -> None:
    """Write a checkpoint beside the old one and put it in its place when it is complete and on the disk.

    Raises:
        TrainingError: it cannot be written (the disk is full, say), or holds NaN; the old one stays.
    """
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise TrainingError(
            f"{', '.join(broken[:3])} hold NaN or infinity: not saved, {_old_one(path)}. Repeat the "
            "command to go on from it, with a lower learning rate or a warm-up"
        )
    partial = path.with_name(f"{path.name}.partial")
    contiguous = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    try:
        save_file(contiguous, partial, {"description": json.dumps(description)})
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        size = sum(value.nbytes for value in contiguous.values()) / 1e6
        raise TrainingError(
            f"cannot write {path} ({error}); it needs {size:.0f} MB. Nothing else was touched, "
            f"{_old_one(path)}. Make room and repeat the command"
        ) from error


def read_description(path: str | Path) -> dict[str, Any]:
    """The description of a checkpoint, without its tensors.

    Raises:
        TrainingError: the file is missing, damaged or no checkpoint.
    """
    try:
        with safe_open(path, "pt") as stream:
            return json.loads((stream.metadata() or {})["description"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is not a checkpoint of this program ({error})") from error


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of a checkpoint.

    Raises:
        TrainingError: the file is missing, damaged or no checkpoint.
    """
    description = read_description(path)
    try:
        with safe_open(path, "pt") as stream:
            return description, {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} is not a checkpoint of this program ({error})") from error


def load_network(folder: str | Path) -> tuple[H2ONet, dict[str, Any]]:
    """The network of a run with its averaged weights, and the checkpoint's description.

    Args:
        folder: of the run (its last checkpoint), or one of its checkpoint files.

    Raises:
        TrainingError: no checkpoint there, or a damaged one.
    """
    path = Path(folder)
    path = path if path.is_file() else path / CHECKPOINT
    description, tensors = read_checkpoint(path)
    try:
        topology = HandTopology.load(path.parent / TOPOLOGY)
    except OSError as error:
        raise TrainingError(f"{path.parent} lacks {TOPOLOGY}, which a run writes at its start") from error
    network = H2ONet(H2ONetConfig(**description["network"]), topology)
    network.load_state_dict(part(tensors, "average."))
    return network.eval(), description


def best_checkpoint(folder: Path) -> Path:
    """The file of a run that validated best, or its last one where nothing was validated."""
    return folder / BEST if (folder / BEST).exists() else folder / CHECKPOINT


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _old_one(path: Path) -> str:
    if not path.exists():
        return "there was no older checkpoint"
    return f"the checkpoint of step {read_description(path)['step']} is still there"
