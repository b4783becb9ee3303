"""How good the open hand is, compared with the hand it was made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from h2onet_ros.hand.hierarchy import closest_barycentric
from h2onet_ros.hand.model import HandModel
from train.open_hand.build import OpenHandBuild, palm_lengths, posed
from train.open_hand.poses import POSE_NAMES, named_angles, random_angles
from train.open_hand.source import HandSamples


def simplification_error(kept: np.ndarray, faces: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Distance in millimetres `(V,)` of the full mesh's vertices `full (V, 3)` to the simplified surface."""
    triangles = full[kept][faces]
    face, weights = closest_barycentric(full, triangles)
    return 1000 * np.linalg.norm(np.einsum("vc,vcx->vx", weights, triangles[face]) - full, axis=1)


def component_error(hand: HandModel, vertices: np.ndarray) -> np.ndarray:
    """Millimetres `(N, V)` left after fitting the shape components to hands `vertices (N, V, 3)`."""
    basis = hand.shape_basis.reshape(-1, hand.shape_count).astype(np.float64)
    offsets = (vertices - hand.template).reshape(len(vertices), -1)
    coefficients = np.linalg.lstsq(basis, offsets.T, rcond=None)[0]
    return 1000 * np.linalg.norm((offsets - (basis @ coefficients).T).reshape(len(vertices), -1, 3), axis=2)


def regressor_error(build: OpenHandBuild, people: HandSamples, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance in millimetres `(N, 16)` between regressed and true joints, at rest and in random poses."""
    subset = replace(people, vertices=people.vertices[:, build.kept], weights=people.weights[build.kept])
    bent, joints = posed(subset, random_angles(np.random.default_rng(seed), len(people.vertices)))
    regressor = build.hand.joint_regressor.astype(np.float64)
    at_rest = np.linalg.norm(regressor @ subset.vertices - subset.bone_heads, axis=-1)
    in_poses = np.linalg.norm(regressor @ bent - joints, axis=-1)
    return 1000 * at_rest, 1000 * in_poses


def describe(build: OpenHandBuild, held_out: HandSamples, seed: int) -> str:
    """The figures as text. `held_out` are people the hand was not made of, see `OpenHandBuild.prepare`."""
    hand = build.hand
    lines = [
        f"{hand.vertex_count} vertices, {len(hand.faces)} triangles, {len(hand.uv)} texture points, "
        f"{hand.shape_count} shape components"
    ]
    for name in POSE_NAMES:
        full = posed(build.people, named_angles(name), slice(1))[0][0]
        error = simplification_error(build.kept, hand.faces, full)
        lines.append(f"simplification, {name}: mean {error.mean():.2f} mm, largest {error.max():.2f} mm")
    left = component_error(hand, held_out.vertices[:, build.kept])
    lines.append(
        f"shape components explain {100 * build.variance.sum():.2f} % of the variance "
        f"(the first {100 * build.variance[0]:.1f} %); "
        f"{len(left)} held-out people: mean {left.mean():.2f} mm, largest {left.max():.2f} mm"
    )
    for name, error in zip(("at rest", "in random poses"), regressor_error(build, held_out, seed)):
        fingers = error[:, 1:]
        lines.append(
            f"joint regressor, held-out people {name}: mean {fingers.mean():.2f} mm, "
            f"worst joint's mean {fingers.mean(axis=0).max():.2f} mm, largest {fingers.max():.2f} mm"
        )
    palms = 1000 * palm_lengths(held_out)
    lines.append(f"wrist to middle knuckle, held-out people: {palms.mean():.1f} +- {palms.std():.1f} mm")
    return "\n".join(lines)
