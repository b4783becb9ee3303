"""Image to features: stem, encoder-decoder stacks, image points, and the detached orientation stack."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import (
    DenseBlock,
    DenseBlockNoExpand,
    MobileUnit,
    SqueezeExcite,
    conv_bn_relu,
    full_precision,
    linear_layer,
    pointwise,
)
from .config import JOINTS, H2ONetConfig


class BackboneFeatures(NamedTuple):
    """What the backbone reads from one crop.

    Attributes:
        latent: (B, 2c, 4, 4) feature map sampled at the image points (c = `config.base`, 128 when published).
        joint_feature: (B, 8c, 4, 4) deepest features of the pose stack.
        rotation_feature: (B, 8c, 4, 4) deepest features of the orientation stack.
        uv: (B, 21, 2) image points, 0..1 across the crop.
    """

    latent: Tensor
    joint_feature: Tensor
    rotation_feature: Tensor
    uv: Tensor


class StackEncoder(nn.Module):
    """32 x 32 to 4 x 4 in three dense blocks, each halving the size by average pooling.

    Args:
        deep: two more dense blocks at 4 x 4, and attention on the third block. The first stack has neither.
    """

    def __init__(self, channels: int, deep: bool) -> None:
        super().__init__()
        self.deep = deep
        self.dense1 = DenseBlock(channels, channels // 2, 2)
        self.senet1 = SqueezeExcite(2 * channels)
        self.dense2 = DenseBlock(2 * channels, channels // 2, 4)
        self.senet2 = SqueezeExcite(4 * channels)
        self.dense3 = DenseBlock(4 * channels, channels, 4)
        if deep:
            self.senet3 = SqueezeExcite(8 * channels)
            self.dense4 = DenseBlockNoExpand(8 * channels)
            self.dense5 = DenseBlockNoExpand(8 * channels)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at 16 x 16, 8 x 8 and 4 x 4."""
        # Attention scales whole channels by functions of their means: it may as well follow the pooling, on a
        # quarter of the values, although the paper has it before.
        d1 = self.senet1(F.avg_pool2d(self.dense1(x), 2))
        d2 = self.senet2(F.avg_pool2d(self.dense2(d1), 2))
        d3 = F.avg_pool2d(self.dense3(d2), 2)
        if not self.deep:
            return d1, d2, d3
        return d1, d2, self.dense5(self.dense4(self.senet3(d3)))


class DenseStack(StackEncoder):
    """Encoder and decoder with skip connections: 32 x 32 in, `out_channels` x 16 x 16 out."""

    def __init__(self, channels: int, out_channels: int, deep: bool) -> None:
        super().__init__(channels, deep)
        c = channels
        self.thrink1 = nn.Sequential(MobileUnit(8 * c, 4 * c), MobileUnit(4 * c, 4 * c, depthwise=2))
        self.senet4 = SqueezeExcite(4 * c)
        self.thrink2 = nn.Sequential(MobileUnit(4 * c, 2 * c), MobileUnit(2 * c, 2 * c, depthwise=2))
        self.senet5 = SqueezeExcite(2 * c)
        self.thrink3 = nn.Sequential(MobileUnit(2 * c, 2 * c), MobileUnit(2 * c, out_channels, depthwise=2))
        self.senet6 = SqueezeExcite(out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The decoded map (B, out_channels, 16, 16) and the deepest features (B, 8c, 4, 4)."""
        d1, d2, deepest = self.encode(x)
        u = F.interpolate(self.senet4(self.thrink1(deepest)), scale_factor=2.0, mode="nearest") + d2
        u = F.interpolate(self.senet5(self.thrink2(u)), scale_factor=2.0, mode="nearest") + d1
        return self.senet6(self.thrink3(u)), deepest


class IntegralPoints(nn.Module):
    """The mean place of each map (..., S * S) taken as a distribution (of logits): (..., 2) in 0..1."""

    from_middle: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        centres = (torch.arange(side) + 0.5) / side - 0.5
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        self.register_buffer("from_middle", torch.stack((x, y), -1).reshape(-1, 2), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        with full_precision(maps.device):
            # From the middle: engines that round coarsely then err in proportion to small numbers.
            return torch.softmax(maps.float(), -1) @ self.from_middle + 0.5


class Backbone(nn.Module):
    """Features, image points and orientation features of a batch of crops."""

    def __init__(self, config: H2ONetConfig) -> None:
        super().__init__()
        c, heat = config.base, config.heatmaps
        self.pre_layer = nn.Sequential(conv_bn_relu(3, c // 2, 3, stride=2, padding=1), MobileUnit(c // 2, c))
        # Space-to-depth by 2 followed by a 1 x 1 convolution is one 2 x 2 convolution of stride 2.
        self.thrink = conv_bn_relu(c, c, 2, stride=2)
        self.dense_stack1 = DenseStack(c, heat, deep=False)
        self.stack1_remap = conv_bn_relu(heat, heat)
        self.thrink2 = conv_bn_relu(heat + c, c)
        self.dense_stack2 = DenseStack(c, heat, deep=True)
        self.dense_stack3 = StackEncoder(c, deep=True)
        self.mid_proj = pointwise(8 * c, config.latent)
        self.reduce = pointwise(heat, JOINTS)
        # The 16 x 16 positions of a point's map, not channels, enter here: sizes do not depend on the width.
        self.uv_reg: nn.Module
        if config.image_points == "integral":
            self.uv_reg = IntegralPoints(16)
        else:
            self.uv_reg = nn.Sequential(
                linear_layer(256, 128), linear_layer(128, 64), linear_layer(64, 2, activation=False)
            )

    def forward(self, images: Tensor) -> BackboneFeatures:
        """`images`: (B, 3, 128, 128), RGB in 0..1."""
        stem = self.thrink(self.pre_layer(images))
        first, _ = self.dense_stack1(stem)
        first = F.interpolate(first, scale_factor=2.0, mode="bilinear", align_corners=True)
        x = self.thrink2(torch.cat((self.stack1_remap(first), stem), 1))
        second, joint_feature = self.dense_stack2(x)
        rotation_feature = self.dense_stack3.encode(x.detach())[2]
        uv = self.uv_reg(self.reduce(second).reshape(-1, JOINTS, 256))
        return BackboneFeatures(self.mid_proj(joint_feature), joint_feature, rotation_feature, uv)
