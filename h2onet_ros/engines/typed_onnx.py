"""A bundle's networks rewritten to compute in half precision, with single precision where metres need it.

Strongly typed engines (TensorRT 11 knows no others) compute every layer in the type that the ONNX file gives
it. Convolutions and fully connected layers become float16, and what lies between them follows. Sampling at
the image points, batch normalisation, rotations and the last layer before every result stay float32:
coordinates, metres and probabilities keep their digits. Inputs and outputs stay float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, defs, helper, numpy_helper

from h2onet_ros.engines.base import EngineError

EXACT_OUTPUTS = ("uv", "occlusion_logits", "vertices", "joints", "rotation", "occlusion")
HALF_INPUTS = ("crops", "vertex_features", "orientation")
"""Inputs (of any moment) that are rounded as they come in; all others are probabilities and metres."""

WEIGHTED = ("Conv", "Gemm", "MatMul")
FOLLOWING = (
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "Gather", "GlobalAveragePool", "MatMul", "Mul"),
    *("Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
)
"""Operators that compute in float16 where one of their inputs is float16."""

HALF_MAX = float(np.finfo(np.float16).max)


def half_precision(network: str | Path) -> bytes:
    """The network of an ONNX file, typed float16 with float32 islands; serialised ONNX.

    Raises:
        EngineError: the file is no network.
    """
    model = simplified(network)
    _Typing(model).apply()
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:  # pragma: no cover - a defect of this module
        raise EngineError(f"{network} cannot be written in half precision: {error}") from error
    return model.SerializeToString()


def simplified(network: str | Path) -> onnx.ModelProto:
    """The network with its constants computed and batch normalisations folded into the convolutions.

    ONNX Runtime's basic optimisations do it; they keep to standard operators.

    Raises:
        EngineError: ONNX Runtime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="h2onet_") as folder:
        path = Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own that share no base but Exception
            raise EngineError(f"cannot parse {network}: {error}; export the weights again") from error
        model = onnx.load(path)
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used or opset.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def exact_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of a simplified network that keep float32.

    Back from the exact outputs, and from the coordinates of sampling, as far as the first layer with weights.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    waiting = [value.name for value in model.graph.output if value.name in EXACT_OUTPUTS]
    waiting += [node.input[1] for node in model.graph.node if node.op_type == "GridSample"]
    exact: dict[str, onnx.NodeProto] = {}
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.output[0] in exact:
            continue
        exact[node.output[0]] = node
        if not _has_weights(node, constants):
            waiting += node.input
    return list(exact.values())


def _has_weights(node: onnx.NodeProto, constants: Container[str]) -> bool:
    return node.op_type in WEIGHTED and any(name in constants for name in node.input[:2])


class _Typing:
    """Gives each tensor of a simplified network its type, and casts where two types meet."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.half: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []
        self.casts: dict[tuple[str, bool], str] = {}

    def apply(self) -> None:
        # By a tensor's name: Python's objects for a model's nodes come and go.
        exact = {node.output[0] for node in exact_nodes(self.model)}
        floats = self._float_tensors()
        for value in self.graph.input:
            if value.name.split("_", 1)[-1] in HALF_INPUTS or value.name in HALF_INPUTS:
                self._cast(value.name, to_half=True)
        outputs = {value.name for value in self.graph.output}
        for node in self.graph.node:
            half = node.output[0] not in exact and self._wants_half(node)
            for i in self._typed_inputs(node):
                if node.input[i] and node.input[i] in floats:
                    node.input[i] = self._as(node.input[i], half)
            self.nodes.append(node)
            if half:
                for i, name in enumerate(node.output):
                    if name not in floats:
                        continue
                    self.half.add(name)
                    if name in outputs:
                        # The result keeps its name and is float32; what follows inside reads the half.
                        inner = node.output[i] = f"{name}/half"
                        self.half.remove(name)
                        self.half.add(inner)
                        self.casts[name, True] = inner
                        self.nodes.append(_cast_node(inner, name, half=False))
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        del self.graph.value_info[:]
        self._drop_unused_constants()

    def _wants_half(self, node: onnx.NodeProto) -> bool:
        constants = [self.constants[name] for name in node.input if name in self.constants]
        if not all(_fits_half(tensor) for tensor in constants):
            return False
        if _has_weights(node, self.constants):
            return True
        inputs = [node.input[i] for i in self._typed_inputs(node)]
        return node.op_type in FOLLOWING and any(
            name in self.half or (name, True) in self.casts for name in inputs if name not in self.constants
        )

    def _typed_inputs(self, node: onnx.NodeProto) -> list[int]:
        """Positions of the inputs that share the type of the first output."""
        schema = defs.get_schema(node.op_type, self.opset, node.domain)
        formal, shared = schema.inputs, schema.outputs[0].type_str
        return [i for i in range(len(node.input)) if formal[min(i, len(formal) - 1)].type_str == shared]

    def _float_tensors(self) -> set[str]:
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        names = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
        return names | {t.name for t in self.graph.initializer if t.data_type == TensorProto.FLOAT}

    def _as(self, name: str, half: bool) -> str:
        """The tensor in the wanted type, under whatever name."""
        if name in self.constants:
            return self._half_constant(name) if half else name
        return name if (name in self.half) == half else self._cast(name, half)

    def _cast(self, name: str, to_half: bool) -> str:
        if (name, to_half) not in self.casts:
            made = f"{name}/{'half' if to_half else 'single'}"
            self.nodes.append(_cast_node(name, made, to_half))
            self.casts[name, to_half] = made
            if to_half:
                self.half.add(made)
        return self.casts[name, to_half]

    def _half_constant(self, name: str) -> str:
        if (name, True) not in self.casts:
            array = numpy_helper.to_array(self.constants[name]).astype(np.float16)
            tensor = numpy_helper.from_array(array, f"{name}/half")
            self.graph.initializer.append(tensor)
            self.casts[name, True] = tensor.name
        return self.casts[name, True]

    def _drop_unused_constants(self) -> None:
        used = set(_flat(node.input for node in self.graph.node))
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def _cast_node(source: str, target: str, half: bool) -> onnx.NodeProto:
    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return helper.make_node("Cast", [source], [target], name=f"{target}/cast", to=to)


def _fits_half(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT:
        return True
    array = numpy_helper.to_array(tensor)
    return array.size == 0 or float(np.abs(array).max()) <= HALF_MAX


def _flat(parts: Iterable[Iterable[str]]) -> list[str]:
    return [name for part in parts for name in part]
