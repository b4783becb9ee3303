"""Losses of H2ONet (CVPR 2023), both variants and stages, as pure functions.

Leading dimensions (frames, samples) are free: `(..., V, 3)`. Every term takes an optional `weight` `(...)`
per frame and sample, so that partly labelled samples count only where they have labels; a term is then the
weighted mean, and 0 when nothing counts. Where the weight is 0 the truth may hold anything, NaN too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from h2onet_ros.model import TrainingOutput

NORMAL_WEIGHT = 0.1
"""Factor on the normal terms."""

Stage = Literal[1, 2]


@dataclass(frozen=True)
class Targets:
    """Ground truth of F frames of B samples; metres, crop coordinates 0..1.

    Attributes:
        uv: (F, B, 21, 2).
        vertices: (F, B, V, 3) canonical.
        joints: (F, B, 21, 3) canonical.
        vertices_oriented: (F, B, V, 3).
        joints_oriented: (F, B, 21, 3).
        rotation: (F, B, 3, 3).
        occlusion: (F, B, 6), 1 where occluded; the single-frame variant ignores it.
        mesh_weight: (F, B) weight of the 3D terms, or None: all count.
        uv_weight: (F, B) weight of the image points, or None.
        occlusion_weight: (F, B) weight of the occlusion labels, or None.
    """

    uv: Tensor
    vertices: Tensor
    joints: Tensor
    vertices_oriented: Tensor
    joints_oriented: Tensor
    rotation: Tensor
    occlusion: Tensor | None = None
    mesh_weight: Tensor | None = None
    uv_weight: Tensor | None = None
    occlusion_weight: Tensor | None = None


def weighted_mean(error: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of `error` (..., rest), each leading entry weighted by `weight` (...); without weights plain."""
    if weight is None:
        return error.mean()
    per_sample = error.reshape(*weight.shape, -1).mean(-1)
    weight = weight.to(per_sample.dtype)
    return (per_sample * weight).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def _labelled(truth: Tensor, weight: Tensor | None) -> Tensor:
    """The truth with zeros where it does not count, so that no NaN reaches a value or a gradient."""
    if weight is None:
        return truth
    counts = (weight > 0).reshape(*weight.shape, *(1,) * (truth.ndim - weight.ndim))
    return torch.where(counts, truth, torch.zeros_like(truth))


def l1_loss(predicted: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference."""
    return weighted_mean((predicted - _labelled(truth, weight)).abs(), weight)


def rotation_loss(predicted: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared difference of rotation matrices (..., 3, 3)."""
    return weighted_mean((predicted - _labelled(truth, weight)).square(), weight)


def normal_loss(predicted: Tensor, truth: Tensor, faces: Tensor, weight: Tensor | None = None) -> Tensor:
    """How far the predicted edges leave the true faces' planes.

    Mean over the three unit edges of each face of |edge . true unit normal|, without the factor 0.1.

    Args:
        predicted, truth: (..., V, 3).
        faces: (F, 3) int64.
    """
    return _mesh_losses(predicted, truth, faces, weight)[0]


def edge_length_loss(predicted: Tensor, truth: Tensor, faces: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference of the lengths of each face's three edges; arguments as in `normal_loss`."""
    return _mesh_losses(predicted, truth, faces, weight)[1]


def _mesh_losses(
    predicted: Tensor, truth: Tensor, faces: Tensor, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`normal_loss` and `edge_length_loss`, which look at the same edges."""
    edges, lengths = _edges(predicted, faces)
    true_edges, true_lengths = _edges(_labelled(truth, weight), faces)
    normal = F.normalize(torch.linalg.cross(true_edges[0], true_edges[1], dim=-1), dim=-1)
    cosines = (edges * normal).sum(-1).abs() / lengths
    differences = (lengths - true_lengths).abs()
    return weighted_mean(cosines.mean((0, 1)), weight), weighted_mean(differences.mean((0, 1)), weight)


def occlusion_loss(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Cross-entropy of the six occlusion classes.

    Args:
        logits: (..., 2, 6), class 0 visible, 1 occluded.
        truth: (..., 6), 1 where occluded.
    """
    log_probability = torch.log_softmax(logits, -2)
    occluded = _labelled(truth, weight).to(logits.dtype)
    error = -(occluded * log_probability[..., 1, :] + (1.0 - occluded) * log_probability[..., 0, :])
    return weighted_mean(error, weight)


def heatmap_loss(maps: Tensor, uv: Tensor, weight: Tensor | None = None, sigma: float = 0.8) -> Tensor:
    """Cross-entropy between each point's map, as a distribution over places, and a blob at its true place.

    The backbone turns one map a point into coordinates with fully connected layers, which first have to find
    out which cell lies where. This tells the maps directly. Not in the paper. Points outside the crop do not
    count.

    Args:
        maps: (N, 21, H, W), the backbone's maps.
        uv: (N, 21, 2) true image points, 0..1 across the crop.
        weight: (N,) of the samples, or None: all count.
        sigma: of the blob, cells.
    """
    uv = _labelled(uv, weight)
    height, width = maps.shape[-2:]
    counted = ((uv > 0) & (uv < 1)).all(-1).float()
    if weight is not None:
        counted = counted * weight[:, None].float()
    cells = uv * uv.new_tensor([width, height]) - 0.5
    x = torch.arange(width, device=uv.device) - cells[..., :1]
    y = torch.arange(height, device=uv.device) - cells[..., 1:]
    squared = y.square().unsqueeze(-1) + x.square().unsqueeze(-2)
    target = torch.softmax((-squared / (2 * sigma * sigma)).flatten(-2), -1)
    error = -(target * torch.log_softmax(maps.float().flatten(-2), -1)).sum(-1)
    return (error * counted).sum() / counted.sum().clamp_min(1)


def h2onet_losses(output: TrainingOutput, target: Targets, faces: Tensor, stage: Stage) -> dict[str, Tensor]:
    """All terms of one stage, already weighted, and their sum as "total".

    Stage 1 teaches the shape in the canonical orientation, stage 2 adds the orientation. A network without an
    occlusion classifier (its logits are NaN) and targets without occlusion get no occlusion term.

    Args:
        output: of the network's `forward`.
        target: ground truth of the same frames and samples.
        faces: (F, 3) int64.
        stage: 1 or 2.
    """
    if stage not in (1, 2):
        raise ValueError(f"stage must be 1 (canonical shape) or 2 (and orientation), got {stage}")
    mesh = target.mesh_weight
    multi_frame = output.uv.shape[0] > 1
    normals, edges = _mesh_losses(output.vertices, target.vertices, faces, mesh)
    terms = {
        "vertices": l1_loss(output.vertices, target.vertices, mesh),
        "joints": l1_loss(output.joints, target.joints, mesh),
        "normals": NORMAL_WEIGHT * normals,
        "edges": edges,
        "uv": l1_loss(output.uv, target.uv, target.uv_weight),
    }
    if multi_frame and target.occlusion is not None:
        terms["occlusion"] = occlusion_loss(
            output.occlusion_logits, target.occlusion, target.occlusion_weight
        )
    if stage == 2:
        terms["vertices_oriented"] = l1_loss(output.vertices_oriented, target.vertices_oriented, mesh)
        terms["joints_oriented"] = l1_loss(output.joints_oriented, target.joints_oriented, mesh)
        terms["rotation"] = rotation_loss(output.rotation, target.rotation, mesh)
        if multi_frame:
            normals, edges = _mesh_losses(output.vertices_oriented, target.vertices_oriented, faces, mesh)
            terms["normals_oriented"] = NORMAL_WEIGHT * normals
            terms["edges_oriented"] = edges
    terms["total"] = torch.stack(list(terms.values())).sum()
    return terms


def _edges(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The edges of each face, (3, F, ..., 3): from its first corner to both others, and between these; and
    their lengths (3, F, ...)."""
    # Vertices first: whole rows are gathered then, and scattered on the way back, instead of single points.
    rows = vertices.movedim(-2, 0).contiguous()
    a, b, c = (rows.index_select(0, faces[:, i]) for i in range(3))
    edges = torch.stack((b - a, c - a, c - b))
    # The square root's slope is infinite at 0, where collapsed predicted edges would give NaN gradients.
    return edges, (edges * edges).sum(-1).clamp_min(1e-16).sqrt()
