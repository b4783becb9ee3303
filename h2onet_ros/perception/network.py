"""Opens the small ONNX networks that perception carries with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnxruntime


class NetworkError(RuntimeError):
    """A network's file is missing, broken or of another kind."""


def load_network(
    path: Path,
    inputs: Mapping[str, tuple[int | None, ...]],
    outputs: tuple[str, ...],
    threads: int = 1,
) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU for the network at `path`.

    Args:
        path: an ONNX file.
        inputs: name and shape of each input it must have; None stands for a free length.
        outputs: names of the outputs it must have, in order.
        threads: of the network. Idle threads sleep instead of spinning: cameras leave long gaps.

    Raises:
        NetworkError: the file is missing, cannot be read or has other inputs or outputs.
    """
    if not path.is_file():
        raise NetworkError(
            f"expected a network at {path}, there is none; reinstall h2onet_ros or give another path"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own unrelated types
        raise NetworkError(f"cannot read the network {path}: {error}") from error
    found = {i.name: i.shape for i in session.get_inputs()}
    matches = found.keys() == inputs.keys() and all(
        len(found[name]) == len(shape) and all(w is None or w == h for w, h in zip(shape, found[name]))
        for name, shape in inputs.items()
    )
    names = tuple(o.name for o in session.get_outputs())
    if not matches or names != outputs:
        raise NetworkError(
            f"{path} is another network: expected inputs {inputs} and outputs {outputs}, found {found} and "
            f"{names}"
        )
    return session
