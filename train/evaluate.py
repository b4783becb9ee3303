"""Measure a network: rendered hands with full truth, photographs, DexYCB, HO3D, a video.

    python -m train.evaluate --bundle FOLDER --test data/synthetic_test --real real_hands.zip
    python -m train.evaluate --run runs/single_frame_dexycb/stage2 --dexycb DEX_YCB --mano MANO_RIGHT.pkl
    python -m train.evaluate --bundle FOLDER --ho3d HO3D --mano MANO_RIGHT.pkl --submission pred.zip

Bundles run as they do in the node, by ONNX Runtime; imported published checkpoints are bundles too. Prints a
table; `--json` keeps its figures, `--pictures` typical and worst samples and plots of the errors.

Rendered hands (`--test`): `synthetic_single` leaves out the past: how much worse it is on occluded hands
(two or more hidden fingers), and on `revealed` ones (a past frame shows a hidden finger), is what the past
is good for. Crops are centred on the true joints; `jittered` ones vary as a tracker's
regions do. `--count 256` gives the figures that a run logs as its validation.

`--true-points` shows how much of the error comes from the image points: the mesh is read at the true ones.

`--mediapipe` measures MediaPipe's landmark network on the same rendered hands (2D and 3D) and photographs
(2D; their points are its own, so there it shows how well it repeats itself). A video is followed as the node
does, as it is and mirrored, and judged by that network; `jitter` is how much a hand trembles that keeps still
(pictures of the video shown over and over with a camera's noise). `python -m train.model_card` puts the
figures of `--json` into docs/weights.md.

DexYCB and HO3D: errors in millimetres with the wrists together, MPJPE and MPVPE, plain and after Procrustes
alignment (`pa_`), area under the PCK curve of 0 to 50 mm, F-scores at 5 and 15 mm, accuracy and F1 of the
occlusion of each finger; all of it also by how many fingers are hidden (none, 1 or 2, 3 to 5). HO3D's
evaluation set has no public truth: `--submission` writes the challenge's zip file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2

from h2onet_ros.bag.errors import BagError
from h2onet_ros.engines import BundleError, EngineError, WeightsBundle, create_engine
from h2onet_ros.hand.model import HandModelError
from train.checkpoint import TrainingError
from train.data import SyntheticSource
from train.datasets import DataSetError, HandDataset, open_dataset
from train.detector.landmarks import LandmarkNetwork
from train.evaluation.ho3d import write_submission
from train.evaluation.open_hand import evaluate_real, evaluate_synthetic, held_out_photographs
from train.evaluation.predictors import Subject, bundle_subject, run_subject
from train.evaluation.published import evaluate_published
from train.evaluation.report import Found, flat, table
from train.evaluation.stills import evaluate_stills
from train.evaluation.video import evaluate_video
from train.real_crops import RealCropsError
from train.synthetic.shards import ShardError

EXPECTED = (
    *(ShardError, RealCropsError, DataSetError, HandModelError, TrainingError, BundleError, EngineError),
    *(BagError, OSError, ValueError),
)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--bundle", type=Path, help="weights bundle")
    which.add_argument("--run", type=Path, help="folder of a training run, or a checkpoint in it")
    sets = parser.add_argument_group("what to measure on")
    sets.add_argument("--test", type=Path, help="folder of rendered samples not trained on")
    sets.add_argument("--real", type=Path, help="folder or zip file of real crops")
    sets.add_argument("--fits", type=Path, help="file of train.fit (without: fitted now)")
    sets.add_argument("--dexycb", type=Path, metavar="FOLDER", help="DEX_YCB, with its annotations")
    sets.add_argument("--setup", default="s0", help="of DexYCB, s0 to s3")
    sets.add_argument("--ho3d", type=Path, metavar="FOLDER", help="HO3D, with its annotations")
    sets.add_argument("--ho3d-version", choices=("v2", "v3"), default="v2")
    sets.add_argument("--split", help="default: test of DexYCB, val of HO3D (which has truth)")
    sets.add_argument("--mano", type=Path, metavar="FILE", help="MANO_RIGHT.pkl, for DexYCB and HO3D")
    sets.add_argument(
        "--no-occlusion",
        action="store_true",
        help="do without occlusion labels (made by train.label_occlusion)",
    )
    sets.add_argument("--video", type=Path)
    sets.add_argument(
        "--mediapipe",
        type=Path,
        metavar="WHEEL_OR_FILE",
        help="mediapipe-0.10.21 wheel, or hand_landmark_full.tflite: judges the video, and is measured "
        "beside the network on --test and --real",
    )
    sets.add_argument("--count", type=int, help="only so many samples of each set")
    parser.add_argument(
        "--crop-scale",
        type=float,
        metavar="X",
        help="side of upright crops of --test and --real over the longer side of the hand's box, if not as "
        "the bundle or the run has it",
    )
    parser.add_argument("--engine", default="onnxruntime", help="that runs the bundle (see docs/weights.md)")
    parser.add_argument(
        "--published-joints",
        action="store_true",
        help="turn joints without the mesh's offset rotation, as the published evaluation does (by PyTorch)",
    )
    parser.add_argument(
        "--true-points",
        action="store_true",
        help="read the mesh at the true image points in place of those found (by PyTorch)",
    )
    parser.add_argument("--json", type=Path, help="write the figures there, flat: set_figure")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write pictures and plots there")
    parser.add_argument("--submission", type=Path, metavar="ZIP", help="write HO3D's challenge file there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.video and not (arguments.bundle and arguments.mediapipe):
        parser.error("--video needs --bundle and --mediapipe")
    if arguments.true_points and (arguments.real or arguments.video or arguments.submission):
        parser.error("--true-points is for sets with full truth: --test, --dexycb, --ho3d")
    if (arguments.dexycb or arguments.ho3d) and not arguments.mano:
        parser.error("--dexycb and --ho3d need --mano MANO_RIGHT.pkl")
    if arguments.submission and not arguments.ho3d:
        parser.error("--submission needs --ho3d")
    if not any((arguments.test, arguments.real, arguments.dexycb, arguments.ho3d, arguments.video)):
        parser.error("nothing to measure on: give --test, --real, --dexycb, --ho3d or --video")
    try:
        _evaluate(arguments)
    except EXPECTED as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nevaluate: stopped, nothing was written", file=sys.stderr)
        return 130
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    changes = arguments.published_joints, arguments.true_points
    if arguments.bundle:
        subject = bundle_subject(arguments.bundle, arguments.engine, *changes)
    else:
        subject = run_subject(arguments.run, *changes)
    if arguments.crop_scale:
        subject = replace(subject, crop_scale=arguments.crop_scale)
    if arguments.submission:
        count = write_submission(subject, _published(arguments, "evaluation"), arguments.submission)
        print(f"{arguments.submission}: {count} samples, ready for the challenge")
        arguments.ho3d = None
    found = _measure(subject, arguments)
    if found.figures:
        print(table(found.figures))
    for name, samples in found.worst.items():
        worst = ", ".join(f"{sample} {error:.1f}" for sample, error in list(samples.items())[:3])
        print(f"worst of {name} (PA-MPJPE, mm): {worst}")
    if arguments.json:
        arguments.json.write_text(json.dumps(flat(found.figures), indent=1) + "\n")
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        for name, picture in found.pictures.items():
            cv2.imwrite(str(arguments.pictures / f"{name}.png"), picture)


def _measure(subject: Subject, arguments: argparse.Namespace) -> Found:
    rival = LandmarkNetwork(arguments.mediapipe) if arguments.mediapipe else None
    engine = None
    if arguments.bundle and (arguments.real or arguments.video):
        engine = create_engine(WeightsBundle.load(arguments.bundle), arguments.engine)
    found = Found({}, {})
    if arguments.test:
        source = SyntheticSource(arguments.test)
        found.add(evaluate_synthetic(subject, source, arguments.count, rival))
    if arguments.real:
        photographs = held_out_photographs(arguments.real, arguments.fits)
        found.add(evaluate_real(subject, photographs, arguments.count, rival))
        if engine:
            found.add(evaluate_stills(engine, photographs, arguments.count))
    if arguments.dexycb or arguments.ho3d:
        split = arguments.split or ("test" if arguments.dexycb else "val")
        found.add(evaluate_published(subject, _published(arguments, split), arguments.count))
    if arguments.video and rival and engine:
        found.add(evaluate_video(engine, subject.topology, arguments.video, rival))
    return found


def _published(arguments: argparse.Namespace, split: str) -> HandDataset:
    dexycb = arguments.dexycb and not arguments.submission
    return open_dataset(
        "dexycb" if dexycb else f"ho3d_{arguments.ho3d_version}",
        arguments.dexycb if dexycb else arguments.ho3d,
        split,
        arguments.mano,
        setup=arguments.setup,
        occlusion=not arguments.no_occlusion,
        progress=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
