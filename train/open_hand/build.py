"""From samples of a parametric hand to a `HandModel`: close, simplify, regress, find the components."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from h2onet_ros.hand.joints import FINGER_NAMES, MANO_JOINT_NAMES, MANO_PARENTS
from h2onet_ros.hand.model import HandModel, rotation_matrices, skin
from h2onet_ros.hand.parts import parts_from_weights
from train.open_hand.poses import named_angles, pose_limits, random_angles
from train.open_hand.regressor import fit_regressor
from train.open_hand.simplify import simplify
from train.open_hand.source import HandSamples

SIMPLIFIED_IN_POSES = ("rest", "fist", "spread", "grasp")
REGRESSOR_PEOPLE = 150
REGRESSOR_REACH = 0.03
"""How far from a joint, in metres, its regressor may look for vertices."""


@dataclass(frozen=True)
class Recipe:
    """What can be chosen about the open hand."""

    vertex_count: int = 800
    component_count: int = 10
    palm_length: float = 0.098
    seed: int = 0


def joint_axes(bone_axes: np.ndarray) -> np.ndarray:
    """Anatomical axes `(16, 3, 3)` (columns flexion, abduction, twist) from Anny's bone frames.

    Anny's bones point along their y axis, flex about x, and turn to the ulnar side about z.
    """
    axes = np.stack([bone_axes[..., 0], -bone_axes[..., 2], bone_axes[..., 1]], axis=-1)
    axes[0] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T
    return axes


def close_wrist(samples: HandSamples) -> tuple[HandSamples, np.ndarray]:
    """Close the cut at the wrist by a fan about its centroid, and move the centroid to the origin.

    Returns:
        the closed samples, whose last vertex is the fan's centre, and the ring of the cut in order.
    """
    directed = {(a, b) for f in samples.faces.tolist() for a, b in zip(f, (*f[1:], f[0]))}
    following = {b: a for a, b in directed if (b, a) not in directed}
    ring = [min(following)]
    while following[ring[-1]] != ring[0]:
        ring.append(following[ring[-1]])
    if len(ring) != len(following):
        raise ValueError(
            f"expected one open loop at the wrist, got {len(following)} border edges in several loops"
        )
    centre = samples.vertices[:, ring].mean(axis=1, keepdims=True)
    apex = samples.vertices.shape[1]
    fan = np.array([(a, b, apex) for a, b in zip(ring, (*ring[1:], ring[0]))])
    texture_of = dict(zip(samples.faces.ravel().tolist(), samples.uv_faces.ravel().tolist()))
    ring_texture = [texture_of[v] for v in ring]
    uv_fan = np.array(
        [(a, b, len(samples.uv)) for a, b in zip(ring_texture, (*ring_texture[1:], ring_texture[0]))]
    )
    closed = replace(
        samples,
        vertices=np.concatenate([samples.vertices, centre], axis=1) - centre,
        bone_heads=np.concatenate([centre, samples.bone_heads[:, 1:]], axis=1) - centre,
        weights=np.concatenate([samples.weights, np.eye(1, samples.weights.shape[1])]),
        faces=np.concatenate([samples.faces, fan]),
        uv=np.concatenate([samples.uv, samples.uv[ring_texture].mean(axis=0, keepdims=True)]),
        uv_faces=np.concatenate([samples.uv_faces, uv_fan]),
    )
    return closed, np.array(ring)


def palm_lengths(samples: HandSamples) -> np.ndarray:
    """Distances `(N,)` from the wrist to the middle knuckle."""
    return np.linalg.norm(samples.bone_heads[:, MANO_JOINT_NAMES.index("middle_1")], axis=1)


def scaled(samples: HandSamples, factor: float) -> HandSamples:
    """The same people, larger by a factor."""
    return replace(samples, vertices=samples.vertices * factor, bone_heads=samples.bone_heads * factor)


def fingertips(samples: HandSamples) -> np.ndarray:
    """The most distal vertex `(5,)` of each finger on the average person, along its last bone."""
    vertices, heads = samples.vertices.mean(axis=0), samples.bone_heads.mean(axis=0)
    tips = []
    for finger in FINGER_NAMES:
        joint = MANO_JOINT_NAMES.index(f"{finger}_3")
        members = np.flatnonzero(samples.weights[:, joint] > 0.9)
        along = (vertices[members] - heads[joint]) @ samples.bone_axes[joint][:, 1]
        tips.append(members[np.argmax(along)])
    return np.array(tips)


def posed(
    samples: HandSamples, angles: np.ndarray, people: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `(N, V, 3)` and joints `(N, 16, 3)` of people bent by `angles (16, 3)` or `(N, 16, 3)`."""
    axis_angle = np.einsum("jck,...jk->...jc", joint_axes(samples.bone_axes), angles)
    rotations = rotation_matrices(axis_angle)
    vertices, heads = samples.vertices[people], samples.bone_heads[people]
    rotations = np.broadcast_to(rotations, (len(heads), *rotations.shape[-3:]))
    return skin(vertices, heads, rotations, MANO_PARENTS, samples.weights)


def principal_components(vertices: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean `(V, 3)`, components `(V, 3, count)` in metres per sigma, shares of the variance `(count,)`."""
    flat = vertices.reshape(len(vertices), -1)
    mean = flat.mean(axis=0)
    _, values, rows = np.linalg.svd(flat - mean, full_matrices=False)
    # The sign is free: a positive first coefficient makes a larger hand.
    signs = np.where(rows[:count] @ mean < 0, -1.0, 1.0)
    scale = signs * values[:count] / np.sqrt(len(vertices) - 1)
    components = (rows[:count] * scale[:, None]).T.reshape(-1, 3, count)
    return mean.reshape(-1, 3), components, values[:count] ** 2 / np.sum(values**2)


@dataclass(frozen=True)
class OpenHandBuild:
    """The hand and where it came from.

    Attributes:
        hand: the model.
        kept: `(V,)` the source's vertices that are the model's.
        people: the closed, scaled samples the model was made of.
        scale: factor from the source's metres to the model's.
        variance: share of the people's variance that each shape component explains.
    """

    hand: HandModel
    kept: np.ndarray
    people: HandSamples
    scale: float
    variance: np.ndarray

    def prepare(self, samples: HandSamples) -> HandSamples:
        """Other people of the source, closed and scaled as those the model was made of."""
        return scaled(close_wrist(samples)[0], self.scale)


def build_hand(
    samples: HandSamples, recipe: Recipe, progress: Callable[[], object] | None = None
) -> OpenHandBuild:
    """Make the hand from people on the source's open mesh; `progress` is called after every collapse."""
    closed, ring = close_wrist(samples)
    scale = recipe.palm_length / palm_lengths(closed).mean()
    closed = scaled(closed, scale)
    tips = fingertips(closed)
    apex = closed.vertices.shape[1] - 1
    poses = np.concatenate([posed(closed, named_angles(name), slice(1))[0] for name in SIMPLIFIED_IN_POSES])
    mesh = simplify(
        poses, closed.faces, closed.uv, closed.uv_faces, recipe.vertex_count, {*ring, apex, *tips}, progress
    )
    kept = mesh.kept
    weights = closed.weights[kept]
    vertex_part, face_part = parts_from_weights(weights, mesh.faces)
    mean, components, variance = principal_components(closed.vertices[:, kept], recipe.component_count)
    used, uv_faces = np.unique(mesh.uv_faces, return_inverse=True)
    hand = HandModel(
        template=mean,
        faces=mesh.faces,
        shape_basis=components,
        joint_regressor=_regressor(closed, kept, np.searchsorted(kept, ring), recipe.seed),
        skin_weights=weights,
        parents=MANO_PARENTS,
        tip_vertices=np.searchsorted(kept, tips),
        vertex_part=vertex_part,
        face_part=face_part,
        uv=closed.uv[used],
        uv_faces=uv_faces.reshape(-1, 3),
        joint_axes=joint_axes(closed.bone_axes),
        pose_limits=pose_limits(),
        wrist_ring=np.searchsorted(kept, ring),
    )
    return OpenHandBuild(hand, kept, closed, scale, variance)


def _regressor(samples: HandSamples, kept: np.ndarray, ring: np.ndarray, seed: int) -> np.ndarray:
    """Regressor `(16, V)` for people at rest and in random poses; the wrist is the centre of the ring."""
    people = slice(0, REGRESSOR_PEOPLE)
    subset = replace(samples, vertices=samples.vertices[:, kept], weights=samples.weights[kept])
    rest = subset.vertices[people], subset.bone_heads[people]
    bent = posed(subset, random_angles(np.random.default_rng(seed), len(rest[0])), people)
    average = rest[0].mean(axis=0), rest[1].mean(axis=0)
    candidates = []
    for joint, parent in enumerate(MANO_PARENTS):
        moved = subset.weights[:, joint] + (subset.weights[:, parent] if parent >= 0 else 0)
        near = np.linalg.norm(average[0] - average[1][joint], axis=1) < REGRESSOR_REACH
        candidates.append(np.flatnonzero((moved > 0.5) & near))
    candidates[0] = ring
    regressor = fit_regressor(
        np.concatenate([rest[0], bent[0]]), np.concatenate([rest[1], bent[1]]), candidates
    )
    regressor[0] = 0
    regressor[0, ring] = 1 / len(ring)
    return regressor
