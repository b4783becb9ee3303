"""The network: depth-wise separable convolutions with residuals, as small as the task allows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_SIZE = 64
_STAGES = ((32, 2, 1), (48, 2, 2), (80, 2, 3), (112, 1, 2))
"""(channels, stride, blocks) after the stem."""


class HandCheckNetwork(nn.Module):
    """`(B, 3, 64, 64)` RGB in [0, 1] to logits `(B, 3)` and joints `(B, 21, 2)` in [-1, 1] of the crop.

    The logits: a hand is here; its palm faces the camera; wrist, index and little knuckle run clockwise in
    the picture. A palm is a right hand's if they run anticlockwise, a back if they run clockwise. Asked like
    that the two are learned quickly; "right or left" itself is as hard to learn as exclusive-or. The joints
    are not exported: they teach the features where the thumb is.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, 24, 3, stride=2)]
        channels = 24
        for width, stride, blocks in _STAGES:
            for block in range(blocks):
                layers.append(_Separable(channels, width, stride if block == 0 else 1))
                channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, 3)
        self.joints = nn.Linear(channels * 4, 42)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(image - 0.5)
        quarters = nn.functional.avg_pool2d(features, features.shape[-1] // 2).flatten(1)
        return self.head(features.mean((2, 3))), self.joints(quarters).unflatten(1, (21, 2))


def right_probability(logits: Tensor) -> Tensor:
    """Probability `(B,)` of a right hand: a palm and anticlockwise, or a back and clockwise."""
    palm, clockwise = torch.sigmoid(logits[:, 1]), torch.sigmoid(logits[:, 2])
    return palm * (1 - clockwise) + (1 - palm) * clockwise


class Probabilities(nn.Module):
    """The network as it is exported: `image` to `presence (B,)` and `right (B,)`."""

    def __init__(self, network: HandCheckNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits, _ = self.network(image)
        return torch.sigmoid(logits[:, 0]), right_probability(logits)


class _Separable(nn.Module):
    """Widen (1x1), look around (depth-wise 3x3), narrow (1x1); residual where shapes agree."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        inner = 2 * channels
        self.layers = nn.Sequential(
            _convolution(channels, inner, 1),
            _convolution(inner, inner, 3, stride, groups=inner),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.residual = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def _convolution(channels: int, width: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
