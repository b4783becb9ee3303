"""Every loss term equals the published implementation's."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from h2onet_ros.model import TrainingOutput
from train.losses import Targets, edge_length_loss, h2onet_losses, l1_loss, normal_loss, occlusion_loss

PARITY = Path(__file__).resolve().parents[2].parent / "shared" / "parity"
needs_parity = pytest.mark.skipif(not PARITY.is_dir(), reason="no shared/parity beside the checkout")

NAMES = {
    "verts_wo_gr_loss": "vertices",
    "joints_wo_gr_loss": "joints",
    "normal_wo_gr_loss": "normals",
    "edge_wo_gr_loss": "edges",
    "edge_wo_loss": "edges",
    "joint_img_loss": "uv",
    "occ_loss": "occlusion",
    "verts_w_gr_loss": "vertices_oriented",
    "joints_w_gr_loss": "joints_oriented",
    "glob_rot_loss": "rotation",
    "normal_loss": "normals_oriented",
    "edge_loss": "edges_oriented",
    "total": "total",
}


def load(variant: str, frames: int):
    with np.load(PARITY / "loss_case.npz") as arrays:
        case = {k.removeprefix(f"{variant}/"): arrays[k] for k in arrays.files if k.startswith(variant)}
    with np.load(PARITY / "reference_topology.npz") as arrays:
        faces = torch.from_numpy(arrays["faces_0"].astype(np.int64))

    def tensor(name):
        return torch.from_numpy(case[f"in/{name}"]).unflatten(0, (frames, -1))

    batch = len(case["in/pred_occ"]) // frames
    output = TrainingOutput(
        uv=tensor("pred_joints_img"),
        occlusion_logits=tensor("pred_occ"),
        vertices=tensor("pred_verts3d_wo_gr"),
        joints=tensor("pred_joints3d_wo_gr"),
        rotation=tensor("pred_glob_rot_mat"),
        rotation_offset=torch.eye(3).repeat(batch, 1, 1),
        vertices_oriented=tensor("pred_verts3d_w_gr"),
        joints_oriented=tensor("pred_joints3d_w_gr"),
        rotation_6d=torch.zeros(frames, batch, 6),
        rotation_offset_6d=torch.zeros(batch, 6),
    )
    target = Targets(
        uv=tensor("gt_joints_img"),
        vertices=tensor("gt_verts3d_wo_gr"),
        joints=tensor("gt_joints3d_wo_gr"),
        vertices_oriented=tensor("gt_verts3d_w_gr"),
        joints_oriented=tensor("gt_joints3d_w_gr"),
        rotation=tensor("gt_glob_rot_mat"),
        occlusion=tensor("gt_occ"),
    )
    return case, output, target, faces


@needs_parity
@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize(("variant", "frames"), [("h2onet_sf", 1), ("h2onet_mf", 3)])
def test_terms_equal_the_reference(variant, frames, stage):
    case, output, target, faces = load(variant, frames)
    terms = h2onet_losses(output, target, faces, stage)
    prefix = f"stage{stage}/"
    expected = {NAMES[k.removeprefix(prefix)]: float(v) for k, v in case.items() if k.startswith(prefix)}
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-5), name


@needs_parity
def test_weights_leave_out_samples_without_labels():
    _, output, target, faces = load("h2onet_mf", 3)
    weight = torch.ones(3, 2)
    weight[:, 1] = 0.0
    alone = TrainingOutput(*(x[:, :1] if x.shape[0] == 3 else x[:1] for x in output))
    alone_target = Targets(**{k: None if v is None else v[:, :1] for k, v in vars(target).items()})
    broken = {k: None if v is None else v.clone() for k, v in vars(target).items()}
    for value in broken.values():
        if value is not None:
            value[:, 1] = float("nan")
    broken |= {"mesh_weight": weight, "uv_weight": weight, "occlusion_weight": weight}
    terms = h2onet_losses(output, Targets(**broken), faces, 2)
    expected = h2onet_losses(alone, alone_target, faces, 2)
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(float(value), rel=1e-5), name


def test_nothing_labelled_gives_zero_and_finite_gradients():
    faces = torch.tensor([[0, 1, 2], [1, 2, 3]])
    unlabelled, weight = torch.full((2, 5, 3), float("nan")), torch.zeros(2)
    for loss in (l1_loss, partial(normal_loss, faces=faces), partial(edge_length_loss, faces=faces)):
        predicted = torch.randn(2, 5, 3, requires_grad=True)
        value = loss(predicted, unlabelled, weight=weight)
        value.backward()
        assert value.item() == 0.0
        assert torch.isfinite(predicted.grad).all()


def test_occlusion_loss_equals_cross_entropy():
    torch.manual_seed(1)
    logits, truth = torch.randn(4, 2, 6), torch.randint(0, 2, (4, 6))
    expected = torch.nn.functional.cross_entropy(logits, truth)
    torch.testing.assert_close(occlusion_loss(logits, truth), expected)
