"""MediaPipe's landmark network on the samples that a network of ours is judged by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from train.datasets.base import Frame
from train.detector.landmarks import LandmarkNetwork
from train.evaluation.predictions import Predictions, true_hand, true_occlusion


def predict_landmarks(
    network: LandmarkNetwork, samples: Sequence[list[Frame]], joint_regressor: np.ndarray | None = None
) -> Predictions:
    """The network's answers for the newest frame of each sample, without vertices, rotation and occlusion.

    As ours, it is told where the hand is: it gets MediaPipe's own region about the true image points, at its
    own resolution, of right hands (left ones come mirrored). Points are in sides of the picture.

    Args:
        network: MediaPipe's.
        samples: as for `predictions.predict`.
        joint_regressor: (21, V), makes the true joints from the true vertices; without it there is no 3D.
    """
    uv, true_uv, joints, true_joints = [], [], [], []
    for sample in tqdm(samples, desc="mediapipe", unit="sample"):
        frame = sample[0]
        found = network.track(frame.image, frame.points)
        side = frame.image.shape[1]
        uv.append(found.points / side)
        true_uv.append(frame.points / side)
        joints.append(found.world - found.world[0])
        truth = np.full((21, 3), np.nan)
        if joint_regressor is not None:
            truth = true_hand(frame, frame.rotation, joint_regressor)[1]
        true_joints.append(truth)
    unknown = np.full((len(uv), 1, 3), np.nan)
    return Predictions(
        uv=np.stack(uv),
        true_uv=np.stack(true_uv),
        vertices=unknown,
        true_vertices=np.zeros((len(uv), 0, 3)),
        joints=np.stack(joints),
        true_joints=np.stack(true_joints),
        rotation=np.full((len(uv), 3, 3), np.nan),
        true_rotation=np.full((len(uv), 3, 3), np.nan),
        occlusion=np.full((len(uv), 6), np.nan),
        true_occlusion=true_occlusion(samples),
    )
