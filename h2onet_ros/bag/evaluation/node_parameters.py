"""The node's parameter files (`ros2 param dump`, `--params-file`), as settings of an evaluation."""

from __future__ import annotations

import fnmatch
from dataclasses import fields
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.settings import NODE_PARAMETERS, EvaluationSettings

_EXPECTED = (
    "Expected a parameter file of ROS 2: /hand_mesh_node (or /**), below it ros__parameters, below it names."
)


def read_parameters(path: Path, node: str = "hand_mesh_node") -> dict[str, Any]:
    """The settings that a parameter file gives the node; those that concern no evaluation are left out.

    Raises:
        BagError: for a file that cannot be read, is no parameter file, or has values of the wrong type.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BagError(f"Cannot read the parameters {path}: {reason}. {_EXPECTED}") from error
    found: dict[str, Any] = {}
    is_parameter_file = False
    for name, entry in (content if isinstance(content, dict) else {}).items():
        values = entry.get("ros__parameters") if isinstance(entry, dict) else None
        if not isinstance(values, dict):
            continue
        is_parameter_file = True
        if fnmatch.fnmatch(f"/{node}", name if str(name).startswith("/") else f"/{name}"):
            found |= {key: value for key, value in values.items() if key in NODE_PARAMETERS}
    if not is_parameter_file:
        raise BagError(f"{path} holds no parameters. {_EXPECTED}")
    return {name: _checked(name, value, path) for name, value in found.items() if not _is_unset(name, value)}


def _is_unset(name: str, value: Any) -> bool:
    """Whether the node takes the value for its own choice."""
    return (name == "weights" and value == "") or (name == "hand_length" and value == 0)


def _checked(name: str, value: Any, path: Path) -> Any:
    kind = {one.name: str(one.type).split(" ")[0] for one in fields(EvaluationSettings)}[name]
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value).__name__ != kind:
        raise BagError(f"The parameter {name} in {path}: expected a value of type {kind}, got {value!r}.")
    return value
