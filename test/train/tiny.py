"""A tiny data set: rendered-like samples and real-like crops, written in the true formats."""

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from h2onet_ros.hand.model import open_hand
from train.synthetic.shards import FORMAT, shard_path, write_shard

SIDE = 160


def draw_hand(points: np.ndarray, shade: int = 220) -> np.ndarray:
    """A stick hand: enough to learn from, quick to draw."""
    image = np.full((SIDE, SIDE, 3), 40, np.uint8)
    for finger in range(5):
        chain = [points[0], *points[1 + 4 * finger : 5 + 4 * finger]]
        for a, b in pairwise(chain):
            colour = (shade, 60 + 40 * finger, 255 - 50 * finger)
            cv2.line(image, np.round(a).astype(int).tolist(), np.round(b).astype(int).tolist(), colour, 5)
    return image


def random_hands(count: int, seed: int, hidden: float = 0.3) -> dict[str, np.ndarray]:
    """Posed hands before a camera, with labels named as in a shard."""
    rng = np.random.default_rng(seed)
    hand = open_hand()
    angles = rng.uniform(0, 0.8, (count, 16, 3)) * np.array([1.0, 0.1, 0.0])
    pose = hand.pose_from_angles(angles).astype(np.float32)
    pose[:, 0] = rng.normal(0, 0.4, (count, 3))
    shape = rng.normal(0, 0.5, (count, hand.shape_count)).astype(np.float32)
    posed = hand.pose(pose, shape)
    still = pose.copy()
    still[:, 0] = 0
    regressor = hand.standard_regressor()
    canonical = hand.pose(still, shape).vertices
    wrist = np.einsum("v,nvi->ni", regressor[0], canonical)
    from h2onet_ros.hand.model import rotation_matrices

    rotation = rotation_matrices(pose[:, 0]).astype(np.float32)
    vertices = np.einsum("nij,nvj->nvi", rotation, canonical - wrist[:, None])
    joints = np.einsum("jv,nvi->nji", regressor, vertices)
    assert np.abs(np.diff(posed.vertices - vertices, axis=1)).max() < 1e-5
    place = joints + np.array([0, 0, 0.6])
    flat = place[..., :2] / place[..., 2:]
    low, high = flat.min(1), flat.max(1)
    focal = SIDE / 2 / (high - low).max(1)
    camera = np.zeros((count, 3, 3), np.float32)
    camera[:, 0, 0] = camera[:, 1, 1] = focal
    camera[:, :2, 2] = SIDE / 2 - focal[:, None] * (low + high) / 2
    camera[:, 2, 2] = 1
    return {
        "vertices": vertices.astype(np.float32),
        "joints": joints.astype(np.float32),
        "rotation": rotation,
        "canonical_wrist": wrist.astype(np.float32),
        "pose": pose,
        "shape": shape,
        "camera": camera,
        "joints2d": (flat * focal[:, None, None] + camera[:, None, :2, 2]).astype(np.float32),
        "occluded": rng.random((count, 6)) < hidden,
    }


def write_synthetic(
    folder: Path, singles: int = 6, triplets: int = 3, seed: int = 0, hidden: float = 0.3
) -> Path:
    """A data set of one shard; each finger is `hidden` with this probability."""
    lengths = np.array([1] * singles + [3] * triplets, np.int32)
    labels = random_hands(int(lengths.sum()), seed, hidden)
    images = [draw_hand(points) for points in labels["joints2d"]]
    files = [cv2.imencode(".jpg", image[..., ::-1])[1].reshape(-1) for image in images]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"format": FORMAT}))
    write_shard(
        shard_path(folder, 0),
        {
            "first_frame": (np.cumsum(lengths) - lengths).astype(np.int32),
            "frame_count": lengths,
            "jpeg": np.concatenate(files),
            "jpeg_offset": np.cumsum([0] + [len(f) for f in files]).astype(np.int64),
            **labels,
        },
    )
    return folder


def write_real(folder: Path, per_source: int = 6, seed: int = 5) -> tuple[Path, dict[str, np.ndarray]]:
    """Crops of two sources, every third a left hand, and one drawn over; returns the true labels too."""
    names = [f"people/{i:05d}.jpg" for i in range(per_source)]
    names += [f"dwivedi/{i:05d}.jpg" for i in range(11, 12 + per_source)]
    labels = random_hands(len(names), seed)
    left = np.arange(len(names)) % 3 == 0
    points, joints = labels["joints2d"].copy(), labels["joints"].copy()
    for i, name in enumerate(names):
        image = draw_hand(points[i])
        if left[i]:
            image = np.ascontiguousarray(image[:, ::-1])
            points[i, :, 0] = SIDE - 1 - points[i, :, 0]
            joints[i, :, 0] *= -1
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image[..., ::-1])
    np.savez(
        folder / "labels.npz",
        image=np.array(names),
        joints2d=points,
        joints3d_world=joints,
        right_hand_score=np.where(left, 0.1, 0.9).astype(np.float32),
        presence=np.ones(len(names), np.float32),
    )
    return folder, labels
