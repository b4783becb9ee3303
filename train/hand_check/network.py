"""The network: depth-wise separable convolutions with residuals, as small as the task allows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INPUT_SIZE = 64
_STAGES = ((32, 2, 1), (48, 2, 2), (80, 2, 3), (112, 1, 2))
"""(channels, stride, blocks) after the stem."""


class HandCheckNetwork(nn.Module):
    """`(B, 3, 64, 64)` RGB in [0, 1] to logits `(B, 2)`: a hand is here, and it is a right one."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, 24, 3, stride=2)]
        channels = 24
        for width, stride, blocks in _STAGES:
            for block in range(blocks):
                layers.append(_Separable(channels, width, stride if block == 0 else 1))
                channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(channels, 2))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image - 0.5).mean((2, 3)))


class Probabilities(nn.Module):
    """The network as it is exported: `image` to `presence (B,)` and `right (B,)`."""

    def __init__(self, network: HandCheckNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = torch.sigmoid(self.network(image))
        return probabilities[:, 0], probabilities[:, 1]


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
