"""Single photographs through the whole pipeline: what a box around a hand, and nothing else, leads to."""

from __future__ import annotations

import numpy as np

from h2onet_ros.engines.base import Engine
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.crop import CROP_SCALE, region_from_points
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame, GivenRegion
from train.data import RealSource
from train.evaluation.metrics import FAILURE
from train.evaluation.predictions import spread
from train.evaluation.report import Found


def evaluate_stills(engine: Engine, source: RealSource, count: int | None) -> Found:
    """Each photograph is the first that the pipeline sees, left hands as they are.

    The region is what a detector of hands gives: a square about the joints, without a direction or a side.

    Returns:
        Figures `real_stills`: share of hands `found`, and of these the share with the right `side`;
        distance of their image points in sides of the hand's box, `uv_mean` and `uv_median`; share of all
        photographs in which it is more than 15 %, or no hand was found, `uv_failures`.
    """
    pipeline = HandPipeline(engine, PipelineConfig(max_hands=1))
    errors, sides = [], []
    rows = spread(source, count)
    try:
        for row in rows:
            (photo,) = source.sample(int(row), 1)
            image = photo.image
            points, matrix = photo.points.astype(np.float64), photo.camera.astype(np.float64)
            height, width = image.shape[:2]
            if photo.mirrored:
                image = image[:, ::-1]
                points[:, 0] = width - 1 - points[:, 0]
                matrix[0, 2] = width - 1 - matrix[0, 2]
            frame = Frame(np.ascontiguousarray(image), 1, Camera(width, height, matrix))
            pipeline.reset()
            hands = pipeline.process(frame, [GivenRegion(region_from_points(points, CROP_SCALE))]).hands
            if hands:
                distance = np.linalg.norm(hands[0].image_points - points, axis=1).mean()
                errors.append(distance / np.ptp(points, axis=0).max())
                sides.append(hands[0].handedness == ("left" if photo.mirrored else "right"))
    finally:
        pipeline.close()
    figures = {"found": len(errors) / len(rows)}
    if errors:
        figures |= {
            "side": float(np.mean(sides)),
            "uv_mean": float(np.mean(errors)),
            "uv_median": float(np.median(errors)),
            "uv_failures": 1 - float((np.array(errors) <= FAILURE).sum()) / len(rows),
        }
    return Found({"real_stills": figures}, {})
