"""A network of twice the width that computes the same: training goes on with more capacity, not from nothing.

"Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor

from h2onet_ros.model import H2ONet

FIXED = {"backbone.thrink2.0.weight": "heatmaps"}
INNER = {"decoder3d.rot_reg.pre_block.0.weight": 16, "decoder3d.occ_pred.base_layer.0.weight": 4}
MIXED = {"decoder3d.occ_pred.glob_cls_layer.0.weight": (2, 5)}
"""Layers whose inputs are not one channel after the other: after channels that do not double, (channel,
position) flattened, and features (so many times the base) before (channel, palm point)."""


def widen(narrow: H2ONet, wide: H2ONet, noise: float = 0.25) -> dict[str, Tensor]:
    """Weights of `wide`, twice as wide as `narrow`, with which it computes what `narrow` does.

    Each channel becomes two equal neighbours, and who reads them gives each half of the weight. So that they
    learn different things, what one half is given more the other is given less.

    Args:
        noise: standard deviation of that difference, over the one of the layer's weights.

    Returns:
        A state dictionary for `wide`.

    Raises:
        ValueError: `wide` is not exactly twice as wide, or differs in more than its width.
    """
    own, state = wide.state_dict(), narrow.state_dict()
    if own.keys() != state.keys():
        raise ValueError("the networks differ in more than their width")
    return {name: _grown(name, value, own[name].shape, narrow, noise) for name, value in state.items()}


def _grown(name: str, value: Tensor, shape: torch.Size, narrow: H2ONet, noise: float) -> Tensor:
    if value.ndim and shape[0] == 2 * value.shape[0]:
        value = value.repeat_interleave(2, 0)
    if value.ndim > 1 and shape[1] != value.shape[1]:
        source = torch.arange(value.shape[1])
        if name in FIXED:
            fixed = getattr(narrow.config, FIXED[name])
            source = torch.cat((source[:fixed], source[fixed:].repeat_interleave(2)))
        elif name in MIXED:
            times, inner = MIXED[name]
            first = times * narrow.config.base
            source = torch.cat((source[:first].repeat_interleave(2), _pairs(source[first:], inner)))
        else:
            source = _pairs(source, INNER.get(name, 1))
        value = _shared_out(value, source, noise)
    if value.shape != shape:
        raise ValueError(f"{name}: {tuple(shape)} is not twice as wide as {tuple(value.shape)}")
    return value


def _pairs(source: Tensor, inner: int) -> Tensor:
    """Each row of `inner` positions twice."""
    return source.reshape(-1, inner).repeat_interleave(2, 0).reshape(-1)


def _shared_out(value: Tensor, source: Tensor, noise: float) -> Tensor:
    """The weights of inputs `source`; those of an input that is there twice sum up to its weight."""
    twice = torch.bincount(source, minlength=value.shape[1]) > 1
    half = torch.where(twice.reshape(1, -1, *[1] * (value.ndim - 2)), value / 2, value)
    grown = half[:, source]
    order = torch.argsort(source, stable=True)
    pairs = order[twice[source[order]]].reshape(-1, 2)
    more = noise * value.std() * torch.randn_like(grown[:, pairs[:, 0]])
    grown[:, pairs[:, 0]] += more
    grown[:, pairs[:, 1]] -= more
    return grown
