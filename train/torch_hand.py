"""The hand model in PyTorch, so that poses can be found by gradient descent."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from h2onet_ros.hand.joints import MANO_TO_STANDARD
from h2onet_ros.hand.model import JOINT_COUNT, HandModel


def rotation_from_vector(vector: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3); smooth at zero."""
    squared = (vector * vector).sum(-1)[..., None, None]
    angle = squared.clamp_min(1e-12).sqrt()
    small = squared < 1e-6
    a = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    b = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / (angle * angle))
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3, dtype=vector.dtype) + a * cross + b * (cross @ cross)


class TorchHand:
    """Forward kinematics of joints and fingertips only: all that landmarks tell about.

    The skeleton and the tips are linear in the shape, so no other vertex is touched.
    """

    def __init__(self, hand: HandModel) -> None:
        regressor = hand.joint_regressor.astype(np.float64)
        points = np.concatenate([regressor, np.eye(hand.vertex_count)[hand.tip_vertices]])
        self._rest = torch.as_tensor(points @ hand.template, dtype=torch.float32)
        self._rest_basis = torch.as_tensor(
            np.einsum("pv,vcs->pcs", points, hand.shape_basis), dtype=torch.float32
        )
        self._tip_weights = torch.as_tensor(hand.skin_weights[hand.tip_vertices], dtype=torch.float32)
        self._axes = torch.as_tensor(hand.joint_axes, dtype=torch.float32)
        self._parents = [int(p) for p in hand.parents]
        self._order = torch.as_tensor(MANO_TO_STANDARD)

    def __call__(self, angles: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Joints of hands without a global rotation.

        Args:
            angles: (B, 15, 3) flexion, abduction, twist of the joints below the wrist, radians.
            shape: (B, S).

        Returns:
            joints (B, 21, 3) in metres, standard order, and the orientation (B, 21, 3, 3) of the bone that
            carries each of them.
        """
        rest = self._rest + torch.einsum("pcs,bs->bpc", self._rest_basis, shape)
        local = rotation_from_vector(torch.einsum("jck,bjk->bjc", self._axes[1:], angles))
        turned = [torch.eye(3).expand(len(angles), 3, 3)]
        placed = [rest[:, 0]]
        for joint in range(1, JOINT_COUNT):
            parent = self._parents[joint]
            bone = (rest[:, joint] - rest[:, parent]).unsqueeze(-1)
            placed.append(placed[parent] + (turned[parent] @ bone).squeeze(-1))
            turned.append(turned[parent] @ local[:, joint - 1])
        turns, places = torch.stack(turned, 1), torch.stack(placed, 1)
        shifts = places - (turns @ rest[:, :JOINT_COUNT].unsqueeze(-1)).squeeze(-1)
        blended = torch.einsum("tj,bjik->btik", self._tip_weights, turns)
        tips = (blended @ rest[:, JOINT_COUNT:].unsqueeze(-1)).squeeze(-1)
        tips = tips + torch.einsum("tj,bji->bti", self._tip_weights, shifts)
        order = self._order
        return torch.cat([places, tips], 1)[:, order], torch.cat([turns, blended], 1)[:, order]
