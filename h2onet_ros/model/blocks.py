"""Building blocks of the backbone (H2ONet, CVPR 2023; the dense stacks follow MobRecon, CVPR 2022)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def full_precision(device: torch.device) -> AbstractContextManager:
    """Geometry in metres needs float32 even where the caller trains in bfloat16."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def conv_bn_relu(
    cin: int, cout: int, kernel: int = 1, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


def pointwise(cin: int, cout: int) -> nn.Sequential:
    """Plain 1 x 1 convolution without bias; a Sequential, so that the weight is called `0.weight`."""
    return nn.Sequential(nn.Conv2d(cin, cout, 1, bias=False))


def linear_layer(cin: int, cout: int, norm: bool = False, activation: bool = True) -> nn.Sequential:
    """Linear without bias [+ batch normalisation] [+ activation clamped to 0..4]."""
    layers: list[nn.Module] = [nn.Linear(cin, cout, bias=False)]
    if norm:
        layers.append(nn.BatchNorm1d(cout))
    if activation:
        layers.append(nn.Hardtanh(0.0, 4.0, inplace=True))
    return nn.Sequential(*layers)


class MobileUnit(nn.Module):
    """One or two depth-wise 3 x 3 convolutions, then a 1 x 1; residual where the shape allows it."""

    def __init__(self, cin: int, cout: int, depthwise: int = 1) -> None:
        super().__init__()
        self.residual = cin == cout
        self.conv3x3 = nn.Sequential(
            *(conv_bn_relu(cin, cin, 3, padding=1, groups=cin) for _ in range(depthwise))
        )
        self.conv1x1 = conv_bn_relu(cin, cout)

    def start_near_identity(self) -> None:
        """Initialise the depth-wise filters so that they pass on their input, little changed."""
        with torch.no_grad():
            for module in self.conv3x3.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.normal_(0.0, 0.15)
                    module.weight[:, :, 1, 1] += 1.0
                elif isinstance(module, nn.BatchNorm2d):
                    module.bias.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1x1(self.conv3x3(x))
        return x + out if self.residual else out


class SqueezeExcite(nn.Module):
    """Channel attention: scales each channel by a gate computed from the global averages."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        hidden = min(channels // 2, 256)
        self.fc1 = linear_layer(channels, hidden, norm=True)
        self.fc2 = linear_layer(hidden, channels, norm=True, activation=False)

    def start_even(self) -> None:
        """Initialise all gates nearly alike, whatever the image."""
        norm = self.fc2[1]
        assert isinstance(norm, nn.BatchNorm1d)
        nn.init.constant_(norm.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        average = F.adaptive_avg_pool2d(x, 1).flatten(1)
        gate = torch.sigmoid(self.fc2(self.fc1(average)))
        return x * gate.reshape(-1, self.channels, 1, 1)


class DenseBlock(nn.Module):
    """`units` mobile units, each reading everything before it and adding `growth` channels."""

    def __init__(self, channels: int, growth: int, units: int) -> None:
        super().__init__()
        self.units = units
        for i in range(units):
            self.add_module(f"conv{i + 1}", MobileUnit(channels + i * growth, growth))
        self.out_channels = channels + units * growth

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.units):
            x = torch.cat((x, self.get_submodule(f"conv{i + 1}")(x)), 1)
        return x


class DenseBlockNoExpand(nn.Module):
    """Two mobile units whose outputs (3/4 and 1/4 of the channels) replace the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first = channels * 3 // 4
        self.conv1 = MobileUnit(channels, first)
        self.conv2 = MobileUnit(channels + first, channels - first)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x)
        return torch.cat((first, self.conv2(torch.cat((x, first), 1))), 1)
