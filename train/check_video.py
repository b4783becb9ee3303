"""Run the pipeline over a video and judge it by MediaPipe's landmark network.

    pip download --no-deps mediapipe==0.10.21
    python -m train.check_video VIDEO --mediapipe mediapipe-0.10.21-*.whl [--overlay OUT.mp4]

Prints how many frames had a hand, how long identities lasted, the mean distance between the projected joints
and the network's points (in parts of the longer side of the hand's box), and where the time went.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from h2onet_ros.engines import WeightsBundle, create_engine, default_bundle_path
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame, FrameResult
from train.detector.landmarks import LandmarkNetwork


def read_frames(path: Path, limit: int | None) -> Iterator[Frame]:
    """Frames of a video, with an assumed camera and stamps from the frame rate."""
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS) or 30.0
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for index in tqdm(range(min(count, limit or count)), unit="frame"):
        read, bgr = capture.read()
        if not read:
            return
        rgb = np.ascontiguousarray(bgr[..., ::-1], np.uint8)
        yield Frame(rgb, round(index / rate * 1e9), Camera.assumed(rgb.shape[1], rgb.shape[0]))


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument(
        "--mediapipe",
        type=Path,
        metavar="WHEEL_OR_FILE",
        help="mediapipe-0.10.21 wheel, or hand_landmark_full.tflite; without it nothing is judged",
    )
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--hands", type=int, default=2, help="most hands to follow")
    parser.add_argument("--every", type=int, default=5, help="judge every so many frames")
    parser.add_argument("--frames", type=int, help="stop after so many")
    parser.add_argument("--overlay", type=Path, help="write the video with the hands drawn over it")
    options = parser.parse_args()

    bundle = WeightsBundle.load(options.bundle)
    pipeline = HandPipeline(create_engine(bundle), PipelineConfig(max_hands=options.hands))
    judge = LandmarkNetwork(options.mediapipe) if options.mediapipe else None
    writer: cv2.VideoWriter | None = None

    def write(frame: Frame, result: FrameResult) -> None:
        nonlocal writer
        if writer is None:
            size = frame.camera.width, frame.camera.height
            writer = cv2.VideoWriter(str(options.overlay), cv2.VideoWriter.fourcc(*"mp4v"), 30, size)
        writer.write(overlay(frame, result, bundle.topology))

    frames = read_frames(options.video, options.frames)
    more = {"seen": write} if options.overlay else {}
    results, judged = follow(frames, pipeline, judge, options.every, **more)
    if writer is not None:
        writer.release()
    errors = np.array([pair for pairs in judged.values() for pair in pairs])
    print(json.dumps(summary(results, errors.reshape(-1, 2)), indent=2))


def overlay(frame: Frame, result: FrameResult, topology: HandTopology) -> np.ndarray:
    """The frame with the hands drawn over it, BGR."""
    image = draw_overlay(frame.rgb, result.hands, frame.camera, topology.faces, topology.face_part)
    return np.ascontiguousarray(image[..., ::-1])


def summary(results: list[FrameResult], judged: np.ndarray) -> dict[str, object]:
    """Figures over all frames; `judged` `(N, 2)` as `distances` gives them."""
    hands = [hand for result in results for hand in result.hands]
    stages = dict.fromkeys(name for result in results for name in result.timings)
    timings = {
        stage: [1e3 * result.timings[stage] for result in results if stage in result.timings]
        for stage in stages
    }
    report: dict[str, object] = {
        "frames": len(results),
        "frames with a hand": sum(bool(result.hands) for result in results),
        "frames per identity": Counter(f"{hand.track_id} {hand.handedness}" for hand in hands),
        "reprojection error, mean, of the region": _mean(h.reprojection_error / h.region.size for h in hands),
        "milliseconds, median and 95th percentile": {
            stage: [round(float(np.percentile(times, q)), 2) for q in (50, 95)]
            for stage, times in timings.items()
        },
    }
    if len(judged):
        report["hands judged"] = len(judged)
        for column, name in enumerate(("projected joints", "image points")):
            values = judged[:, column]
            report[f"distance of {name} to the landmark network, of the hand's box"] = {
                "mean": round(float(values.mean()), 4),
                "median": round(float(np.median(values)), 4),
                "95th percentile": round(float(np.percentile(values, 95)), 4),
            }
    return report


def _mean(values: Iterator[float]) -> float | None:
    listed = list(values)
    return round(float(np.mean(listed)), 4) if listed else None


if __name__ == "__main__":
    main()
