"""H2ONet: three crops of a right hand in, its mesh, joints, orientation and finger occlusion out.

"H2ONet: Hand-Occlusion-and-Orientation-aware Network for Real-time 3D Hand Mesh Reconstruction", CVPR 2023.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from h2onet_ros.hand.topology import HandTopology

from .backbone import Backbone
from .blocks import MobileUnit, SqueezeExcite, full_precision
from .config import IMAGE_SIZE, H2ONetConfig
from .decoder import MeshDecoder
from .fusion import FingerFusion, OcclusionClassifier, choose_unoccluded
from .orientation import OrientationRegressor, rotation_from_6d

HEAD_SCALE = 0.01
OFFSET_SCALE = 0.001
UV_SCALE = 0.3
"""Factors on the first weights of the heads of vertices, their offset, and the image points."""


class FrameFeatures(NamedTuple):
    """Everything kept of one frame; B hands.

    Attributes:
        uv: (B, 21, 2) image points, 0..1 across the crop.
        occlusion_logits: (B, 2, 6), class 0 visible and 1 occluded; columns thumb..little, whole hand. NaN in
            the single-frame variant, which has no classifier.
        vertex_features: (B, V, C) finest mesh features; C is 0 in the single-frame variant.
        orientation: (B, D) orientation feature.
        vertices: (B, V, 3) canonical vertices (no global rotation), metres.
    """

    uv: Tensor
    occlusion_logits: Tensor
    vertex_features: Tensor
    orientation: Tensor
    vertices: Tensor


class FusedHands(NamedTuple):
    """The answer for the current frame.

    Attributes:
        vertices: (B, V, 3) oriented, metres, relative to the wrist joint.
        joints: (B, 21, 3) likewise; regressed from these vertices.
        rotation: (B, 3, 3) from the canonical orientation to the camera.
        occlusion: (B, 6) probability of being occluded; NaN in the single-frame variant.
    """

    vertices: Tensor
    joints: Tensor
    rotation: Tensor
    occlusion: Tensor


class TrainingOutput(NamedTuple):
    """All outputs the losses need; F frames (3 or 1; frame 0 is now), B samples.

    Attributes:
        uv: (F, B, 21, 2) image points, 0..1 across the crop.
        occlusion_logits: (F, B, 2, 6); NaN in the single-frame variant.
        vertices: (F, B, V, 3) canonical; frame 0 includes the fused offset.
        joints: (F, B, 21, 3) canonical.
        rotation: (F, B, 3, 3) per-frame rotation R.
        rotation_offset: (B, 3, 3) offset rotation of frame 0; the identity in the single-frame
            variant.
        vertices_oriented: (F, B, V, 3), rotated about their wrist by R, in frame 0 also by the offset. No
            gradient flows into the canonical vertices.
        joints_oriented: (F, B, 21, 3), rotated by R alone, in frame 0 too, as in the published training.
        rotation_6d: (F, B, 6) what R was made from.
        rotation_offset_6d: (B, 6).
    """

    uv: Tensor
    occlusion_logits: Tensor
    vertices: Tensor
    joints: Tensor
    rotation: Tensor
    rotation_offset: Tensor
    vertices_oriented: Tensor
    joints_oriented: Tensor
    rotation_6d: Tensor
    rotation_offset_6d: Tensor


class Decoder(MeshDecoder):
    """The mesh decoder with the heads that hang on it."""

    def __init__(self, config: H2ONetConfig, topology: HandTopology) -> None:
        super().__init__(config, topology)
        self.rot_reg = OrientationRegressor(config)
        if config.multi_frame:
            self.occ_pred = OcclusionClassifier(config)
            self.offset_pred = FingerFusion(config, topology.hierarchy.spirals[0], topology.vertex_part)


class H2ONet(nn.Module):
    """The network, for any template and width.

    `encode` depends on one frame only and `fuse` combines three encoded frames, so a live system encodes each
    frame once and keeps the features. `forward` does both for training, on all frames at once.

    Args:
        config: variant and width.
        topology: mesh, hierarchy, parts and joint regressor of the hand to predict.
    """

    joint_regressor: Tensor

    def __init__(self, config: H2ONetConfig, topology: HandTopology) -> None:
        super().__init__()
        self.config = config
        self.topology = topology
        self.backbone = Backbone(config)
        self.decoder3d = Decoder(config, topology)
        self.register_buffer("joint_regressor", torch.as_tensor(topology.joint_regressor), persistent=False)
        self._initialise()
        # Channels last makes a training step on a CPU 1.5 times as fast.
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _initialise(self) -> None:
        # He et al., ICCV 2015: the mesh decoder and the orientation regressor have no normalisation, and with
        # smaller weights their signals fade. The heads start near their typical values: vertices within
        # centimetres, hardly any rotation.
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # Some fifty layers of random depth-wise filters, each followed by normalisation, turn noise of a
        # quarter of a grey level into three quarters of the output, and gradients into noise: for a thousand
        # steps only means are learned. Near the identity, and mostly above the ReLU's kink, they pass on what
        # they see (the gradients' cosine under such noise rises from 0 to 0.9).
        for module in self.backbone.modules():
            if isinstance(module, MobileUnit):
                module.start_near_identity()
            elif isinstance(module, SqueezeExcite):
                module.start_even()
        decoder = self.decoder3d
        with torch.no_grad():
            decoder.head.layer.weight.mul_(HEAD_SCALE)
            if self.config.image_points == "regressed":
                self.backbone.get_parameter("uv_reg.2.0.weight").mul_(UV_SCALE)
            if self.config.multi_frame:
                decoder.offset_pred.head.layer.weight.mul_(OFFSET_SCALE)
        decoder.rot_reg.start_near_identity()

    def encode(self, images: Tensor, uv: Tensor | None = None) -> FrameFeatures:
        """Features of one frame each.

        Args:
            images: (B, 3, 128, 128) RGB in 0..1, right hands.
            uv: (B, 21, 2) image points to read the latent map at, 0..1 across the crop; None: its own.
        """
        decoder = self.decoder3d
        latent, joint_feature, rotation_feature, found = self.backbone(
            images.contiguous(memory_format=torch.channels_last)
        )
        uv = found if uv is None else uv
        points = decoder.sample_points(latent, uv)
        mesh = decoder.refine(points)
        with full_precision(images.device):
            vertices = decoder.head(mesh.float())
        if self.config.multi_frame:
            logits = decoder.occ_pred(points.detach()).float()
        else:
            logits = vertices.new_full((vertices.shape[0], 2, 6), float("nan"))
            mesh = mesh[..., :0]
        orientation = decoder.rot_reg.feature(joint_feature.detach(), rotation_feature)
        return FrameFeatures(uv.float(), logits, mesh, orientation, vertices)

    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands:
        """The current hands, given the same hands a short and a long time ago.

        The single-frame variant looks at `now` alone.
        """
        vertices = now.vertices
        rotation_6d = self.decoder3d.rot_reg.rotation_6d(now.orientation)
        if self.config.multi_frame:
            vertices = vertices + self._vertex_offset(now, short, long)
            offset_6d = self._offset_6d(now, short, long)
        with full_precision(vertices.device):
            if self.config.multi_frame:
                # Both at once: two dozen small steps fewer for an engine.
                rotation, offset = rotation_from_6d(torch.stack((rotation_6d, offset_6d)).float()).unbind()
                rotation = offset @ rotation
            else:
                rotation = rotation_from_6d(rotation_6d.float())
            joints = self.joints(vertices)
            turned = rotation.transpose(1, 2)
            wrist = joints[:, :1]
            return FusedHands(
                (vertices - wrist) @ turned,
                (joints - wrist) @ turned,
                rotation,
                torch.softmax(now.occlusion_logits, 1)[:, 1],
            )

    def forward(self, images: Tensor) -> TrainingOutput:
        """All outputs for training.

        Args:
            images: (F, B, 3, 128, 128); F is 3 (now, short-term past, long-term past) or, single-frame, 1.
                The multi-frame network takes F = 1 as well, for hands without a past: that frame stands
                for all three, at a third of the cost.
        """
        frames, batch = images.shape[:2]
        if frames not in (1, self.config.frames) or images.shape[2:] != (3, IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(
                f"the {self.config.variant} network needs images of shape "
                f"({self.config.frames}, B, 3, {IMAGE_SIZE}, {IMAGE_SIZE}), got {tuple(images.shape)}"
            )
        encoded = self.encode(images.flatten(0, 1))
        if frames < self.config.frames:
            frames = self.config.frames
            encoded = FrameFeatures(*(x.repeat(frames, *[1] * (x.ndim - 1)) for x in encoded))
        rotation_6d = self.decoder3d.rot_reg.rotation_6d(encoded.orientation).float()
        vertices = encoded.vertices
        if self.config.multi_frame:
            now, short, long = (
                FrameFeatures(*parts) for parts in zip(*(x.chunk(3) for x in encoded), strict=True)
            )
            vertices = torch.cat((vertices[:batch] + self._vertex_offset(now, short, long), vertices[batch:]))
            offset_6d = self._offset_6d(now, short, long).float()
        else:
            offset_6d = rotation_6d.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).repeat(batch, 1)
        with full_precision(images.device):
            joints = self.joints(vertices)
            rotation = rotation_from_6d(rotation_6d)
            rotation_offset = rotation_from_6d(offset_6d)
            full_rotation = rotation
            if self.config.multi_frame:
                full_rotation = torch.cat((rotation_offset @ rotation[:batch], rotation[batch:]))
            wrist = joints[:, :1].detach()
            vertices_oriented = (vertices.detach() - wrist) @ full_rotation.transpose(1, 2) + wrist
            joints_oriented = (joints.detach() - wrist) @ rotation.transpose(1, 2) + wrist

        def split(x: Tensor) -> Tensor:
            return x.unflatten(0, (frames, batch))

        return TrainingOutput(
            split(encoded.uv),
            split(encoded.occlusion_logits),
            split(vertices),
            split(joints),
            split(rotation),
            rotation_offset,
            split(vertices_oriented),
            split(joints_oriented),
            split(rotation_6d),
            offset_6d,
        )

    def joints(self, vertices: Tensor) -> Tensor:
        """Joints (..., 21, 3) from vertices (..., V, 3)."""
        return torch.matmul(self.joint_regressor, vertices)

    def _vertex_offset(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> Tensor:
        fusion = self.decoder3d.offset_pred
        features = fusion.features(
            (now.occlusion_logits, short.occlusion_logits, long.occlusion_logits),
            (now.vertex_features, short.vertex_features, long.vertex_features),
        )
        with full_precision(features.device):
            return fusion.head(features.float())

    def _offset_6d(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> Tensor:
        chosen = choose_unoccluded(
            (now.occlusion_logits, short.occlusion_logits, long.occlusion_logits),
            (now.orientation, short.orientation, long.orientation),
        )
        return self.decoder3d.rot_reg.offset_6d(now.orientation, chosen)
