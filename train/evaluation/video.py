"""The whole pipeline on a video, judged by MediaPipe's landmark network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h2onet_ros.engines import WeightsBundle, create_engine
from train.check_video import distances, read_frames, summary


def evaluate_video(bundle: WeightsBundle, video: Path, wheel: Path, every: int = 5) -> dict[str, object]:
    """Figures of `train.check_video`; every so many frames are judged."""
    from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
    from train.detector.landmarks import LandmarkNetwork

    pipeline = HandPipeline(create_engine(bundle), PipelineConfig(max_hands=1))
    judge = LandmarkNetwork(wheel)
    results, judged = [], []
    for index, frame in enumerate(read_frames(video, None)):
        result = pipeline.process(frame)
        results.append(result)
        if index % every == 0:
            judged += distances(frame, result, judge)
    return summary(results, np.array(judged).reshape(-1, 2))
