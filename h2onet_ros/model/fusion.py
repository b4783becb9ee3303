"""Multi-frame parts: finger occlusion, and fusion of three frames finger by finger and as a whole hand."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from .config import H2ONetConfig
from .decoder import SpiralConv

FINGERS = 5

# Rows of the 21 points that each head reads. The published weights were trained with rows in MANO's native
# joint order although the points come in the standard order, so "thumb" really reads points of the ring and
# little finger. The weights depend on it; for new weights it is as good as any other choice of points.
FINGER_POINTS = ((13, 14, 15, 16), (1, 2, 3, 17), (4, 5, 6, 18), (10, 11, 12, 19), (7, 8, 9, 20))
PALM_POINTS = (0, 1, 4, 10, 7)


def _conv_mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin, cout in pairwise(sizes):
        layers += [nn.Conv1d(cin, cout, 1), nn.BatchNorm1d(cout), nn.ReLU()]
    return nn.Sequential(*layers)


def _norm_mlp(*sizes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for cin, cout in pairwise(sizes):
        layers += [nn.Linear(cin, cout), nn.BatchNorm1d(cout), nn.ReLU()]
    return layers


class OcclusionClassifier(nn.Module):
    """Point features to the logits of six questions: is this finger, or the whole hand, occluded?"""

    finger_points: Tensor
    palm_points: Tensor

    def __init__(self, config: H2ONetConfig) -> None:
        super().__init__()
        c = config.base
        self.channels = c // 2
        self.pre_layer = _conv_mlp(2 * c, c, self.channels)
        self.base_layer = nn.Sequential(*_norm_mlp(FINGERS * 4 * self.channels, 4 * c, 2 * c))
        self.finger_cls_layer_list = nn.ModuleList(
            nn.Sequential(*_norm_mlp(2 * c, c, c // 2), nn.Linear(c // 2, 2)) for _ in range(FINGERS)
        )
        palm = len(PALM_POINTS) * self.channels
        self.glob_cls_layer = nn.Sequential(*_norm_mlp(2 * c + palm, 2 * c, c), nn.Linear(c, 2))
        self.register_buffer("finger_points", torch.tensor(FINGER_POINTS).reshape(-1), persistent=False)
        self.register_buffer("palm_points", torch.tensor(PALM_POINTS), persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """Logits (B, 2, 6) from point features (B, 21, C): class 0 visible, 1 occluded."""
        # The shared layer works on each point alone, so it runs once on the 21 points. Each index set is
        # then taken from its result. In training this differs from a run per set in the weight of repeated
        # points in the batch statistics alone.
        x = self.pre_layer(points.transpose(1, 2))
        fingers = x.index_select(2, self.finger_points).reshape(-1, self.channels, FINGERS, 4)
        finger_feature = self.base_layer(fingers.transpose(1, 2).flatten(1))
        palm = x.index_select(2, self.palm_points).flatten(1)
        logits = [head(finger_feature) for head in self.finger_cls_layer_list]
        logits.append(self.glob_cls_layer(torch.cat((finger_feature, palm), 1)))
        return torch.stack(logits, 2)


class FingerFusion(nn.Module):
    """Offset of the current frame's vertices from features of three frames, weighted by finger visibility.

    Args:
        spirals: (V, K) of the finest mesh.
        vertex_part: (V,) part of each vertex: 0..4 thumb to little finger, 5 palm.
    """

    vertex_part: Tensor

    def __init__(self, config: H2ONetConfig, spirals: np.ndarray, vertex_part: np.ndarray) -> None:
        super().__init__()
        c = config.vertex_features
        # Named as in the published weights, which count the ReLUs.
        self.block = nn.Sequential(
            OrderedDict(
                {
                    "0": SpiralConv(2 * c, 2 * c, spirals, relu=True),
                    "2": SpiralConv(2 * c, c, spirals, relu=True),
                    "4": SpiralConv(c, c, spirals, relu=True),
                }
            )
        )
        self.head = SpiralConv(c, 3, spirals)
        self.register_buffer(
            "vertex_part", torch.as_tensor(np.asarray(vertex_part), dtype=torch.int64), persistent=False
        )

    def frame_weights(self, logits: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """How much each frame counts at each vertex, (3, B, V, 1), from the frames' logits (B, 2, 6).

        Softmax over the frames of the probability that the vertex's finger is visible (1 on the palm).
        """
        stacked = torch.stack(logits).detach().float()
        visible = torch.sigmoid(stacked[:, :, 0] - stacked[:, :, 1])
        visible = torch.cat((visible[..., :FINGERS], torch.ones_like(visible[..., :1])), 2)
        return torch.softmax(visible, 0).index_select(2, self.vertex_part)[..., None]

    def features(
        self, logits: tuple[Tensor, Tensor, Tensor], features: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Mesh features (B, V, C) for the offset head, from each frame's logits and features (B, V, C)."""
        weights = self.frame_weights(logits)
        now, short, long = features
        fused = weights[0] * now + weights[1] * short + weights[2] * long
        return self.block(torch.cat((fused.to(now.dtype), now), 2))


def choose_unoccluded(
    logits: tuple[Tensor, Tensor, Tensor], features: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Hand-level choice: the first frame, from now backwards, with a finger in sight, else the current one.

    Args:
        logits: (B, 2, 6) per frame. A frame counts as occluded when all five fingers do; the whole-hand
            column is not used.
        features: (B, D) per frame.

    Returns:
        (B, D), rows of `features`.
    """
    fingers = torch.stack(logits)[..., :FINGERS]
    hidden = (fingers[:, :, 1] > fingers[:, :, 0]).all(2, keepdim=True)
    now, short, long = features
    past = torch.where(hidden[1], torch.where(hidden[2], now, long), short)
    return torch.where(hidden[0], past, now)
