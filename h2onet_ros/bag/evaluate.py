"""`h2onet evaluate-bag`: runs the hand pipeline over every image of a recording, without ROS.

Exit code: 0 when all images were processed, 1 where some could not be read or the disk is full, 2 for input
that cannot be used, 130 after Ctrl-C; what was processed until then is kept.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from h2onet_ros.bag.evaluation.settings import EXIT_USAGE, EvaluationSettings

PROGRAM = "h2onet evaluate-bag"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the options that make `EvaluationSettings`; see `settings_from`."""
    what = parser.add_argument_group("what is processed")
    what.add_argument("--topic", help="image topic (the one with most images)")
    what.add_argument("--calibration", metavar="YAML", help="camera_info file, not the recorded one")
    what.add_argument("--every", type=int, default=1, metavar="N", help="every N-th image only (1)")
    what.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="leave out the beginning")
    what.add_argument("--seconds", type=float, help="how much of the recording (all)")
    how = parser.add_argument_group("how")
    how.add_argument("--weights", metavar="FOLDER", help="weights bundle (the one that comes along)")
    how.add_argument("--engine", default="auto", help="engine that runs the networks (auto)")
    how.add_argument("--threads", type=int, default=1, help="threads of the engine (1)")
    how.add_argument("--max-hands", type=int, default=2, help="hands followed at the same time (2)")
    output = parser.add_argument_group("output")
    output.add_argument("--video", action="store_true", help="write the images with the hands drawn in")
    output.add_argument("--force", action="store_true", help="replace an evaluation that is in the folder")


def settings_from(parser: argparse.ArgumentParser, options: argparse.Namespace) -> EvaluationSettings:
    """The settings that the options of `add_settings` say; ends the program for values that cannot be."""
    names = ("topic", "calibration", "every", "start", "seconds", "weights", "engine", "threads", "max_hands")
    values = {name: getattr(options, name) for name in (*names, "video")}
    try:
        return EvaluationSettings(**values, existing="replace" if options.force else "refuse")
    except ValueError as error:
        parser.error(f"argument --{str(error).replace('_', '-')}")


class Interruption:
    """Whether Ctrl-C or SIGTERM came; the image in work is finished first, a second signal ends at once."""

    def __init__(self) -> None:
        self.signal_number = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        return self.signal_number > 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number:
            os._exit(128 + number)
        self.signal_number = number


def main(args: Sequence[str] | None = None) -> int:
    """Evaluate a recording; the exit code."""
    interruption = Interruption()
    parser = argparse.ArgumentParser(
        PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bag", metavar="BAG", help="a rosbag2 folder, or an .mcap or .db3 file")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to write (output/<name of the bag>)"
    )
    add_settings(parser)
    options = parser.parse_args(args)
    settings = settings_from(parser, options)
    out = options.out or Path("output") / (Path(options.bag).stem or "evaluation")
    # Imports take a while; here a Ctrl-C during them is no stack trace.
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.evaluation.run import evaluate
    from h2onet_ros.bag.evaluation.summary import summary_table
    from h2onet_ros.engines import BundleError, EngineError
    from h2onet_ros.perception.camera import CameraError
    from h2onet_ros.perception.network import NetworkError

    try:
        result = evaluate(options.bag, out, settings, is_interrupted=lambda: bool(interruption))
    except (BagError, BundleError, CameraError, EngineError, NetworkError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(summary_table(result))
    for problem in result.problems:
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
    if interruption:
        print(f"{PROGRAM}: stopped; what was processed is in {out}", file=sys.stderr)
        return 128 + interruption.signal_number
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
