"""Fit the open hand to the landmarks of real crops: meshes for photographs that came without any.

    python -m train.fit --real FOLDER_OR_ZIP --out fits.npz

All crops are optimised at once (Adam over joint angles, shape, orientation and camera). The 2D landmarks
pull most; the directions of the bones in the landmark network's weak 3D decide what 2D leaves open; joint
limits and the shape's prior keep the hand a hand. The landmark network places its joints elsewhere than the
hand model does, so one offset per joint, the same for all crops, is found along with the rest.

The crops' cameras are unknown: a hand at `DISTANCE` is assumed, and only its scale and place are fitted.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from h2onet_ros.hand.joints import SKELETON
from h2onet_ros.hand.model import JOINT_COUNT, HandModel, open_hand, rotation_matrices
from train.real_crops import RealCrops, RealCropsError
from train.torch_hand import TorchHand, rotation_from_vector

FORMAT = "h2onet landmark fits 1"
DISTANCE = 0.55
"""Metres from camera to wrist that perspective is drawn for: a person before a webcam or phone."""

_PALM = np.array([0, 1, 5, 9, 13, 17])
_DIRECTION_WEIGHT = 0.15
_LIMIT_WEIGHT = 4.0
_POSE_PRIOR = 0.003
_SHAPE_PRIOR = 0.002
_OFFSET_PRIOR = 30.0


@dataclass(frozen=True, eq=False)
class Fits:
    """What `fit` found for N crops.

    Attributes:
        names: (N,) of the crops.
        pose: (N, 16, 3) rotation vectors; row 0 is the global rotation.
        shape: (N, S).
        error: (N,) mean distance of the projected landmarks, in sides of the joints' box.
        direction_error: (N,) mean angle to the weak 3D bone directions, radians.
        camera: (N, 3, 3) intrinsics of the crop that the fit came out with, pixels.
        offsets: (21, 3) where the landmark network sees each joint, in the frame of its bone, metres.
    """

    names: np.ndarray
    pose: np.ndarray
    shape: np.ndarray
    error: np.ndarray
    direction_error: np.ndarray
    camera: np.ndarray
    offsets: np.ndarray

    def save(self, path: str | Path) -> None:
        np.savez_compressed(path, format=np.array(FORMAT), **vars(self))

    @classmethod
    def load(cls, path: str | Path) -> Fits:
        """Raises ValueError if `path` is no file of fits, OSError if it cannot be read."""
        with np.load(path, allow_pickle=False) as stored:
            if "format" not in stored or str(stored["format"]) != FORMAT:
                raise ValueError(f"{path}: expected fits made by `python -m train.fit`")
            missing = {f.name for f in fields(cls)} - set(stored.files)
            if missing:
                raise ValueError(f"{path} lacks {', '.join(sorted(missing))}; make it anew with train.fit")
            return cls(**{name: stored[name] for name in stored.files if name != "format"})

    def good(self, max_error: float = 0.035, max_direction_error: float = np.deg2rad(32)) -> np.ndarray:
        """(N,) which fits explain their crop well enough to be trained on as meshes."""
        return (self.error <= max_error) & (self.direction_error <= max_direction_error)


def fit(crops: RealCrops, hand: HandModel, steps: int = 400, progress: bool = False) -> Fits:
    """Fit `hand` to every crop."""
    model = TorchHand(hand)
    truth = torch.as_tensor(crops.joints2d)
    low, high = truth.amin(1), truth.amax(1)
    box = (high - low).amax(1)
    centre = (low + high) / 2
    truth = (truth - centre[:, None]) / box[:, None, None]
    weak = torch.as_tensor(crops.joints3d)
    parent, child = torch.as_tensor(SKELETON.astype(np.int64)).unbind(1)
    directions = torch.nn.functional.normalize(weak[:, child] - weak[:, parent], dim=-1)
    limits = torch.as_tensor(hand.pose_limits[1:])
    count = len(crops)

    angles = (limits.clamp(0, 0.4).mean(-1) * 0.8).repeat(count, 1, 1)
    shape = torch.zeros(count, hand.shape_count)
    rest = model(angles, shape)[0]
    base = _aligning_rotation(rest[:, _PALM], weak[:, _PALM])
    turn = torch.zeros(count, 3)
    # Scale and place such that the joints' box comes out right: centred, its longer side 1.
    placed = (base[:, None] @ (rest - rest[:, :1]).unsqueeze(-1)).squeeze(-1)[..., :2] / DISTANCE
    low, high = placed.amin(1), placed.amax(1)
    scale = -torch.log((high - low).amax(1))
    shift = -torch.exp(scale)[:, None] * (low + high) / 2
    offsets = torch.zeros(21, 3)
    parameters = [angles, shape, turn, scale, shift, offsets]
    for parameter in parameters:
        parameter.requires_grad_()
    optimiser = torch.optim.Adam(
        [
            {"params": [angles], "lr": 0.03},
            {"params": [shape], "lr": 0.03},
            {"params": [turn], "lr": 0.02},
            {"params": [scale, shift], "lr": 0.02},
            {"params": [offsets], "lr": 0.0002},
        ]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=1e-4)

    def evaluate() -> tuple[Tensor, Tensor]:
        joints, bones = model(angles, shape)
        joints = joints - joints[:, :1]
        rotation = base @ rotation_from_vector(turn)
        seen = joints + (bones @ offsets.unsqueeze(-1)).squeeze(-1)
        seen = (rotation[:, None] @ seen.unsqueeze(-1)).squeeze(-1)
        projected = torch.exp(scale)[:, None, None] * seen[..., :2] / (seen[..., 2:] + DISTANCE)
        residual = projected + shift[:, None] - truth
        predicted = torch.nn.functional.normalize(seen[:, child] - seen[:, parent], dim=-1)
        return residual, (predicted * directions).sum(-1)

    bar = tqdm(range(steps), desc="fit", unit="step", disable=not progress)
    for step in bar:
        residual, cosine = evaluate()
        # Squared near the truth, linear beyond a tenth of the box: wrong landmarks do not bend the hand.
        distance = torch.nn.functional.huber_loss(
            residual * 10, torch.zeros_like(residual), reduction="none"
        ).sum((1, 2))
        over = torch.relu(angles - limits[..., 1]) + torch.relu(limits[..., 0] - angles)
        first = _DIRECTION_WEIGHT * (3 if step < steps // 3 else 1)
        loss = (
            distance
            + first * (1 - cosine).sum(1)
            + _LIMIT_WEIGHT * over.square().sum((1, 2))
            + _POSE_PRIOR * angles.square().sum((1, 2))
            + _SHAPE_PRIOR * shape.square().sum(1)
        ).sum() + _OFFSET_PRIOR * count * offsets.square().sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix_str(f"{residual.detach().norm(dim=-1).mean():.4f} of the box")
    with torch.no_grad():
        residual, cosine = evaluate()
        rotation = (base @ rotation_from_vector(turn)).double().numpy()
        pose = np.zeros((count, JOINT_COUNT, 3), np.float32)
        full = np.concatenate([np.zeros((count, 1, 3)), angles.double().numpy()], 1)
        pose[:] = hand.pose_from_angles(full)
        pose[:, 0] = _rotation_vectors(rotation)
        camera = np.zeros((count, 3, 3), np.float32)
        camera[:, 0, 0] = camera[:, 1, 1] = (torch.exp(scale) * box).numpy()
        camera[:, :2, 2] = (centre + shift * box[:, None]).numpy()
        camera[:, 2, 2] = 1
        return Fits(
            names=crops.names,
            pose=pose,
            shape=shape.numpy().copy(),
            error=residual.norm(dim=-1).mean(1).numpy(),
            direction_error=torch.arccos(cosine.clamp(-1, 1)).mean(1).numpy(),
            camera=camera,
            offsets=offsets.detach().numpy().copy(),
        )


def _aligning_rotation(source: Tensor, target: Tensor) -> Tensor:
    """(B, 3, 3): turns `source` (B, N, 3) onto `target`, least squares (Kabsch, 1976)."""
    a, b = source - source.mean(1, keepdim=True), target - target.mean(1, keepdim=True)
    u, _, vt = torch.linalg.svd(a.transpose(1, 2) @ b)
    sign = torch.linalg.det(u @ vt).sign()
    u = torch.cat([u[..., :2], u[..., 2:] * sign[:, None, None]], -1)
    return (u @ vt).transpose(1, 2)


def _rotation_vectors(matrices: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrices).as_rotvec()


def meshes(fits: Fits, hand: HandModel, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical vertices (n, V, 3), relative to no rotation, and rotations (n, 3, 3) of some fits."""
    pose = fits.pose[rows].copy()
    rotation = rotation_matrices(pose[:, 0])
    pose[:, 0] = 0
    return hand.pose(pose, fits.shape[rows]).vertices, rotation.astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True, help="folder or zip file of real crops")
    parser.add_argument("--out", type=Path, required=True, help="npz file to write")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    try:
        crops = RealCrops.load(arguments.real)
        fits = fit(crops, open_hand(), arguments.steps, progress=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        fits.save(arguments.out)
    except (RealCropsError, OSError) as error:
        print(f"fit: {error}", file=sys.stderr)
        return 1
    good = fits.good()
    print(
        f"{len(fits.names)} crops, {good.sum()} fitted well; median distance {np.median(fits.error):.4f} of "
        f"the box, median bone direction {np.rad2deg(np.median(fits.direction_error)):.1f} degrees"
    )
    for source in np.unique(crops.sources):
        rows = crops.sources == source
        print(f"  {source}: {good[rows].mean():.0%} good, median {np.median(fits.error[rows]):.4f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
