"""`h2onet make-bag`: makes a recording of a video, of a folder of pictures, or of rendered hands.

  h2onet make-bag hand.mp4 --calibration camera.yaml
  h2onet make-bag pictures/ --rate 15 --images png --storage sqlite3 --out my_bag
  h2onet make-bag --synthetic --hands 2 --seconds 10 --seed 3 --out two_hands

Writes a rosbag2 folder (or one file, where --out ends in .mcap) with images and camera_info, that `ros2 bag
play` and `h2onet evaluate-bag` read. --synthetic renders hands and adds what is exactly known of them:
/ground_truth/hands (HandArray) and /ground_truth/topology; it needs a checkout with the extra `train`.

Exit code: 0 when everything was recorded, 1 where some pictures were left out or the disk is full, 2 for
input that cannot be used, 130 after Ctrl-C (143: SIGTERM); what was recorded until then can be read.
"""

from __future__ import annotations

import argparse
import datetime
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from h2onet_ros.command import EXIT_USAGE, Interruption, conclude, number

if TYPE_CHECKING:
    from h2onet_ros.bag.calibration import Calibration
    from h2onet_ros.bag.camera_recording import CameraRecording, Footage, Moment
    from h2onet_ros.bag.folder_writer import FolderWriter
    from h2onet_ros.bag.writer import BagWriter

PROGRAM = "h2onet make-bag"


def arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", metavar="SOURCE", nargs="?", type=Path, help="a video, or a folder of pictures"
    )
    parser.add_argument(
        "--out", metavar="BAG", type=Path, help="where to write (output/<name of the source>)"
    )
    parser.add_argument("--force", action="store_true", help="replace a recording that is there")
    camera = parser.add_argument_group("camera")
    camera.add_argument("--calibration", metavar="YAML", help="camera_info file of the camera")
    camera.add_argument(
        "--field-of-view", type=number(1, 179), metavar="DEGREES",
        help="assumed across the longer side where there is no calibration (60)",
    )  # fmt: skip
    camera.add_argument(
        "--frame-id", default="camera_optical_frame", help="frame of the images (%(default)s)"
    )
    camera.add_argument("--topic", default="/camera/image_raw", help="topic of the images (%(default)s)")
    what = parser.add_argument_group("what is taken")
    what.add_argument(
        "--rate",
        type=number(0.01, 1000),
        metavar="HZ",
        help="images a second (the video's; pictures and --synthetic: 30)",
    )
    what.add_argument(
        "--start", type=number(0, 1e9), default=0.0, metavar="SECONDS", help="leave out the beginning"
    )
    what.add_argument("--seconds", type=number(1e-9, 1e9), help="how much of it (all; --synthetic: 7)")
    what.add_argument(
        "--stamp", metavar="TIME", type=_time,
        help="of the first image, as 2024-05-31T14:30:00 or seconds since 1970 (when the source was last "
        "changed; --synthetic: 1)",
    )  # fmt: skip
    how = parser.add_argument_group("how it is stored")
    how.add_argument(
        "--images", choices=("raw", "jpeg", "png"), default="jpeg",
        help="pictures that are JPEG or PNG already are taken as they are (%(default)s)",
    )  # fmt: skip
    how.add_argument(
        "--quality", type=number(1, 100, int), default=95, help="of JPEG, 1 to 100 (%(default)s)"
    )
    how.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap", help="(%(default)s)")
    how.add_argument(
        "--compress", action="store_true", help="compress the recording with zstd, for raw images"
    )
    hands = parser.add_argument_group("rendered hands")
    hands.add_argument("--synthetic", action="store_true", help="render hands instead of reading a source")
    hands.add_argument(
        "--hands", type=int, choices=(1, 2), default=1, help="two cross each other (%(default)s)"
    )
    hands.add_argument(
        "--seed", type=number(0, 2**32 - 1, int), default=0, help="another one, other hands (%(default)s)"
    )
    hands.add_argument(
        "--size", type=_size, default=(640, 480), metavar="WxH", help="of the images (640x480)"
    )
    hands.add_argument("--focal", type=number(1, 1e5), metavar="PIXELS", help="focal length (0.85 x width)")
    hands.add_argument("--depth", action="store_true", help="record depth images too (16UC1, millimetres)")
    parsed = parser.parse_args(args)
    _check(parser, parsed)
    return parsed


def main(args: Sequence[str] | None = None) -> int:
    """Make a recording; the exit code."""
    interruption = Interruption()
    options = arguments(args)
    # Imports take a while; --help shall not.
    from h2onet_ros.bag.errors import BagError

    try:
        return _make(options, interruption)
    except BagError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_USAGE


def _make(options: argparse.Namespace, interruption: Interruption) -> int:
    from h2onet_ros.bag.camera_recording import CameraRecording
    from h2onet_ros.bag.errors import BagError, DiskFullError
    from h2onet_ros.bag.folder_writer import FolderWriter, remove_recording
    from h2onet_ros.bag.message_types import create_typestore
    from h2onet_ros.bag.writer import BagWriter

    footage = _synthetic(options) if options.synthetic else _read(options)
    calibration, camera = _calibration(options, footage)
    out: Path = options.out
    if out.exists():
        if not options.force:
            raise BagError(
                f"Expected nothing at {out}, something is there; name another --out, or add --force."
            )
        remove_recording(out)
    typestore = create_typestore()
    problems: list[str] = []
    count = 0
    with ExitStack() as stack:
        writer: BagWriter | FolderWriter
        if out.suffix == ".mcap":
            writer = BagWriter(out, typestore)
        else:
            writer = FolderWriter(out, typestore, options.storage, options.compress)
        stack.callback(writer.close)
        recording = CameraRecording(
            writer, typestore, calibration, options.frame_id, options.topic, options.images, options.quality,
            footage.mesh, footage.has_depth,
        )  # fmt: skip
        try:
            for moment in _with_bar(_chosen(footage, options), footage, options):
                recording.write(moment, options.stamp + moment.time)
                count += 1
                if interruption:
                    break
            writer.close()
        except DiskFullError as error:
            problems.append(str(error))
    problems += _left_out(footage.problems)
    if not count and not problems:
        problems.append(f"No image was recorded: {footage.description} has none from {options.start:g} s on.")
    print(_summary(out, footage, recording, camera, count))
    return conclude(PROGRAM, problems, interruption, f"{out} holds what was recorded until then")


def _read(options: argparse.Namespace) -> Footage:
    from h2onet_ros.bag.camera_recording import SourceFootage
    from h2onet_ros.bag.image_folder import ImageFolderSource
    from h2onet_ros.bag.sources import SourceError, VideoSource

    source: Path = options.source
    if source.suffix in (".mcap", ".db3") or (source / "metadata.yaml").is_file():
        raise SourceError(f"Expected a video or a folder of pictures, {source} is a recording already.")
    if not source.exists():
        raise SourceError(f"Expected a video or a folder of pictures at {source}, nothing is there.")
    if source.is_dir():
        return SourceFootage(ImageFolderSource(source, options.rate or 30.0))
    return SourceFootage(VideoSource(source), options.rate)


def _synthetic(options: argparse.Namespace) -> Footage:
    from importlib import import_module

    from h2onet_ros.bag.errors import BagError

    checkout = Path(__file__).parents[2]
    if (checkout / "train" / "synthetic").is_dir() and str(checkout) not in sys.path:
        sys.path.append(str(checkout))
    try:
        sequence = import_module("train.synthetic.sequence")
    except ModuleNotFoundError as error:
        what = "a checkout's folder train/" if (error.name or "").startswith("train") else error.name
        raise BagError(
            f"--synthetic renders hands with what trains the network, which is not installed here ({what} is "
            "missing). Run it from a checkout after pip install -e '.[train]'."
        ) from error
    try:
        return sequence.SyntheticFootage(
            hands=options.hands,
            seconds=options.start + options.seconds,
            seed=options.seed,
            size=options.size,
            focal=options.focal,
            frame_rate=options.rate or 30.0,
            has_depth=options.depth,
        )
    except (RuntimeError, ValueError) as error:
        raise BagError(str(error)) from error


def _calibration(options: argparse.Namespace, footage: Footage) -> tuple[Calibration, str]:
    """The camera for the images, and what it is in words."""
    import numpy as np

    from h2onet_ros.bag.calibration import Calibration, load_calibration
    from h2onet_ros.perception.camera import Camera

    camera = getattr(footage, "camera", None)
    if camera is not None:
        return Calibration.of_camera(camera), f"exact, focal length {camera.focal[0]:g} pixels"
    if options.calibration:
        return load_calibration(options.calibration).fit(*footage.size), f"as in {options.calibration}"
    degrees = options.field_of_view or 60.0
    note = (
        ""
        if options.field_of_view
        else "; distances measured with it are a guess (--calibration tells better)"
    )
    assumed = Camera.assumed(*footage.size, np.radians(degrees))
    return Calibration.of_camera(assumed), f"assumed, {degrees:g} degrees across the longer side{note}"


def _chosen(footage: Footage, options: argparse.Namespace) -> Iterator[Moment]:
    from h2onet_ros.bag.units import SECOND

    begin = options.start * SECOND
    end = begin + options.seconds * SECOND if options.seconds else math.inf
    for moment in footage.moments():
        if moment.time >= end:
            return
        if moment.time >= begin:
            yield moment


def _with_bar(moments: Iterator[Moment], footage: Footage, options: argparse.Namespace) -> Iterator[Moment]:
    from h2onet_ros.bag.progress import image_bar

    total = None
    if footage.frame_count is not None:
        total = max(footage.frame_count - options.start * footage.frame_rate, 0)
        total = math.ceil(min(total, (options.seconds or math.inf) * footage.frame_rate))
    with image_bar(total) as bar:
        for moment in moments:
            yield moment
            bar.update()


def _left_out(problems: list[str]) -> list[str]:
    if not problems:
        return []
    more = " ..." if len(problems) > 3 else ""
    return [f"{len(problems)} pictures were left out: {' '.join(islice(problems, 3))}{more}"]


def _summary(out: Path, footage: Footage, recording: CameraRecording, camera: str, count: int) -> str:
    files = [file for file in out.rglob("*") if file.is_file()] if out.is_dir() else [out]
    size = 0
    with suppress(OSError):
        size = sum(file.stat().st_size for file in files)
    width, height = footage.size
    return (
        f"{out}: {count} images of {width} x {height} pixels at {footage.frame_rate:g} a second "
        f"({count / footage.frame_rate:.1f} s, {size / 1e6:.1f} MB), from {footage.description}\n"
        f"topics: {', '.join(recording.topics)}\ncamera: {camera}"
    )


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.synthetic == (options.source is not None):
        parser.error("expected a SOURCE (video or folder of pictures), or --synthetic, and not both")
    if options.synthetic and (options.calibration or options.field_of_view):
        parser.error(
            "--synthetic has a camera of its own: give --size and --focal, no calibration or field of view"
        )
    if options.calibration and options.field_of_view:
        parser.error("expected --calibration or --field-of-view, not both")
    if options.depth and not options.synthetic:
        parser.error("--depth is for --synthetic: a video has none")
    if not options.topic.startswith("/") or options.topic.endswith("/") or "//" in options.topic:
        parser.error(
            f"argument --topic: expected a full topic name, as /camera/image_raw, got {options.topic!r}"
        )
    if options.synthetic and options.seconds is None:
        options.seconds = 7.0
    name = f"synthetic_{options.seed}" if options.synthetic else options.source.stem or "recording"
    options.out = options.out or Path("output") / name
    if options.out.suffix == ".mcap" and (options.storage != "mcap" or options.compress):
        parser.error(
            "an --out that ends in .mcap is one plain mcap file; name a folder for --storage or --compress"
        )
    if options.stamp is None:
        # A stamp of 0 would be one that nobody set.
        is_file = not options.synthetic and options.source.exists()
        options.stamp = options.source.stat().st_mtime_ns if is_file else 1_000_000_000


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected width x height, as 640x480, got {text}")
    if not (32 <= int(width) <= 4096 and 32 <= int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"expected 32 to 4096 pixels a side, got {text}")
    return int(width), int(height)


def _time(text: str) -> int:
    try:
        return round(float(text) * 1e9)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a time as 2024-05-31T14:30:00 or seconds since 1970, got {text}"
        ) from None
    return round(moment.timestamp() * 1e9)


if __name__ == "__main__":
    sys.exit(main())
