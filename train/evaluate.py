"""Measure a network: rendered hands with full truth, held-out photographs, a video.

    python -m train.evaluate --bundle FOLDER (or --run RUN) --test data/synthetic_test \\
        --real real_hands.zip [--video FILE --wheel mediapipe-0.10.21-*.whl] [--json FILE] [--pictures DIR]

Bundles run as they do in the node, by ONNX Runtime. `synthetic_single` leaves out the past: how much worse it
is on occluded hands is what the past is good for. Crops are centred on the true joints; `jittered` ones vary
as a tracker's regions do. `--count 256` gives the figures that a run logs as its validation.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2

from h2onet_ros.engines import BundleError, WeightsBundle
from train.checkpoint import TrainingError
from train.data import SyntheticSource
from train.evaluation.open_hand import Found, evaluate_real, evaluate_synthetic, held_out_photographs
from train.evaluation.predictors import Subject, bundle_subject, run_subject
from train.evaluation.report import flat, table
from train.evaluation.video import evaluate_video
from train.real_crops import RealCropsError
from train.synthetic.shards import ShardError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--bundle", type=Path, help="weights bundle")
    which.add_argument("--run", type=Path, help="folder of a training run, or its checkpoint")
    parser.add_argument("--test", type=Path, help="folder of rendered samples not trained on")
    parser.add_argument("--real", type=Path, help="folder or zip file of real crops")
    parser.add_argument("--fits", type=Path, help="file of train.fit (without: fitted now)")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--wheel", type=Path, help="mediapipe-0.10.21 wheel, judges the video")
    parser.add_argument("--count", type=int, help="only so many samples of each set")
    parser.add_argument("--json", type=Path, help="write the figures there, flat: set_figure")
    parser.add_argument("--pictures", type=Path, help="write pictures of typical and worst samples there")
    arguments = parser.parse_args()
    if arguments.video and not (arguments.bundle and arguments.wheel):
        parser.error("--video needs --bundle and --wheel")
    try:
        _evaluate(arguments)
    except (ShardError, RealCropsError, TrainingError, BundleError, OSError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    subject = bundle_subject(arguments.bundle) if arguments.bundle else run_subject(arguments.run)
    found = _measure(subject, arguments)
    if found.figures:
        print(table(found.figures))
    if arguments.video:
        bundle = WeightsBundle.load(arguments.bundle)
        print(json.dumps(evaluate_video(bundle, arguments.video, arguments.wheel), indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(flat(found.figures), indent=1) + "\n")
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        for name, picture in found.pictures.items():
            cv2.imwrite(str(arguments.pictures / f"{name}.png"), picture)


def _measure(subject: Subject, arguments: argparse.Namespace) -> Found:
    regressor, faces = subject.topology.joint_regressor, subject.topology.faces
    parts = []
    if arguments.test:
        source = SyntheticSource(arguments.test)
        parts.append(evaluate_synthetic(subject.predictor, source, regressor, faces, arguments.count))
    if arguments.real:
        photographs = held_out_photographs(arguments.real, arguments.fits)
        parts.append(evaluate_real(subject.predictor, photographs, regressor, faces, arguments.count))
    found = Found({}, {})
    for part in parts:
        found.figures |= part.figures
        found.pictures |= part.pictures
    return found


if __name__ == "__main__":
    raise SystemExit(main())
