"""The whole pipeline on a video, judged by MediaPipe's landmark network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from h2onet_ros.engines.base import Engine
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame, FrameResult
from train.check_video import follow, overlay, read_frames
from train.detector.landmarks import LandmarkNetwork
from train.evaluation.jitter import still_jitter
from train.evaluation.report import Found

STILL_PICTURES = 8


def evaluate_video(
    engine: Engine,
    topology: HandTopology,
    video: Path,
    judge: LandmarkNetwork,
    every: int = 5,
    stills: int = STILL_PICTURES,
) -> Found:
    """Figures of following one hand through a video, as it is and mirrored, and of keeping still on it.

    Args:
        engine: runs the bundle.
        topology: of the bundle.
        video: shows one hand.
        judge: looks at frames.
        every: so many frames it is asked.
        stills: so many pictures, evenly spread over the video, are shown over and over.

    Returns:
        Figures `video`, `video_mirrored`: shares and counts, distances of the projected joints and of the
        image points (`points_mean`) from the judge's points in sides of the hand's box; `video` has
        `jitter.still_jitter` too. Pictures of the first, the middle and the worst judged frame.
    """
    figures = {}
    pictures = {}
    for name, mirrored in (("video", False), ("video_mirrored", True)):
        pipeline = HandPipeline(engine, PipelineConfig(max_hands=1))
        results, judged = follow(_frames(video, mirrored), pipeline, judge, every)
        figures[name] = _figures(results, judged)
        if not mirrored:
            errors = {index: pairs[0][0] for index, pairs in judged.items() if pairs}
            shown = {0: "first", len(results) // 2: "middle"}
            if errors:
                shown[max(errors, key=lambda index: errors[index])] = "worst"
            step = max(len(results) // stills, 1)
            still = []
            for index, frame in enumerate(read_frames(video, None)):
                if index in shown:
                    pictures[f"video_{shown[index]}"] = overlay(frame, results[index], topology)
                if index % step == step // 2:
                    still.append(frame)
            figures[name] |= still_jitter(engine, still)
    return Found(figures, pictures)


def _frames(video: Path, mirrored: bool) -> Iterator[Frame]:
    for frame in read_frames(video, None):
        yield replace(frame, rgb=np.ascontiguousarray(frame.rgb[:, ::-1])) if mirrored else frame


def _figures(results: list[FrameResult], judged: dict[int, list[tuple[float, float]]]) -> dict[str, float]:
    hands = [hand for result in results for hand in result.hands]
    figures = {
        "frames": float(len(results)),
        "frames_with_a_hand": float(sum(bool(result.hands) for result in results)),
        "identities": float(len({hand.track_id for hand in hands})),
        "left_share": float(np.mean([hand.handedness == "left" for hand in hands])) if hands else np.nan,
    }
    both = np.array([pair for pairs in judged.values() for pair in pairs])
    if len(both):
        errors, points = both.T
        figures |= {
            "judged": float(len(errors)),
            "distance_mean": float(errors.mean()),
            "distance_median": float(np.median(errors)),
            "distance_p95": float(np.percentile(errors, 95)),
            "points_mean": float(points.mean()),
        }
    return figures
