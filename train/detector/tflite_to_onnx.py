"""Turn a float TFLite network of convolutions into an ONNX graph in NCHW layout.

Covers what MediaPipe's palm and hand networks are made of and refuses everything else by name. Written for
this purpose because the result is then already what an inference engine wants: channels first without a
transpose between layers, constant paddings inside the convolutions, weights as the source's half floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_TFLITE_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}
_SAME = 0
_NONE, _RELU6 = 0, 3


class ConversionError(RuntimeError):
    """The TFLite file holds something this converter does not know."""


class _Converter:
    def __init__(self, data: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._model = schema.ModelT.InitFromPackedBuf(data, 0)
        if len(self._model.subgraphs) != 1:
            raise ConversionError(f"expected one subgraph, the file has {len(self._model.subgraphs)}")
        self._graph = self._model.subgraphs[0]
        self._codes = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._names: dict[int, str] = {}

    def convert(self, output_names: Sequence[str | None], batch: str | None) -> onnx.ModelProto:
        source = int(self._graph.inputs[0])
        n, h, w, c = self._shape(source)
        self._names[source] = "image"
        for operator in self._graph.operators:
            code = self._model.operatorCodes[operator.opcodeIndex]
            kind = self._codes[max(code.builtinCode, code.deprecatedBuiltinCode)]
            handler = getattr(self, f"_{kind.lower()}", None)
            if handler is None:
                raise ConversionError(f"expected layers of the palm and hand networks, found {kind}: add it")
            handler(operator, [int(i) for i in operator.inputs], int(operator.outputs[0]))
        outputs = []
        for tensor, name in zip(self._graph.outputs, output_names, strict=True):
            if name is None:
                continue
            self._node("Identity", [self._names[int(tensor)]], name)
            shape = [batch or n, *self._shape(int(tensor))[1:]]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self._drop_unused({output.name for output in outputs})
        graph = helper.make_graph(
            self._nodes,
            "converted_from_tflite",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch or n, c, h, w])],
            outputs,
            self._initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _drop_unused(self, needed: set[str]) -> None:
        kept = []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed |= set(node.input)
                kept.append(node)
        self._nodes = kept[::-1]
        self._initializers = [tensor for tensor in self._initializers if tensor.name in needed]

    # -- tensors ---------------------------------------------------------------------------------

    def _shape(self, tensor: int) -> list[int]:
        return [int(d) for d in self._graph.tensors[tensor].shape]

    def _constant(self, tensor: int) -> np.ndarray:
        """The values of a constant tensor, seen through the DEQUANTIZE that widens half floats."""
        stored = self._graph.tensors[tensor]
        buffer = self._model.buffers[stored.buffer].data
        if buffer is None:
            raise ConversionError(f"expected constant weights, tensor {stored.name!r} is computed")
        return np.frombuffer(bytes(buffer), _TFLITE_DTYPES[stored.type]).reshape(self._shape(tensor))

    def _weights(self, tensor: int) -> np.ndarray:
        for operator in self._graph.operators:
            if int(operator.outputs[0]) == tensor:
                return self._constant(int(operator.inputs[0]))
        return self._constant(tensor)

    def _add_weights(self, name: str, values: np.ndarray) -> str:
        half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values.astype(np.float32)):
            raise ConversionError(f"{name}: expected weights that are half floats, they would lose precision")
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(half), f"{name}_half"))
        self._node("Cast", [f"{name}_half"], name, to=TensorProto.FLOAT)
        return name

    def _add_constant(self, name: str, values: np.ndarray) -> str:
        self._initializers.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes))

    def _emit(self, kind: str, inputs: list[str], output: int, **attributes: Any) -> None:
        self._names[output] = f"t{output}"
        self._node(kind, inputs, self._names[output], **attributes)

    # -- layers ----------------------------------------------------------------------------------

    def _dequantize(self, operator, inputs: list[int], output: int) -> None:
        """Weights are read through it; nothing to compute."""

    def _padding(self, operator, source: int, output: int, kernel: tuple[int, int]) -> dict[str, Any]:
        options = operator.builtinOptions
        strides = [options.strideH, options.strideW]
        before, after = [], []
        for axis in (0, 1):
            size_in, size_out = self._shape(source)[1 + axis], self._shape(output)[1 + axis]
            total = max(0, (size_out - 1) * strides[axis] + kernel[axis] - size_in)
            total = total if options.padding == _SAME else 0
            # TensorFlow's SAME puts the odd pixel after.
            before.append(total // 2)
            after.append(total - total // 2)
        return {"kernel_shape": list(kernel), "strides": strides, "pads": before + after}

    def _convolution(self, operator, inputs: list[int], output: int, weight: np.ndarray, group: int) -> None:
        name = f"conv{output}"
        names = [
            self._names[inputs[0]],
            self._add_weights(f"{name}_weight", weight),
            self._add_weights(f"{name}_bias", self._weights(inputs[2])),
        ]
        geometry = self._padding(operator, inputs[0], output, (weight.shape[2], weight.shape[3]))
        activation = operator.builtinOptions.fusedActivationFunction
        if activation == _NONE:
            self._emit("Conv", names, output, group=group, **geometry)
        elif activation == _RELU6:
            self._node("Conv", names, f"{name}_linear", group=group, **geometry)
            limits = [self._add_constant(f"{name}_{v}", np.array(v, np.float32)) for v in (0, 6)]
            self._emit("Clip", [f"{name}_linear", *limits], output)
        else:
            raise ConversionError(f"expected no activation or ReLU6, found code {activation}")

    def _conv_2d(self, operator, inputs: list[int], output: int) -> None:
        self._convolution(operator, inputs, output, self._weights(inputs[1]).transpose(0, 3, 1, 2), 1)

    def _depthwise_conv_2d(self, operator, inputs: list[int], output: int) -> None:
        weight = self._weights(inputs[1]).transpose(3, 0, 1, 2)
        self._convolution(operator, inputs, output, weight, weight.shape[0])

    def _prelu(self, operator, inputs: list[int], output: int) -> None:
        """PReLU as a x + (1 - a) relu(x), both factors as 1 x 1 depth-wise convolutions.

        ONNX Runtime's PRelu takes more than half of the network's time on a CPU, and element-wise products
        would leave the blocked layout its convolutions use. Measured on one AVX-512 core: 11.1 ms with PRelu,
        5.4 ms with products, 4.7 ms this way.
        """
        slope = self._weights(inputs[1]).reshape(-1, 1, 1, 1).astype(np.float32)
        source, name = self._names[inputs[0]], f"t{output}"
        self._scale(source, np.ones_like(slope), f"{name}_copy")
        self._node("Relu", [f"{name}_copy"], f"{name}_positive")
        self._scale(f"{name}_positive", 1 - slope, f"{name}_upper")
        self._scale(source, slope, f"{name}_lower")
        self._emit("Add", [f"{name}_lower", f"{name}_upper"], output)

    def _scale(self, source: str, factors: np.ndarray, output: str) -> None:
        weight = self._add_constant(f"{output}_factor", factors)
        self._node("Conv", [source, weight], output, group=len(factors), kernel_shape=[1, 1])

    def _add(self, operator, inputs: list[int], output: int) -> None:
        self._emit("Add", [self._names[i] for i in inputs], output)

    def _mean(self, operator, inputs: list[int], output: int) -> None:
        if sorted(self._constant(inputs[1]).ravel().tolist()) != [1, 2]:
            raise ConversionError("expected a mean over rows and columns")
        self._emit("ReduceMean", [self._names[inputs[0]]], output, axes=[2, 3], keepdims=0)

    def _fully_connected(self, operator, inputs: list[int], output: int) -> None:
        if operator.builtinOptions.fusedActivationFunction != _NONE:
            raise ConversionError("expected fully connected layers without a fused activation")
        name = f"fc{output}"
        weight = self._add_weights(f"{name}_weight", self._weights(inputs[1]))
        bias = self._add_weights(f"{name}_bias", self._weights(inputs[2]))
        self._emit("Gemm", [self._names[inputs[0]], weight, bias], output, transB=1)

    def _logistic(self, operator, inputs: list[int], output: int) -> None:
        self._emit("Sigmoid", [self._names[inputs[0]]], output)

    def _max_pool_2d(self, operator, inputs: list[int], output: int) -> None:
        options = operator.builtinOptions
        kernel = (options.filterHeight, options.filterWidth)
        self._emit(
            "MaxPool", [self._names[inputs[0]]], output, **self._padding(operator, inputs[0], output, kernel)
        )

    def _pad(self, operator, inputs: list[int], output: int) -> None:
        nhwc = self._constant(inputs[1])[[0, 3, 1, 2]]
        pads = self._add_constant(f"pads{output}", nhwc.T.reshape(-1).astype(np.int64))
        self._emit("Pad", [self._names[inputs[0]], pads], output)

    def _resize_bilinear(self, operator, inputs: list[int], output: int) -> None:
        options = operator.builtinOptions
        if options.alignCorners or not options.halfPixelCenters:
            raise ConversionError("expected bilinear resizing with half-pixel centres")
        before, after = self._shape(inputs[0]), self._shape(output)
        scales = np.array([1, 1, after[1] / before[1], after[2] / before[2]], np.float32)
        names = [self._names[inputs[0]], "", self._add_constant(f"scales{output}", scales)]
        self._emit("Resize", names, output, mode="linear", coordinate_transformation_mode="half_pixel")

    def _reshape(self, operator, inputs: list[int], output: int) -> None:
        # TFLite flattens (row, column, channel): bring the channels last first.
        self._node("Transpose", [self._names[inputs[0]]], f"nhwc{output}", perm=[0, 2, 3, 1])
        shape = self._add_constant(f"shape{output}", np.array(self._shape(output), np.int64))
        self._emit("Reshape", [f"nhwc{output}", shape], output)

    def _concatenation(self, operator, inputs: list[int], output: int) -> None:
        axis = operator.builtinOptions.axis
        self._emit("Concat", [self._names[i] for i in inputs], output, axis=axis)


def convert(data: bytes, output_names: Sequence[str | None], batch: str | None = None) -> onnx.ModelProto:
    """An ONNX model with the arithmetic of the TFLite file `data`.

    The input `image` is (1, 3, H, W) float32; outputs keep TFLite's shapes, named `output_names` in order;
    those named None are dropped with all that only they need. `batch` names a free first dimension.

    Raises:
        ConversionError: the file holds a layer, option or data type this converter does not know.
    """
    return _Converter(data).convert(output_names, batch)
