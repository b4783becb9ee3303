"""The bones of a hand in many poses at once, and whether the flesh around them would overlap."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from h2onet_ros.hand.joints import MANO_TO_STANDARD
from h2onet_ros.hand.model import HandModel

INDEX, MIDDLE, LITTLE, RING, THUMB = 1, 4, 7, 10, 13
"""First joints of the fingers in MANO's order."""

# Radii (metres) of the flesh around a finger's three phalanges and around a metacarpal bone.
_PHALANX_RADII = (0.0085, 0.0075, 0.0065)
_THUMB_RADII = (0.0095, 0.009, 0.008)
_METACARPAL_RADIUS = 0.011
# A fist's fingertips press into the palm beside the bone: to fingers it is only so thick.
_METACARPAL_RADIUS_TO_FINGERS = 0.004
# Flesh gives way: skin may overlap by this much (metres) before a pose counts as impossible.
SOFTNESS = 0.0055
_POINTS_PER_BONE = 4


def forward_kinematics(hand: HandModel, pose: np.ndarray) -> np.ndarray:
    """The 21 joints `(n, 21, 3)` in metres of the mean hand under poses `(n, 16, 3)` of rotation vectors."""
    rest = np.asarray(hand.joint_regressor, np.float64) @ np.asarray(hand.template, np.float64)
    tips = np.asarray(hand.template, np.float64)[np.asarray(hand.tip_vertices)]
    local = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(-1, 16, 3, 3)
    world, joints = np.empty_like(local), np.empty((len(local), 21, 3))
    world[:, 0], joints[:, 0] = local[:, 0], rest[0]
    for j in range(1, 16):
        parent = int(hand.parents[j])
        joints[:, j] = joints[:, parent] + world[:, parent] @ (rest[j] - rest[parent])
        world[:, j] = world[:, parent] @ local[:, j]
    for finger, last in enumerate((THUMB + 2, INDEX + 2, MIDDLE + 2, RING + 2, LITTLE + 2)):
        joints[:, 16 + finger] = joints[:, last] + world[:, last] @ (tips[finger] - rest[last])
    return joints[:, MANO_TO_STANDARD]


def penetration(joints: np.ndarray) -> np.ndarray:
    """Deepest overlap in metres `(n,)` between the flesh of different fingers, or of fingers and the palm.

    `joints` is `(n, 21, 3)` in standard order. Every bone is a row of spheres.
    """
    return np.maximum(0.0, -_gaps(joints)[0].min(axis=1))


def thumb_gap(joints: np.ndarray) -> np.ndarray:
    """Least distance in metres `(n,)` of the thumb's outer two bones from fingers and palm, less the flesh.

    Negative where they press into each other. `joints` is `(n, 21, 3)` in standard order.
    """
    gaps, first_bone, _ = _gaps(joints)
    # Pairs are ordered, and the thumb's bones are the first three.
    return gaps[:, (first_bone == 1) | (first_bone == 2)].min(axis=1)


def _gaps(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances `(n, pairs)` between the flesh of bones that may not overlap, and the bones of each pair."""
    starts, ends, radii, groups = [], [], [], []
    for finger in range(5):
        base = 1 + 4 * finger
        for k in range(3):
            starts.append(base + k)
            ends.append(base + k + 1)
            radii.append((_THUMB_RADII if finger == 0 else _PHALANX_RADII)[k])
            groups.append(finger)
    for finger in range(1, 5):
        starts.append(0)
        ends.append(1 + 4 * finger)
        radii.append(_METACARPAL_RADIUS)
        groups.append(5)
    along = (np.arange(_POINTS_PER_BONE) + 0.5) / _POINTS_PER_BONE
    points = joints[:, starts, None] * (1 - along[:, None]) + joints[:, ends, None] * along[:, None]
    points = points.reshape(len(joints), -1, 3).astype(np.float32)
    radius = np.repeat(np.asarray(radii, np.float32), _POINTS_PER_BONE)
    group = np.repeat(groups, _POINTS_PER_BONE)
    bone = np.repeat(np.arange(len(radii)), _POINTS_PER_BONE)
    phalanx = bone % 3
    first, second = np.nonzero(np.triu(group[:, None] != group[None, :]))
    # A finger's first phalanx starts inside the palm by nature.
    to_palm = (group[first] == 5) | (group[second] == 5)
    proximal = ((group[first] < 5) & (phalanx[first] == 0)) | ((group[second] < 5) & (phalanx[second] == 0))
    keep = ~(to_palm & proximal)
    # Neighbouring first phalanges touch along their whole length in a closed hand.
    both_proximal = (phalanx[first] == 0) & (phalanx[second] == 0) & ~to_palm
    keep &= ~both_proximal
    first, second = first[keep], second[keep]
    reach = radius[first] + radius[second]
    finger_to_palm = (group[second] == 5) & (group[first] > 0)
    reach -= finger_to_palm * np.float32(_METACARPAL_RADIUS - _METACARPAL_RADIUS_TO_FINGERS)
    between = points[:, first] - points[:, second]
    return np.sqrt(np.einsum("npk,npk->np", between, between)) - reach, bone[first], bone[second]
