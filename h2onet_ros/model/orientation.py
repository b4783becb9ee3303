"""Global orientation of the hand: 6D rotation features and matrices."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import H2ONetConfig


def rotation_from_6d(six: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) whose first two *rows* come from two 3-vectors (..., 6) by Gram-Schmidt.

    Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019.
    """
    a, b = six[..., :3], six[..., 3:]
    x = _unit(a)
    y = _unit(b - (x * b).sum(-1, keepdim=True) * x)
    return torch.stack((x, y, _cross(x, y)), -2)


def _unit(v: Tensor) -> Tensor:
    return v / v.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-12)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    # By cyclic shifts, which export to a third of the nodes of the component-wise formula.
    once, twice = [1, 2, 0], [2, 0, 1]
    return x[..., once] * y[..., twice] - x[..., twice] * y[..., once]


def _mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for cin, cout in pairwise(sizes):
        layers += [nn.Linear(cin, cout), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class OrientationRegressor(nn.Module):
    """Deepest features to an orientation feature, and that to a 6D rotation.

    The multi-frame variant has a second head that reads the orientation features of the current and of a
    chosen, not occluded, frame, and gives the current frame's offset rotation.
    """

    def __init__(self, config: H2ONetConfig) -> None:
        super().__init__()
        c, d = config.base, config.orientation
        self.conv_block = nn.Sequential(
            nn.Conv1d(8 * c, 4 * c, 1), nn.ReLU(), nn.Conv1d(4 * c, 2 * c, 1), nn.ReLU()
        )
        self.pre_block = nn.Sequential(
            nn.Linear(2 * c * 16, 2 * d), nn.ReLU(), nn.Linear(2 * d, d), nn.ReLU()
        )
        if config.multi_frame:
            self.fc_block1 = _mlp(d, d, d // 2, d // 4, 6)
            self.fc_block2 = _mlp(2 * d, d, d // 2, d // 4, 6)
        else:
            self.fc_block = _mlp(d, d, d // 2, d // 4, 6)

    def start_near_identity(self) -> None:
        """Initialise the last layers so that an untrained network rotates hardly at all."""
        for name in ("fc_block", "fc_block1", "fc_block2"):
            if not hasattr(self, name):
                continue
            last = self.get_submodule(f"{name}.6")
            assert isinstance(last, nn.Linear)
            with torch.no_grad():
                last.weight.mul_(0.05)
                last.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def feature(self, joint_feature: Tensor, rotation_feature: Tensor) -> Tensor:
        """Orientation feature (B, D) of each frame from the backbone's (B, 8c, 4, 4) maps."""
        x = joint_feature + rotation_feature
        x = x.reshape(-1, x.shape[1], 16)
        return self.pre_block(self.conv_block(x).flatten(1))

    def rotation_6d(self, feature: Tensor) -> Tensor:
        """6D rotation (B, 6) of each frame from its orientation feature (B, D)."""
        return self.fc_block1(feature) if hasattr(self, "fc_block1") else self.fc_block(feature)

    def offset_6d(self, now: Tensor, chosen: Tensor) -> Tensor:
        """6D offset rotation (B, 6) of the current frame, given the chosen frame's feature, both (B, D)."""
        return self.fc_block2(torch.cat((now, chosen), 1))
