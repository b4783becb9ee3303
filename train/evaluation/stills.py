"""Single photographs through the whole pipeline: what they alone, or a box around a hand, lead to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from h2onet_ros.engines.base import Engine
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.crop import CROP_SCALE, region_from_points
from h2onet_ros.perception.photo import PhotoPipeline
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame, GivenRegion, Hand
from train.data import RealSource
from train.evaluation.metrics import FAILURE
from train.evaluation.predictions import spread
from train.evaluation.report import Found


def evaluate_stills(engine: Engine, source: RealSource, count: int | None) -> Found:
    """Each photograph is a scene of its own, left hands as they are.

    Returns:
        Figures `real_photos`: given the photograph alone (`PhotoPipeline`), and `real_stills`: given what a
        detector of hands gives, a square about the joints without a direction or a side. Share of hands
        `found`, and of these the share with the right `side`; distance of their image points in sides of the
        hand's box, `uv_mean` and `uv_median`; share of all photographs in which it is more than 15 %, or no
        hand was found, `uv_failures`.
    """
    photos = PhotoPipeline(engine, max_hands=1)
    stills = HandPipeline(engine, PipelineConfig(max_hands=1))
    alone, squared = _Scores(), _Scores()
    try:
        for row in spread(source, count):
            frame, points, side = _photograph(source, int(row))
            alone.add(photos(frame.rgb, frame.camera).hands, points, side)
            stills.reset()
            square = GivenRegion(region_from_points(points, CROP_SCALE))
            squared.add(stills.process(frame, [square]).hands, points, side)
    finally:
        photos.close()
        stills.close()
    return Found({"real_photos": alone.figures(), "real_stills": squared.figures()}, {})


def _photograph(source: RealSource, row: int) -> tuple[Frame, np.ndarray, str]:
    """A photograph as it was taken, the image points (21, 2) of its hand, and of which side that is."""
    (photo,) = source.sample(row, 1)
    image = photo.image
    points, matrix = photo.points.astype(np.float64), photo.camera.astype(np.float64)
    height, width = image.shape[:2]
    if photo.mirrored:
        image = image[:, ::-1]
        points[:, 0] = width - 1 - points[:, 0]
        matrix[0, 2] = width - 1 - matrix[0, 2]
    frame = Frame(np.ascontiguousarray(image), 1, Camera(width, height, matrix))
    return frame, points, "left" if photo.mirrored else "right"


@dataclass
class _Scores:
    count: int = 0
    errors: list[float] = field(default_factory=list)
    sides: list[bool] = field(default_factory=list)

    def add(self, hands: tuple[Hand, ...], points: np.ndarray, side: str) -> None:
        self.count += 1
        for hand in hands[:1]:
            distance = np.linalg.norm(hand.image_points - points, axis=1).mean()
            self.errors.append(float(distance / np.ptp(points, axis=0).max()))
            self.sides.append(hand.handedness == side)

    def figures(self) -> dict[str, float]:
        figures = {"found": len(self.errors) / self.count}
        if self.errors:
            figures |= {
                "side": float(np.mean(self.sides)),
                "uv_mean": float(np.mean(self.errors)),
                "uv_median": float(np.median(self.errors)),
                "uv_failures": 1 - float((np.array(self.errors) <= FAILURE).sum()) / self.count,
            }
        return figures
