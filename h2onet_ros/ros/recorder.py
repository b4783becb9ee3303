"""`hand_recorder`: records what the hand node publishes.

Writes `hands.mcap` (hands, mesh topology, on request markers) and `overlay.mp4`, and tells how many hands
came and how long they took. It ends at Ctrl-C, and leaves readable files also where the disk is full.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from h2onet_ros.command import EXIT_FAILURE, EXIT_USAGE
from h2onet_ros.ros.process import Reporter, StopRequest, quiet_opencv

PROGRAM = "hand_recorder"


def arguments(args: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The parsed arguments, and those that are for ROS (after --ros-args)."""
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__)
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path(), help="where to write (here)")
    parser.add_argument("--node", default="/hand_mesh_node", help="name of the node that is recorded")
    parser.add_argument("--markers", action="store_true", help="record the markers for RViz too")
    parser.add_argument("--no-video", action="store_true", help="record no overlay video")
    parser.add_argument("--fps", type=float, default=30.0, help="images a second of the video (30)")
    parser.add_argument("--events", action="store_true", help="tell what happens as JSON lines")
    parsed, rest = parser.parse_known_args(args)
    if rest and rest[0] != "--ros-args":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if not 1 <= parsed.fps <= 1000:
        parser.error(f"argument --fps: expected 1 to 1000, got {parsed.fps:g}")
    return parsed, rest


def main(args: Sequence[str] | None = None) -> int:
    """Record until a signal comes; the exit code, 0 after a signal since that is how it is meant to end."""
    stop = StopRequest()
    stop.listen()
    options, ros_args = arguments(args)
    reporter = Reporter(options.events)
    quiet_opencv()
    # Imports take most of the start-up; here a Ctrl-C during them is no stack trace.
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.ros.recorder_node import record

    try:
        record(options, ros_args, reporter, stop)
    except BagError as error:
        reporter.error(PROGRAM, str(error))
        return EXIT_USAGE if not options.out.is_dir() else EXIT_FAILURE
    except Exception as error:
        reporter.error(PROGRAM, f"stopped by an unexpected error: {error!r}")
        return EXIT_FAILURE
    return 0


if __name__ == "__main__":
    sys.exit(main())
