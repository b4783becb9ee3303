"""Bones turned towards where the image shows them.

The network reads image points and mesh off the same features, but the points are closer to the picture,
photographs most of all, which teach points rather than meshes. So after placement each bone is turned a part
of the way from where the mesh has it to where the points of its ends have it, and stays as long; fingers that
are hidden keep what the network says. The mesh follows its joints.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.hand.decimation import edges
from h2onet_ros.hand.joints import FINGER_CHAINS, SKELETON
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.types import FloatArray

Array = NDArray[np.floating]

ALIGNMENT = 0.6
"""How far bones are turned, 0 to 1: about where errors in space are smallest; see docs/placement.md."""

_PALM = np.array([0, 1, 5, 9, 13, 17])
_DAMPING = 0.003
_SMOOTHING = 6  # rounds in which each vertex takes half of its neighbours' mean weights


class ImageAlignment:
    """Turns the bones of one kind of mesh.

    Args:
        topology: of the mesh.
    """

    def __init__(self, topology: HandTopology) -> None:
        weights = _joint_weights(topology)
        # So that the mesh's own joints come to lie where the aligned ones are, as far as that takes no more
        # than moderate moves: what joints do that the mesh cannot tell apart is left to the weights.
        own = topology.joint_regressor @ weights
        damping = _DAMPING * np.eye(21)
        weights = weights @ np.linalg.solve(own.T @ own + damping, own.T + damping)
        self._weights = weights.astype(np.float32)

    def __call__(
        self,
        vertices: FloatArray,
        joints: FloatArray,
        position: Array,
        seen: Array,
        visible: Array,
        strength: float,
    ) -> tuple[FloatArray, FloatArray]:
        """Aligned vertices `(V, 3)` and joints `(21, 3)`.

        Args:
            vertices: `(V, 3)` relative to the wrist, along the camera's axes, metres.
            joints: `(21, 3)` likewise.
            position: `(3,)` of the wrist in the camera's frame.
            seen: `(21, 2)` undistorted image points on the plane at depth 1.
            visible: `(5,)` probability that each finger, thumb to little finger, is not hidden.
            strength: 0 to 1, see `ALIGNMENT`.
        """
        share = np.repeat(strength * np.square(visible), 4)[:, None]
        wanted = seen * (joints[:, 2:] + position[2])
        parents, children = SKELETON.T
        bones: Array = joints[children] - joints[parents]
        turned = bones.astype(np.float64)
        turned[:, :2] += share * (wanted[children] - wanted[parents] - bones[:, :2])
        lengths, stretched = (np.linalg.norm(b, axis=1, keepdims=True) for b in (bones, turned))
        turned *= lengths / np.maximum(stretched, 1e-9)
        # From the wrist outwards each joint moves by what all bones before it do.
        moved = np.zeros((21, 3), np.float32)
        moved[1:] = (turned - bones).reshape(5, 4, 3).cumsum(1).reshape(20, 3)
        return vertices + self._weights @ moved, joints + moved


def _joint_weights(topology: HandTopology) -> Array:
    """`(V, 21)` how much each vertex follows each joint along bones and about the palm; rows sum up to 1."""
    template = topology.template
    joints = topology.joint_regressor @ template
    weights = np.zeros((len(template), 21))
    parts = topology.vertex_part
    if len(np.unique(parts)) < 6:
        # Of imported weights the parts may be unknown.
        nearest_joint = np.linalg.norm(template[:, None] - joints, axis=-1).argmin(1)
        parts = np.where(np.isin(nearest_joint, _PALM), 5, (nearest_joint - 1) // 4)
    palm = np.flatnonzero(parts == 5)
    near = 1 / np.square(np.linalg.norm(template[palm, None] - joints[_PALM], axis=-1) + 1e-3)
    weights[np.ix_(palm, _PALM)] = near / near.sum(1, keepdims=True)
    for finger, chain in enumerate(FINGER_CHAINS):
        rows = np.flatnonzero(parts == finger)
        begin, along = joints[chain[:-1]], np.diff(joints[chain], axis=0)
        from_begin = template[rows, None] - begin
        # Where on each of the three bones it is next to each vertex, 0 to 1; the nearest bone counts.
        t = np.clip((from_begin * along).sum(-1) / np.square(along).sum(-1), 0, 1)
        bone = np.linalg.norm(from_begin - t[..., None] * along, axis=-1).argmin(1)
        t = t[np.arange(len(rows)), bone]
        weights[rows, chain[bone]], weights[rows, chain[bone + 1]] = 1 - t, t
    # No kinks where a finger meets the palm.
    adjacency = np.zeros((len(template), len(template)))
    a, b = edges(topology.faces).T
    adjacency[a, b] = adjacency[b, a] = 1
    adjacency /= np.maximum(adjacency.sum(1, keepdims=True), 1)
    for _ in range(_SMOOTHING):
        weights = 0.5 * (weights + adjacency @ weights)
    return weights
