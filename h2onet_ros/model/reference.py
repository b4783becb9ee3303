"""Published H2ONet checkpoints: state-dict names to ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

UNUSED = ("backbone.dense_stack1.senet3.",)
"""Entries the published checkpoints carry but the published network never applies."""

FIFTH_HEAD = "decoder3d.occ_pred.finger_cls_layer."
FIFTH_HEAD_IN_LIST = "decoder3d.occ_pred.finger_cls_layer_list.4."
SPACE_TO_DEPTH_WEIGHT = "backbone.thrink.0.weight"


def convert_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict with our names and shapes.

    The joint regressor is dropped (it belongs to the topology), entries that are never applied too. The fifth
    finger's head is stored under two names, of which the one outside the list counts.

    Args:
        state: names to tensors, with or without the `module.` prefix of multi-GPU training.
    """
    names = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    converted = {
        name: tensor
        for name, tensor in names.items()
        if name != "mano_joint_reg" and not name.startswith((*UNUSED, FIFTH_HEAD))
    }
    for name, tensor in names.items():
        if name.startswith(FIFTH_HEAD):
            converted[FIFTH_HEAD_IN_LIST + name.removeprefix(FIFTH_HEAD)] = tensor
    weight = converted.get(SPACE_TO_DEPTH_WEIGHT)
    if weight is not None and weight.ndim == 4 and weight.shape[2:] == (1, 1) and weight.shape[1] % 4 == 0:
        # Space-to-depth orders its channels (input channel, row parity, column parity), like a 2 x 2 kernel.
        converted[SPACE_TO_DEPTH_WEIGHT] = weight.reshape(weight.shape[0], weight.shape[1] // 4, 2, 2)
    return converted
