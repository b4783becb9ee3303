"""`h2onet evaluate-bag`: runs the hand pipeline over every image of a recording, without ROS.

Writes hands.mcap (hands and mesh topology, as the node would publish them), metrics.json (the same for the
same recording, weights and engine), run.json (what was run, and how long it took), with --video overlay.mp4.

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

PROGRAM = "h2onet evaluate-bag"
EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bag", metavar="BAG", help="a rosbag2 folder, or an .mcap or .db3 file")
    parser.add_argument("--topic", help="image topic (the one with most images)")
    parser.add_argument("--calibration", metavar="YAML", help="camera_info file, not the recorded one")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to write (output/<name of the bag>)"
    )
    parser.add_argument("--force", action="store_true", help="write into a folder that holds an evaluation")
    parser.add_argument("--weights", metavar="FOLDER", help="weights bundle (the one that comes along)")
    parser.add_argument("--engine", default="auto", help="engine that runs the networks (auto)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine (1)")
    parser.add_argument("--max-hands", type=int, default=2, help="hands followed at the same time (2)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="process every N-th image only (1)")
    parser.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="leave out the beginning")
    parser.add_argument("--seconds", type=float, help="how much of the recording (all)")
    parser.add_argument("--video", action="store_true", help="write the images with the hands drawn in")
    parsed = parser.parse_args(args)
    for name in ("threads", "max_hands", "every"):
        if getattr(parsed, name) < 1:
            parser.error(
                f"argument --{name.replace('_', '-')}: expected 1 or more, got {getattr(parsed, name)}"
            )
    if parsed.seconds is not None and not parsed.seconds > 0:
        parser.error(f"argument --seconds: expected a positive number, got {parsed.seconds:g}")
    if parsed.out is None:
        parsed.out = Path("output") / (Path(parsed.bag).stem or "evaluation")
    return parsed


class _Interruption:
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
    interruption = _Interruption()
    options = arguments(args)
    # Imports take a while; here a Ctrl-C during them is no stack trace.
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.evaluation import evaluate
    from h2onet_ros.engines import BundleError, EngineError
    from h2onet_ros.perception.camera import CameraError
    from h2onet_ros.perception.network import NetworkError

    try:
        outcome = evaluate(options, lambda: bool(interruption))
    except (BagError, BundleError, CameraError, EngineError, NetworkError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(outcome.table)
    for problem in outcome.problems:
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
    if interruption:
        print(f"{PROGRAM}: stopped; what was processed is in {options.out}", file=sys.stderr)
        return 128 + interruption.signal_number
    return EXIT_FAILURE if outcome.problems else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
