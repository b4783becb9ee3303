"""A small made-up hand topology, so that tests need neither assets nor parity cases."""

from __future__ import annotations

import numpy as np
import torch

from h2onet_ros.hand.hierarchy import MeshHierarchy
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig


def tube_topology(rings: int = 20, segments: int = 12) -> HandTopology:
    """A bent tube of rings x segments vertices, cut into six parts along its length."""
    t, angle = np.meshgrid(np.arange(rings), np.arange(segments) * 2 * np.pi / segments, indexing="ij")
    radius = 0.02 + 0.004 * np.sin(t)
    x, y = radius * np.cos(angle), radius * np.sin(angle) + 0.001 * t**1.5
    vertices = np.stack((x, y, 0.01 * t + 0.0007 * np.cos(3 * angle)), -1).reshape(-1, 3)
    faces = []
    for i in range(rings - 1):
        for j in range(segments):
            a, b = i * segments + j, i * segments + (j + 1) % segments
            faces += [(a, b, a + segments), (b, b + segments, a + segments)]
    part = (np.arange(rings).repeat(segments) * 6) // rings
    regressor = np.full((21, len(vertices)), 1e-4)
    regressor[np.arange(21), np.linspace(0, len(vertices) - 1, 21).astype(int)] = 1.0
    return HandTopology(
        template=vertices,
        faces=np.array(faces),
        vertex_part=part,
        face_part=part[np.array(faces)[:, 0]],
        joint_regressor=regressor / regressor.sum(1, keepdims=True),
        hierarchy=MeshHierarchy.build(vertices, np.array(faces)),
    )


def small_network(variant: str = "multi_frame", width: float = 0.25, seed: int = 0) -> H2ONet:
    """A narrow network in evaluation mode; no weights at start values, so that every part matters.

    The single-frame one takes its image points as the mean of their maps, the multi-frame one regresses them.
    """
    torch.manual_seed(seed)
    image_points = "integral" if variant == "single_frame" else "regressed"
    network = H2ONet(H2ONetConfig(variant, width, image_points), tube_topology()).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith(("running_mean", "bias")):
                value.add_(0.1 * torch.randn_like(value))
            elif name == "decoder3d.upsample":
                value.normal_(0.0, 0.3)
            elif name.endswith("head.layer.weight"):
                value.normal_(0.0, 0.1)
    return network
