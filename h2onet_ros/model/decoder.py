"""Image features to mesh features and canonical vertices: spiral convolutions on a fixed mesh hierarchy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from h2onet_ros.hand.topology import HandTopology

from .blocks import pointwise
from .config import JOINTS, H2ONetConfig

LIFT_RADIUS = 0.015
"""Metres; about half a finger segment."""


def _lift_from_template(topology: HandTopology) -> np.ndarray:
    """Start value (V_coarsest, 21) of the lift from joints to the coarsest mesh: near joints weigh more."""
    coarsest = topology.template
    for kept in topology.hierarchy.kept:
        coarsest = coarsest[kept]
    joints = topology.joint_regressor @ topology.template
    squared = np.square(coarsest[:, None] - joints[None]).sum(-1)
    weights = np.exp(-squared / (2 * LIFT_RADIUS**2)) + 1e-3
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


class SpiralConv(nn.Module):
    """Linear layer on the concatenated features of each vertex's spiral (SpiralNet++, ICCVW 2019).

    Args:
        spirals: (V, K) vertex indices.
        relu: whether a ReLU follows.
    """

    indices: Tensor

    def __init__(self, cin: int, cout: int, spirals: np.ndarray, relu: bool = False) -> None:
        super().__init__()
        self.relu = relu
        self.vertices, self.length = spirals.shape
        self.channels = cin * self.length
        self.register_buffer(
            "indices",
            torch.as_tensor(np.ascontiguousarray(spirals).reshape(-1), dtype=torch.int64),
            persistent=False,
        )
        self.layer = nn.Linear(self.channels, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V, cin) to (B, V, cout)."""
        # All vertices of the batch as the rows of one matrix: engines then fuse product, bias and ReLU.
        rows = self.layer(x.index_select(1, self.indices).reshape(-1, self.channels))
        return (F.relu(rows) if self.relu else rows).reshape(-1, self.vertices, self.layer.out_features)


class SpiralDeblock(nn.Module):
    """Up-sampling to the next finer mesh by a constant matrix, spiral convolution, ReLU."""

    matrix: Tensor

    def __init__(self, cin: int, cout: int, spirals: np.ndarray, upsample: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.as_tensor(upsample, dtype=torch.float32), persistent=False)
        self.conv = SpiralConv(cin, cout, spirals, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, V_coarse, cin) to (B, V_fine, cout)."""
        return self.conv(torch.matmul(self.matrix, x))


class MeshDecoder(nn.Module):
    """Samples the latent map at the image points, lifts the points to the coarsest mesh and refines it.

    Args:
        topology: mesh hierarchy, template and joint regressor.
    """

    def __init__(self, config: H2ONetConfig, topology: HandTopology) -> None:
        super().__init__()
        channels = config.mesh_channels
        levels = len(channels) - 1
        spirals, upsample = topology.hierarchy.spirals, topology.hierarchy.upsample
        if len(upsample) != levels:
            raise ValueError(f"the decoder needs a mesh hierarchy of {levels} halvings, got {len(upsample)}")
        self.de_layer_conv = pointwise(config.latent, channels[0])
        self.upsample = nn.Parameter(torch.as_tensor(_lift_from_template(topology)))
        self.de_layer = nn.ModuleList(
            SpiralDeblock(cin, cout, spirals[level], upsample[level])
            for level, cin, cout in zip(reversed(range(levels)), channels[:-1], channels[1:], strict=True)
        )
        self.head = SpiralConv(channels[-1], 3, spirals[0])

    def sample_points(self, latent: Tensor, uv: Tensor) -> Tensor:
        """Features (B, 21, C) of the latent map (B, C', 4, 4) at the image points (B, 21, 2)."""
        features = self.de_layer_conv(latent).float()
        grid = ((uv.float() - 0.5) * 2.0).clamp(-1.0, 1.0)
        sampled = F.grid_sample(
            features, grid[:, :, None], mode="bilinear", padding_mode="zeros", align_corners=True
        )
        return sampled[..., 0].transpose(1, 2)

    def refine(self, points: Tensor) -> Tensor:
        """Finest mesh features (B, V, C) from the point features (B, 21, C')."""
        x = self._first_level(points)
        for block in list(self.de_layer)[1:]:
            x = block(x)
        return x

    def _first_level(self, points: Tensor) -> Tensor:
        """Lift (B, 21, C) to the coarsest mesh, up-sample and apply the first spiral convolution.

        All three are linear, so the weights are applied to the 21 points, before they become many vertices: a
        third of the work.
        """
        block = self.de_layer[0]
        assert isinstance(block, SpiralDeblock)
        conv, cout = block.conv, block.conv.layer.out_features
        weight = conv.layer.weight.reshape(cout, conv.length, -1).permute(2, 1, 0).flatten(1)
        weighted = torch.matmul(points, weight).reshape(-1, JOINTS * conv.length, cout)
        lift = torch.matmul(block.matrix, self.upsample).index_select(0, conv.indices)
        lift = lift.reshape(conv.vertices, conv.length, JOINTS).transpose(1, 2).flatten(1)
        return F.relu(torch.matmul(lift, weighted) + conv.layer.bias)
