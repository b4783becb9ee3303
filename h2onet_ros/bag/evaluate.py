"""`h2onet evaluate-bag`: runs the hand pipeline over every image of a recording, without ROS.

What is written to the folder of an evaluation:
  hands.mcap       hands, topology, markers and tf as the node publishes them, for RViz, Foxglove, ros2 bag
  hands.parquet    a row for each hand: pose, joints, image points, occlusion; errors where there is truth
                   (hands.csv without PyArrow)
  metrics.json     the figures, the same each time
  report.html      the figures with plots and key frames, in one file
  timings.json     how long it took; run.json: what was run and what went wrong
  overlay.mp4      with --video: the images with the hands drawn in

Exit code: 0 when all images were processed, 1 where some could not be read or the disk is full, 2 for input
that cannot be used, 130 after Ctrl-C; what was processed until then is kept, and --resume goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from h2onet_ros.bag.evaluation.settings import (
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    TRUTH_TOPIC,
    EvaluationSettings,
    topic_folder,
)
from h2onet_ros.command import WEIGHTS_HELP, Interruption

PROGRAM = "h2onet evaluate-bag"
ALL = "all"
EXAMPLES = """examples:
  h2onet evaluate-bag my_recording
  h2onet evaluate-bag my_recording --weights runs/new --video --out output/new
  h2onet evaluate-bag drive.mcap --topic /left/image_raw --topic /right/image_raw
  h2onet evaluate-bag my_recording --truth motion_capture.mcap --truth-offset 0.012
  h2onet evaluate-bag my_recording --params config/hand.yaml --smoothing 0
  h2onet evaluate-bag my_recording --depth-topic /camera/aligned_depth_to_color/image_raw
  h2onet evaluate-bag recordings/ --workers 4 --out output/fleet
  h2onet evaluate-bag --list nightly.txt --ray auto --out /shared/nightly --resume
"""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options that make `EvaluationSettings`; see `settings_from`."""
    parser.set_defaults(params=None, force=False, resume=False)
    # What is not given stays out of the options, so that a parameter file can give it.
    unset: Any = {"default": argparse.SUPPRESS}
    what = parser.add_argument_group("what is processed")
    what.add_argument("--calibration", metavar="YAML", help="camera_info file, not the recorded one", **unset)
    what.add_argument("--every", type=int, metavar="N", help="every N-th image only (1)", **unset)
    what.add_argument("--start", type=float, metavar="SECONDS", help="leave out the beginning (0)", **unset)
    what.add_argument("--seconds", type=float, help="how much of the recording (all)", **unset)
    truth = parser.add_argument_group("ground truth")
    truth.add_argument(
        "--truth",
        metavar="TOPIC|FILE",
        help=f"HandArray topic of the recording, another recording or an .npz file ({TRUTH_TOPIC}, if the "
        'recording has it); "none": do not compare',
        **unset,
    )
    truth.add_argument(
        "--truth-offset", type=float, metavar="SECONDS", help="added to the truth's stamps (0)", **unset
    )
    truth.add_argument(
        "--truth-any-frame",
        action="store_true",
        help="the truth is in the camera's frame, whatever its name",
        **unset,
    )
    how = parser.add_argument_group("how (the node's parameters)")
    how.add_argument(
        "--params", metavar="YAML", type=Path, help="parameter file of the node; options override it"
    )
    how.add_argument("--weights", help=f"{WEIGHTS_HELP}; if not given: as the node, by the engine", **unset)
    how.add_argument("--engine", help="engine that runs the networks (auto)", **unset)
    how.add_argument("--precision", help="of the engine, as float32 (auto: its own default)", **unset)
    how.add_argument("--threads", type=int, help="threads of the engine (1)", **unset)
    how.add_argument("--max-hands", type=int, help="hands followed at the same time (2)", **unset)
    how.add_argument("--smoothing", type=float, help="strength of smoothing over time; 0: none (1)", **unset)
    for name, text in _NUMBERS.items():
        how.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="X", help=text, **unset)
    how.add_argument("--rectified", action="store_true", help="the images are undistorted", **unset)
    how.add_argument(
        "--depth",
        action=argparse.BooleanOptionalAction,
        help="put wrists where depth images have them, those of the recording in the images' frame (no)",
        **unset,
    )
    how.add_argument(
        "--depth-topic", metavar="TOPIC", help="use depth of this topic, registered to the images", **unset
    )
    output = parser.add_argument_group("output")
    output.add_argument("--video", action="store_true", help="write overlay.mp4", **unset)
    output.add_argument(
        "--with-images",
        action="store_true",
        help="copy the images into hands.mcap, so that it plays alone",
        **unset,
    )
    output.add_argument("--no-report", dest="report", action="store_false", help="no report.html", **unset)
    there = output.add_mutually_exclusive_group()
    there.add_argument("--force", action="store_true", help="replace an evaluation that is in the folder")
    there.add_argument(
        "--resume", action="store_true", help="go on with the one in the folder, if there is one"
    )


_NUMBERS = {
    "palm_threshold": "least score of a palm detection (0.5)",
    "start_presence": "least probability of a hand for a new one (0.5)",
    "min_presence": "probability of a hand below which it counts as missed (0.3)",
    "image_alignment": "share of the way that bones are turned towards the image points (0.6)",
    "hand_scale": "factor on the size of the hands (1)",
    "hand_length": "metres from wrist to middle finger's tip of every hand (as the network says)",
    "assumed_field_of_view_deg": "of a camera without calibration, longer side (60)",
    "depth_tolerance_s": "seconds between an image and its depth image at most (0.02)",
}


def settings_from(parser: argparse.ArgumentParser, options: argparse.Namespace) -> EvaluationSettings:
    """The settings that the options of `add_settings` say; ends the program for values that cannot be."""
    names = {one.name for one in fields(EvaluationSettings)}
    values = {name: value for name, value in vars(options).items() if name in names and name != "topic"}
    if options.params is not None:
        from h2onet_ros.bag.errors import BagError
        from h2onet_ros.bag.evaluation.node_parameters import read_parameters

        try:
            values = read_parameters(options.params) | values
        except BagError as error:
            parser.exit(EXIT_USAGE, f"{parser.prog}: {error}\n")
    existing = "replace" if options.force else "resume" if options.resume else "refuse"
    try:
        return EvaluationSettings(**values, existing=existing)  # type: ignore[arg-type]
    except ValueError as error:
        name, _, text = str(error).partition(":")
        parser.error(f"argument --{name.replace('_', '-')}:{text}")


def main(args: Sequence[str] | None = None) -> int:
    """Evaluate a recording; the exit code."""
    interruption = Interruption()
    parser = argparse.ArgumentParser(
        PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "bags",
        metavar="BAG",
        nargs="*",
        help="a rosbag2 folder, or an .mcap or .db3 file; several of them, folders of recordings, or "
        'patterns such as "runs/**/*.mcap"',
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where to write (output/NAME)")
    parser.add_argument(
        "--topic",
        action="append",
        help=f'image topic (the one with most images); may be repeated, "{ALL}": every one; several are '
        "evaluated one after the other, each into a folder of its own",
    )
    add_settings(parser)
    _add_many(parser)
    options = parser.parse_args(args)
    settings = settings_from(parser, options)
    topics = options.topic or []
    from h2onet_ros.bag.fleet.jobs import recording_name

    if _is_single(parser, options):
        out = options.out or Path("output") / (recording_name(Path(options.bags[0])) or "evaluation")
        return evaluate_topics(options.bags[0], out, settings, topics, interruption)
    return _evaluate_many(options, settings, topics, interruption)


def _add_many(parser: argparse.ArgumentParser) -> None:
    many = parser.add_argument_group("many recordings", "Each into a folder of its own, with a joint report.")
    many.add_argument("--list", metavar="FILE", type=Path, help="a file that names recordings, one a line")
    many.add_argument("--workers", type=int, metavar="N", help="recordings at the same time (one a core)")
    many.add_argument(
        "--ray",
        metavar="ADDRESS",
        help='have a Ray cluster do it: "auto", "host:6379", "ray://host:10001", or "local" for one on this '
        "machine (extra `ray`; recordings and output on storage that all nodes share)",
    )


def _is_single(parser: argparse.ArgumentParser, options: argparse.Namespace) -> bool:
    """Whether one recording is asked for; ends the program for options that contradict each other."""
    from h2onet_ros.bag.fleet.jobs import is_one

    if not options.bags and options.list is None:
        parser.error("expected a recording, or --list FILE")
    if options.workers is not None and options.workers < 1:
        parser.error(f"argument --workers: expected 1 or more, got {options.workers}")
    if options.workers is not None and options.ray is not None:
        parser.error("expected --workers (on this machine) or --ray, not both")
    return options.list is None and options.ray is None and len(options.bags) == 1 and is_one(options.bags[0])


def _evaluate_many(
    options: argparse.Namespace, settings: EvaluationSettings, topics: list[str], interruption: Interruption
) -> int:
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.evaluation.run import image_topics
    from h2onet_ros.bag.fleet.command import evaluate_many
    from h2onet_ros.bag.fleet.jobs import find_recordings, make_jobs

    def topics_of(recording: Path) -> list[str]:
        try:
            return image_topics(recording) if ALL in topics else topics
        except BagError:  # Its job will say so.
            return []

    out = options.out or Path("output") / "evaluation"
    try:
        jobs = make_jobs(find_recordings(options.bags, options.list), out, settings, topics_of)
        code = evaluate_many(jobs, out, options.workers, options.ray, lambda: bool(interruption))
        return 128 + interruption.signal_number if code == EXIT_INTERRUPTED else code
    except BagError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_USAGE


def evaluate_topics(
    bag: str, out: Path, settings: EvaluationSettings, topics: list[str], interruption: Interruption
) -> int:
    """Evaluate some image topics of a recording, and show what came of it; the worst exit code."""
    # Imports take a while; here a Ctrl-C during them is no stack trace.
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.evaluation.run import evaluate, image_topics
    from h2onet_ros.bag.evaluation.summary import summary_table
    from h2onet_ros.engines import BundleError, EngineError
    from h2onet_ros.perception.camera import CameraError
    from h2onet_ros.perception.network import NetworkError

    codes = [0]
    try:
        names: list[str | None] = [*(image_topics(bag) if ALL in topics else topics)] or [None]
    except BagError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_USAGE
    for name in names:
        folder = out / topic_folder(name) if name and len(names) > 1 else out
        if len(names) > 1:
            print(f"{name}:")
        chosen = settings if name is None else settings.replace(topic=name)
        try:
            result = evaluate(bag, folder, chosen, is_interrupted=lambda: bool(interruption))
        except (BagError, BundleError, CameraError, EngineError, NetworkError) as error:
            print(f"{PROGRAM}: {error}", file=sys.stderr)
            codes.append(EXIT_USAGE)
            continue
        print(summary_table(result))
        for sentence in (*result.run["notes"], *result.problems):
            print(f"{PROGRAM}: {sentence}", file=sys.stderr)
        codes.append(result.exit_code)
        if interruption and (result.is_interrupted or name != names[-1]):
            text = f"stopped; what was processed is in {folder}, --resume goes on from there"
            print(f"{PROGRAM}: {text}", file=sys.stderr)
            return 128 + interruption.signal_number
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
