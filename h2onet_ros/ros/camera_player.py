"""`camera_player`: publishes a video file, a recording or a camera device as a ROS camera.

Every image gets the time at which it is published as its stamp, so that the time to the answer can be told.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from h2onet_ros.command import EXIT_FAILURE, EXIT_USAGE
from h2onet_ros.ros.process import Gate, Reporter, StopRequest, quiet_opencv

if TYPE_CHECKING:
    from h2onet_ros.bag.sources import Source

PROGRAM = "camera_player"


def arguments(args: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The parsed arguments, and those that are for ROS (after --ros-args)."""
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--video", metavar="FILE", help="a video file")
    source.add_argument("--bag", metavar="PATH", help="a rosbag2 folder, or an .mcap or .db3 file")
    source.add_argument("--camera", metavar="DEVICE", help="a camera, as /dev/video0 or 0")
    parser.add_argument("--topic", help="image topic of the recording (default: the one with most images)")
    parser.add_argument("--calibration", metavar="YAML", help="camera_info file (default: none)")
    parser.add_argument("--size", metavar="WxH", type=_size, help="size to ask of the camera, as 640x480")
    parser.add_argument("--fps", type=_positive, help="images a second to ask of the camera")
    parser.add_argument("--rate", type=_positive, default=1.0, help="speed of a file, 1 is its own (default)")
    parser.add_argument("--loop", action="store_true", help="play a file again and again")
    parser.add_argument("--seconds", type=_positive, help="stop after so long")
    parser.add_argument("--frame-id", default="camera_optical_frame", help="frame of the images")
    parser.add_argument("--compressed", action="store_true", help="publish a video or camera as JPEG")
    parser.add_argument(
        "--wait-for-input",
        action="store_true",
        help="begin at a line on standard input, and stay after the last image until that is closed",
    )
    parser.add_argument("--events", action="store_true", help="tell what happens as JSON lines")
    parsed, rest = parser.parse_known_args(args)
    if rest and rest[0] != "--ros-args":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return parsed, rest


def main(args: Sequence[str] | None = None) -> int:
    """Play until the source ends or a signal comes; the exit code."""
    stop = StopRequest()
    stop.listen()
    options, ros_args = arguments(args)
    reporter = Reporter(options.events)
    quiet_opencv()
    # Imports take most of the start-up; here a Ctrl-C during them is no stack trace.
    from h2onet_ros.bag.calibration import load_camera
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.perception.image import ImageError
    from h2onet_ros.ros.player_node import play

    source = None
    try:
        source = open_source(options)
        camera = load_camera(options.calibration) if options.calibration else None
        reporter.tell("source", f"playing {source.description}", frames=source.frame_count)
        gate = Gate(stop) if options.wait_for_input else None
        if gate is None or gate.wait_to_begin():
            play(source, camera, options, ros_args, reporter, stop, gate)
    except (BagError, ImageError) as error:
        reporter.error(PROGRAM, str(error))
        return EXIT_USAGE
    except Exception as error:
        reporter.error(PROGRAM, f"stopped by an unexpected error: {error!r}")
        return EXIT_FAILURE
    finally:
        if source:
            source.close()
    return stop.exit_code


def open_source(options: argparse.Namespace) -> Source:
    """What the arguments ask for. Raises `BagError` where it gives no images."""
    from h2onet_ros.bag.sources import BagSource, CameraSource, VideoSource

    if options.video:
        return VideoSource(options.video)
    if options.bag:
        return BagSource(options.bag, options.topic)
    return CameraSource(options.camera, options.size, options.fps)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected a size as 640x480, got {text}")
    return int(width), int(height)


if __name__ == "__main__":
    sys.exit(main())
