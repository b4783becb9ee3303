"""After the exporter: names of the state dict, shared constants, weights stored in half precision."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

TRANSPOSED = ".transposed"
"""Suffix of initialisers that hold a state-dict entry transposed."""

HALF_ERROR = 1e-3
"""Weights whose root-mean-square error as float16 would exceed this fraction stay float32."""


def tidy(
    model: onnx.ModelProto, network: nn.Module, precision: Literal["float16", "float32"]
) -> onnx.ModelProto:
    """A self-contained network fit for a bundle: named, without duplicates, checked.

    Args:
        model: as exported, with the parameters of `network`.
        network: source of the names.
        precision: how weight matrices are stored; every computation stays in float32.
    """
    _constants_to_initializers(model)
    _name_initializers(model, network)
    _share_equal_initializers(model)
    if precision == "float16":
        _store_half(model)
    elif precision != "float32":
        raise ValueError(f"precision must be float16 or float32, got {precision!r}")
    for node in model.graph.node:
        node.doc_string = ""
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _constants_to_initializers(model: onnx.ModelProto) -> None:
    graph = model.graph
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _name_initializers(model: onnx.ModelProto, network: nn.Module) -> None:
    """Rename to state-dict names; exporters transpose some linear layers and then invent a name."""
    state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    by_content = {
        (v.T.shape, np.ascontiguousarray(v.T).tobytes()): n for n, v in state.items() if v.ndim == 2
    }
    renamed = {}
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("network.")
        if name not in state and tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2:
            array = numpy_helper.to_array(tensor)
            origin = by_content.get((array.shape, array.tobytes()))
            name = origin + TRANSPOSED if origin else name
        if name != tensor.name:
            renamed[tensor.name] = tensor.name = name
    _rename_inputs(model, renamed)


def _share_equal_initializers(model: onnx.ModelProto) -> None:
    first: dict[tuple, str] = {}
    renamed, kept = {}, []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key in first:
            renamed[tensor.name] = first[key]
        else:
            first[key] = tensor.name
            kept.append(numpy_helper.from_array(array, tensor.name))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    _rename_inputs(model, renamed)


def _rename_inputs(model: onnx.ModelProto, renamed: dict[str, str]) -> None:
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)


def _store_half(model: onnx.ModelProto) -> None:
    """Store matrices and kernels as float16, each followed by a Cast to float32, which engines fold when
    loading.

    Vectors (biases, statistics of batch normalisation) are small and sensitive: they stay as they are.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        array = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        error = np.sqrt(np.square(half.astype(np.float64) - array).mean())
        if not error <= HALF_ERROR * np.sqrt(np.square(array, dtype=np.float64).mean()):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name))
        casts.append(
            helper.make_node("Cast", [name], [f"{name}/float32"], f"{name}/cast", to=TensorProto.FLOAT)
        )
    _rename_inputs(model, {node.input[0]: node.output[0] for node in casts})
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
