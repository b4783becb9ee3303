"""How much a hand trembles that keeps still: the whole pipeline on one picture over and over, with noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from h2onet_ros.engines.base import Engine
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame

NOISE = 2.0
"""Standard deviation of the noise of each pixel and colour, of 255: a webcam's in a lit room."""

SETTLING, MEASURED = 15, 20
"""Frames that the pipeline gets to settle, and frames measured after them; at 30 frames/s."""


def still_jitter(engine: Engine, pictures: Iterable[Frame], seed: int = 0) -> dict[str, float]:
    """Root mean square distance of the joints from their own mean, millimetres, over several pictures.

    Args:
        engine: runs the network; the pipeline smooths as the node does by default.
        pictures: each is shown `SETTLING + MEASURED` times with fresh noise, to a fresh pipeline.

    Returns:
        `jitter_mm` of the joints in the camera's frame, `jitter_relative_mm` relative to the wrist, the
        largest `jitter_worst_mm` of a picture, and how many `jitter_pictures` had a hand throughout.
    """
    rng = np.random.default_rng(seed)
    absolute, relative = [], []
    for picture in pictures:
        pipeline = HandPipeline(engine, PipelineConfig(max_hands=1))
        seen = []
        for index in range(SETTLING + MEASURED):
            noise = rng.normal(0, NOISE, picture.rgb.shape).astype(np.float32)
            rgb = np.clip(np.round(picture.rgb + noise), 0, 255).astype(np.uint8)
            hands = pipeline.process(replace(picture, rgb=rgb, stamp=round(index / 30 * 1e9))).hands
            if index >= SETTLING and hands:
                seen.append(hands[0].joints)
        if len(seen) == MEASURED:
            joints = np.stack(seen)
            absolute.append(_spread(joints))
            relative.append(_spread(joints - joints[:, :1]))
    if not absolute:
        return {"jitter_pictures": 0.0}
    return {
        "jitter_mm": 1e3 * float(np.sqrt(np.mean(np.square(absolute)))),
        "jitter_relative_mm": 1e3 * float(np.sqrt(np.mean(np.square(relative)))),
        "jitter_worst_mm": 1e3 * float(np.max(absolute)),
        "jitter_pictures": float(len(absolute)),
    }


def _spread(joints: np.ndarray) -> float:
    """Root mean square distance, metres, of joints (T, 21, 3) from their mean over time."""
    return float(np.sqrt(np.square(joints - joints.mean(0)).sum(-1).mean()))
