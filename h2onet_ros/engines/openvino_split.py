"""A network cut in two where metres begin, so that what comes before may be computed coarsely.

OpenVINO has one precision per compiled network. Fusion's large layers bear bfloat16; adding offsets to
vertices and rotating them do not: of a decimetre, bfloat16 keeps half a millimetre.
"""

from __future__ import annotations

import openvino
from openvino import opset8

MOVING = ("Gather", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operations that only move numbers; they go with what reads them, which keeps the cut narrow."""


def split_before_last_layers(model: openvino.Model) -> tuple[openvino.Model, openvino.Model]:
    """The model up to what its last layers with weights read, and the rest.

    Args:
        model: of static shapes; it is used up.

    Returns:
        (first, rest): the outputs of the first are inputs "part0", "part1"... of the rest. Beside them, each
        has those inputs of the model that it needs.
    """
    cuts = _cuts(model)
    first = openvino.Model([opset8.result(cut) for cut in cuts], model.get_parameters()).clone()
    parts = []
    for number, cut in enumerate(cuts):
        name = f"part{number}"
        part = opset8.parameter(cut.partial_shape, cut.element_type, name=name)
        part.output(0).get_tensor().set_names({name})
        for reader in cut.get_target_inputs():
            if reader.get_node().get_type_name() != "Result":
                reader.replace_source_output(part.output(0))
        parts.append(part)
    rest = openvino.Model(model.get_results(), [*model.get_parameters(), *parts])
    return _without_unused_inputs(first), _without_unused_inputs(rest)


def _cuts(model: openvino.Model) -> list[openvino.Output]:
    """What the last layers with weights read, going back from the results."""
    cuts: dict[str, openvino.Output] = {}
    seen = set()
    waiting = [result.input_value(0) for result in model.get_results()]
    while waiting:
        node = waiting.pop().get_node()
        if node.get_friendly_name() in seen:
            continue
        seen.add(node.get_friendly_name())
        read = _read_by_layer(node)
        if read is None:
            waiting += [node.input_value(i) for i in range(node.get_input_size())]
            continue
        while read.get_node().get_type_name() in MOVING:
            read = read.get_node().input_value(0)
        cuts[read.get_node().get_friendly_name()] = read
    return [cuts[name] for name in sorted(cuts)]


def _read_by_layer(node: openvino.Node) -> openvino.Output | None:
    """The activations that a layer multiplies by weights from the right; None where this is no such layer."""
    if node.get_type_name() != "MatMul" or not _is_constant(node.input_value(1).get_node()):
        return None
    return node.input_value(0)


def _is_constant(node: openvino.Node) -> bool:
    while node.get_type_name() in ("Convert", *MOVING):
        node = node.input_value(0).get_node()
    return node.get_type_name() == "Constant"


def _without_unused_inputs(model: openvino.Model) -> openvino.Model:
    # Only what results depend on counts: the halves still share nodes.
    needed = {
        node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() != "Parameter"
    }
    used = [
        parameter
        for parameter in model.get_parameters()
        if any(
            reader.get_node().get_friendly_name() in needed
            for reader in parameter.output(0).get_target_inputs()
        )
    ]
    return openvino.Model(model.get_results(), used)
