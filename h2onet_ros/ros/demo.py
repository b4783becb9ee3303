"""`h2onet_demo`: a camera, the hand node and a recorder, three processes talking over DDS on this machine.

Without arguments it plays the recording that comes along. In the output folder it leaves the overlay video
(overlay.mp4), a contact sheet of it (overlay.png), the hands (hands.mcap), what the processes printed (logs/)
and the figures it shows at the end (summary.json).

Exit code: 0 if hands came out, 1 if none came or a process failed, 2 for input that cannot be used, 130 after
Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from h2onet_ros.command import EXIT_FAILURE, EXIT_USAGE, WEIGHTS_HELP
from h2onet_ros.ros.process import StopRequest, quiet_opencv

PROGRAM = "h2onet_demo"
EXAMPLES = """\
examples:
  h2onet_demo                                 the recording that comes along
  h2onet_demo --video hand.mp4                any video
  h2onet_demo --bag my_recording --topic /camera/image_raw
  h2onet_demo --camera /dev/video0            your camera; Ctrl-C ends it
  h2onet_demo --camera /dev/video0 --calibration camera.yaml --seconds 20

While it runs, RViz can watch: start it with the ROS_DOMAIN_ID that the demo names and config/hand.rviz.
"""


def arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--video", metavar="FILE", help="play a video file")
    source.add_argument("--bag", metavar="PATH", help="play a rosbag2 folder, or an .mcap or .db3 file")
    source.add_argument("--camera", metavar="DEVICE", help="use a camera, as /dev/video0 or 0")
    parser.add_argument("--topic", help="image topic of the recording (the one with most images)")
    parser.add_argument("--calibration", metavar="YAML", help="camera_info file of the camera")
    parser.add_argument("--seconds", type=_positive, help="stop after so long")
    parser.add_argument("--rate", type=_positive, default=1.0, help="speed of a file (1)")
    parser.add_argument("--loop", action="store_true", help="play a file again and again, until Ctrl-C")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("output/demo"), help="where to write (output/demo)"
    )
    parser.add_argument("--weights", help=f"{WEIGHTS_HELP}; if not given: as the node, by the engine")
    parser.add_argument("--engine", default="auto", help="engine that runs the networks (auto)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine (1)")
    parser.add_argument("--markers", action="store_true", help="record the markers for RViz too")
    parser.add_argument("--domain-id", type=int, metavar="N", help="ROS_DOMAIN_ID (a free one)")
    parsed = parser.parse_args(args)
    if parsed.domain_id is not None and not 0 <= parsed.domain_id <= 232:
        parser.error(f"argument --domain-id: expected 0 to 232, got {parsed.domain_id}")
    return parsed


def main(args: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code."""
    stop = StopRequest()
    stop.listen()
    options = arguments(args)
    quiet_opencv()
    # Imports take a while; here a Ctrl-C during them is no stack trace.
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.engines.bundle import BundleError
    from h2onet_ros.ros.demo_run import DemoError, run

    try:
        return run(options, stop)
    except (BagError, BundleError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except DemoError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_FAILURE


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
