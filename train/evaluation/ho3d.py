"""The submission to the HO3D challenge, whose evaluation set has no public truth."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from h2onet_ros.perception.crop import to_network
from train.datasets import DataSetError, HandDataset
from train.evaluation.predictions import Samples
from train.evaluation.predictors import Subject
from train.reference_crop import ReferenceAugmentation

BATCH = 32
OPENGL = np.array([1.0, -1.0, -1.0])
"""From OpenCV's camera axes to the challenge's."""

CHALLENGE_ORDER = (
    *(0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15),
    *(1, 2, 3, 4, 8, 12, 16, 20),
)
"""Our joints (wrist, thumb, index, middle, ring, little) in the challenge's order: wrist, index, middle,
little and ring without tips, thumb with its tip, then the tips of index, middle, ring and little."""


def write_submission(subject: Subject, dataset: HandDataset, path: Path) -> int:
    """Write a zip file with `pred.json`: joints and vertices of all samples, in the data set's order.

    Args:
        subject: of MANO's mesh, for published crops.
        dataset: the evaluation split.
        path: zip file to be written, only replaced by a complete one.

    Returns:
        Number of samples.

    Raises:
        DataSetError: the network cannot be submitted, or the split is another one.
    """
    if dataset.layout.split != "evaluation":
        raise DataSetError(f"the challenge judges the split `evaluation`, not {dataset.name}")
    if not subject.has_mesh_of(dataset.hand):
        raise DataSetError(
            f"the challenge wants the mesh of MANO; {subject.name} has another one: train a network on "
            "MANO hands (single_frame_ho3d, multi_frame_ho3d) or import a published checkpoint"
        )
    if subject.upright:
        raise DataSetError(
            f"{subject.name} wants crops of hands that stand upright, and the evaluation split does not tell "
            "how they lie; train with mixture.augmentation=published"
        )
    joints_of_all, vertices_of_all = [], []
    samples = Samples(dataset, subject.frames)
    still = ReferenceAugmentation.still()
    for begin in tqdm(range(0, len(samples), BATCH), desc=dataset.name, unit="batch"):
        chosen = [samples[i] for i in range(begin, min(begin + BATCH, len(samples)))]
        moments = [[sample[min(k, len(sample) - 1)] for sample in chosen] for k in range(3)]
        crops = [to_network([still.crop(frame)[0] for frame in frames]) for frames in moments]
        hands = subject.predictor.fuse(*(subject.predictor.encode(images) for images in crops))
        for frame, joints, mesh in zip(moments[0], hands.joints, hands.vertices):
            assert frame.wrist is not None
            joints_of_all.append(_challenge(joints[list(CHALLENGE_ORDER)] - joints[0] + frame.wrist))
            vertices_of_all.append(_challenge(mesh - joints[0] + frame.wrist))
    partial = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("pred.json", json.dumps([joints_of_all, vertices_of_all]))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return len(joints_of_all)


def _challenge(points: np.ndarray) -> list[list[float]]:
    return np.round(points * OPENGL, 5).tolist()
