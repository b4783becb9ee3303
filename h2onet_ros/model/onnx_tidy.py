"""After the exporter: names of the state dict, shared constants, weights stored in half precision."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

HALF_ERROR = 1e-3
"""Weights whose root-mean-square error as float16 would exceed this fraction stay float32."""


def tidy(
    model: onnx.ModelProto, network: nn.Module, precision: Literal["float16", "float32"]
) -> onnx.ModelProto:
    """A self-contained network fit for a bundle: named, without duplicates, checked.

    Args:
        model: as exported, with the parameters of `network` under their names after "network.".
        network: source of the names.
        precision: how weight matrices are stored; every computation stays in float32.
    """
    parameters = set(network.state_dict())
    _constants_to_initializers(model)
    renamed = {}
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("network.")
        if name in parameters:
            renamed[tensor.name] = tensor.name = name
    _rename_inputs(model, renamed)
    _share_equal_constants(model, parameters)
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


def _share_equal_constants(model: onnx.ModelProto, parameters: set[str]) -> None:
    """Spirals appear once per use. Parameters stay apart even where they are equal."""
    first: dict[tuple, str] = {}
    renamed, kept = {}, []
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        key = (array.dtype.str, array.shape, array.tobytes())
        if tensor.name not in parameters and key in first:
            renamed[tensor.name] = first[key]
            continue
        if tensor.name not in parameters:
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
    """Store matrices and kernels as float16, followed by a Cast to float32 that engines fold at load.

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
