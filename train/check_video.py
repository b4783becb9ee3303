"""Run the pipeline over a video and judge it by MediaPipe's landmark network.

    pip download --no-deps mediapipe==0.10.21
    python -m train.check_video VIDEO --mediapipe mediapipe-0.10.21-*.whl [--overlay OUT.mp4]

Prints how many frames had a hand, how long identities lasted, the mean distance between the projected joints
and the network's points (in parts of the longer side of the hand's box), and where the time went.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.overlay import OverlayVideo
from h2onet_ros.bag.sources import VideoSource
from h2onet_ros.engines import BundleError, EngineError, WeightsBundle, create_engine
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame, FrameResult
from train.detector.landmarks import LandmarkNetwork
from train.evaluation.video import follow, read_frames


def main(argv: Sequence[str] | None = None) -> int:
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
    parser.add_argument("--bundle", type=Path, help="weights bundle, or the name of one that comes along")
    parser.add_argument("--hands", type=int, default=2, help="most hands to follow")
    parser.add_argument("--every", type=int, default=5, help="judge every so many frames")
    parser.add_argument("--frames", type=int, help="stop after so many")
    parser.add_argument("--overlay", type=Path, help="write the video with the hands drawn over it")
    options = parser.parse_args(argv)
    try:
        _check(options)
    except (BagError, BundleError, EngineError, OSError, ValueError) as error:
        print(f"check_video: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncheck_video: stopped", file=sys.stderr)
        return 130
    return 0


def _check(options: argparse.Namespace) -> None:
    bundle = WeightsBundle.load(options.bundle)
    pipeline = HandPipeline(create_engine(bundle), PipelineConfig(max_hands=options.hands))
    judge = LandmarkNetwork(options.mediapipe) if options.mediapipe else None
    source = VideoSource(options.video)
    video = OverlayVideo(options.overlay, source.frame_rate, bundle.topology) if options.overlay else None

    def draw(frame: Frame, result: FrameResult) -> None:
        if video:
            video.add(frame, result.hands, frame.stamp)

    try:
        frames = read_frames(source, options.frames)
        results, judged = follow(frames, pipeline, judge, options.every, draw)
    finally:
        if video:
            video.close()
    errors = np.array([pair for pairs in judged.values() for pair in pairs])
    print(json.dumps(summary(results, errors.reshape(-1, 2)), indent=2))


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
    raise SystemExit(main())
