"""Our network gives the published implementation's numbers."""

from __future__ import annotations

import numpy as np
import parity_network as parity
import pytest
import torch

from h2onet_ros.model import FrameFeatures
from h2onet_ros.model.fusion import choose_unoccluded

pytestmark = parity.needs_parity


@torch.no_grad()
def test_single_frame_outputs_equal_the_reference():
    case = parity.case("single_frame_case")
    output = parity.reference_network("single_frame")(parity.enlarged(case["image_16x16"])[None])
    expected = {
        "uv": "pred_joints_img",
        "vertices": "pred_verts3d_wo_gr",
        "joints": "pred_joints3d_wo_gr",
        "vertices_oriented": "pred_verts3d_w_gr",
        "joints_oriented": "pred_joints3d_w_gr",
        "rotation_6d": "pred_glob_rot",
        "rotation": "pred_glob_rot_mat",
    }
    for ours, theirs in expected.items():
        parity.assert_close(getattr(output, ours)[0], case[theirs], ours)


@torch.no_grad()
def test_backbone_features_equal_the_reference():
    case = parity.case("single_frame_case")
    features = parity.reference_network("single_frame").backbone(parity.enlarged(case["image_16x16"][:1]))
    for name in ("latent", "joint_feature", "rotation_feature"):
        parity.assert_close(getattr(features, name), case[name], name)


@torch.no_grad()
def test_multi_frame_outputs_equal_the_reference():
    case = parity.case("multi_frame_case")
    images = torch.stack([parity.enlarged(case[f"image_16x16_{i}"]) for i in range(3)])
    output = parity.reference_network("multi_frame")(images)
    expected = {
        "uv": "pred_joints_img",
        "occlusion_logits": "pred_occ",
        "vertices": "pred_verts3d_wo_gr",
        "joints": "pred_joints3d_wo_gr",
        "vertices_oriented": "pred_verts3d_w_gr",
        "joints_oriented": "pred_joints3d_w_gr",
        "rotation_6d": "glob_rot_6d",
        "rotation": "pred_glob_rot_mat",
    }
    for ours, theirs in expected.items():
        parity.assert_close(getattr(output, ours).flatten(0, 1), case[theirs], ours)
    parity.assert_close(output.rotation_offset_6d, case["glob_rot_offset_6d"], "rotation_offset_6d")


@torch.no_grad()
def test_fusion_equals_the_reference_on_every_pattern_of_occlusion():
    case = parity.case("fusion_case")
    decoder = parity.reference_network("multi_frame").decoder3d

    def frames(name):
        return torch.from_numpy(case[name].astype(np.float32)).chunk(3)

    logits = frames("occlusion_logits")
    orientation = tuple(
        decoder.rot_reg.feature(*maps)
        for maps in zip(frames("joint_feature"), frames("rotation_feature"), strict=True)
    )
    rotation_6d = torch.cat([decoder.rot_reg.rotation_6d(x) for x in orientation])
    parity.assert_close(rotation_6d, case["glob_rot_6d"], "rotation_6d")
    offset_6d = decoder.rot_reg.offset_6d(orientation[0], choose_unoccluded(logits, orientation))
    parity.assert_close(offset_6d, case["glob_rot_offset_6d"], "rotation_offset_6d")
    offset = decoder.offset_pred.head(decoder.offset_pred.features(logits, frames("vertex_feature")))
    parity.assert_close(offset, case["vertex_offset"], "vertex_offset")


@torch.no_grad()
@pytest.mark.parametrize("variant", ["single_frame", "multi_frame"])
def test_streaming_equals_the_three_frame_network(variant):
    network = parity.reference_network(variant)
    case = parity.case("multi_frame_case")
    images = torch.stack([parity.enlarged(case[f"image_16x16_{i}"]) for i in range(network.config.frames)])
    expected = network(images)
    memory: list[FrameFeatures] = [network.encode(frame) for frame in reversed(images)]
    fused = network.fuse(memory[-1], memory[-2] if len(memory) > 1 else memory[0], memory[0])
    wrist = expected.joints[0, :, :1]
    tolerance = {"rtol": 0.0, "atol": 1e-5}
    torch.testing.assert_close(fused.vertices, expected.vertices_oriented[0] - wrist, **tolerance)
    torch.testing.assert_close(
        fused.joints, network.joints(expected.vertices_oriented[0]) - wrist, **tolerance
    )
    torch.testing.assert_close(fused.rotation, expected.rotation_offset @ expected.rotation[0], **tolerance)
    assert fused.joints[:, 0].abs().max() <= 1e-5
