"""The whole pipeline on a video, judged by MediaPipe's landmark network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from h2onet_ros.bag.sources import VideoSource
from h2onet_ros.engines.base import Engine
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame, FrameResult
from train.detector.landmarks import LandmarkNetwork
from train.evaluation.jitter import still_jitter
from train.evaluation.report import Found

STILL_PICTURES = 8


def read_frames(source: VideoSource, limit: int | None = None) -> Iterator[Frame]:
    """Frames of a video, only so many of the first ones, with an assumed camera."""
    total = min((count for count in (source.frame_count, limit) if count), default=None)
    for picture in tqdm(islice(source.pictures(), limit), total=total, unit="frame"):
        assert picture.bgr is not None
        rgb = np.ascontiguousarray(picture.bgr[..., ::-1])
        yield Frame(rgb, picture.time, Camera.assumed(rgb.shape[1], rgb.shape[0]))


def distances(frame: Frame, result: FrameResult, judge: LandmarkNetwork) -> list[tuple[float, float]]:
    """How far the projected joints, and the image points, are from each of the judge's hands we found."""
    found = []
    for truth in judge.find(frame.rgb):
        box = float(np.ptp(truth.points, axis=0).max())
        candidates = []
        for hand in result.hands:
            projected = frame.camera.project(hand.joints)
            errors = [
                np.linalg.norm(points - truth.points, axis=1).mean()
                for points in (projected, hand.image_points)
            ]
            candidates.append((float(errors[0]) / box, float(errors[1]) / box))
        if candidates and min(candidates)[0] < 0.5:
            found.append(min(candidates))
    return found


def follow(
    frames: Iterable[Frame],
    pipeline: HandPipeline,
    judge: LandmarkNetwork | None,
    every: int,
    seen: Callable[[Frame, FrameResult], None] = lambda frame, result: None,
) -> tuple[list[FrameResult], dict[int, list[tuple[float, float]]]]:
    """Run the pipeline over frames; results of all, and `distances` of every so many, by frame number.

    `seen` is called with every frame and its result.
    """
    results: list[FrameResult] = []
    judged = {}
    for index, frame in enumerate(frames):
        results.append(pipeline.process(frame))
        seen(frame, results[-1])
        if judge and index % every == 0:
            judged[index] = distances(frame, results[-1], judge)
    return results, judged


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

    Raises:
        SourceError: nothing there that can be decoded.
    """
    source = VideoSource(video)
    figures = {}
    pictures = {}
    for name, mirrored in (("video", False), ("video_mirrored", True)):
        pipeline = HandPipeline(engine, PipelineConfig(max_hands=1))
        results, judged = follow(_frames(source, mirrored), pipeline, judge, every)
        figures[name] = _figures(results, judged)
        if not mirrored:
            errors = {index: pairs[0][0] for index, pairs in judged.items() if pairs}
            shown = {0: "first", len(results) // 2: "middle"}
            if errors:
                shown[max(errors, key=lambda index: errors[index])] = "worst"
            step = max(len(results) // stills, 1)
            still = []
            for index, frame in enumerate(read_frames(source)):
                if index in shown:
                    hands = results[index].hands
                    drawn = draw_overlay(frame.rgb, hands, frame.camera, topology.faces, topology.face_part)
                    pictures[f"video_{shown[index]}"] = np.ascontiguousarray(drawn[..., ::-1])
                if index % step == step // 2:
                    still.append(frame)
            figures[name] |= still_jitter(engine, still)
    return Found(figures, pictures)


def _frames(source: VideoSource, mirrored: bool) -> Iterator[Frame]:
    for frame in read_frames(source):
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
