"""`h2onet photos`: the hands in photographs, each a scene of its own.

What is written, for each photograph into a folder of its name:
  overlay.jpg      the photograph with the hands drawn in
  hands.json       side, joints (metres, camera's optical frame), image points (pixels), hidden fingers
  hand_1.obj ...   the meshes, hands numbered from left to right
and beside these folders photos.jpg, all overlays on one sheet.

Distances hang on the camera: --calibration tells it best, or --field-of-view; else the focal length is taken
that the camera noted in the file (EXIF), else 60 degrees are assumed.

Exit code: 0 when all photographs were read, 1 where some could not be or the disk is full, 2 for input that
cannot be used, 130 after Ctrl-C (143: SIGTERM); what was written until then is kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from h2onet_ros.bag.errors import BagError
from h2onet_ros.command import EXIT_USAGE, WEIGHTS_HELP, Interruption, conclude, number

if TYPE_CHECKING:
    from tqdm import tqdm

    from h2onet_ros.photos.album import Album

PROGRAM = "h2onet photos"
EXAMPLES = """examples:
  h2onet photos hand.jpg
  h2onet photos pictures/ --max-hands 4 --out output/team
  h2onet photos left.png right.png --calibration camera.yaml --hand-length 0.19
"""


def main(args: Sequence[str] | None = None) -> int:
    """Find the hands in photographs; the exit code."""
    interruption = Interruption()
    options = _arguments(args)
    # Imports take a while; --help shall not.
    from h2onet_ros.engines import BundleError, EngineError
    from h2onet_ros.perception.network import NetworkError

    try:
        return _find(options, interruption)
    except (BagError, BundleError, EngineError, NetworkError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_USAGE


def _arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "photos", metavar="PHOTO", type=Path, nargs="+", help="a picture, or a folder of them"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path("output/photos"), help="(%(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace what was written there before")
    camera = parser.add_argument_group("camera").add_mutually_exclusive_group()
    camera.add_argument("--calibration", metavar="YAML", help="camera_info file of the camera")
    camera.add_argument(
        "--field-of-view",
        type=number(10, 170),
        metavar="DEGREES",
        help="across the longer side (as the file tells, else 60)",
    )
    hands = parser.add_argument_group("hands")
    hands.add_argument(
        "--max-hands", type=number(1, 20, int), default=2, help="in a photograph at most (%(default)s)"
    )
    hands.add_argument(
        "--hand-length",
        type=number(0.05, 0.4),
        metavar="METRES",
        help="from wrist to middle finger's tip (as the network says)",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--weights", help=f"{WEIGHTS_HELP}; default: default")
    how.add_argument("--engine", default="auto", help="that runs the network (%(default)s)")
    how.add_argument("--threads", type=number(1, 64, int), default=1, help="of the engine (%(default)s)")
    return parser.parse_args(args)


def _find(options: argparse.Namespace, interruption: Interruption) -> int:
    from h2onet_ros.bag.calibration import load_camera
    from h2onet_ros.bag.progress import image_bar
    from h2onet_ros.engines import WeightsBundle, create_engine
    from h2onet_ros.perception.photo import PhotoPipeline
    from h2onet_ros.photos.album import Album, amount

    jobs = _jobs(options)
    calibration = load_camera(options.calibration) if options.calibration else None
    bundle = WeightsBundle.load(options.weights)
    engine = create_engine(bundle, options.engine, options.threads)
    find = PhotoPipeline(engine, options.max_hands, options.hand_length, options.threads)
    with closing(find), image_bar(len(jobs)) as bar:
        album = Album(options.out, find, bundle.topology, calibration, options.field_of_view)
        problems = _fill(album, jobs, interruption, bar)
    if album.tiles:
        try:
            sheet = album.write_sheet()
        except BagError as error:
            problems.append(str(error))
        else:
            print(f"{amount(album.count, 'photograph')}, {amount(album.hands, 'hand')}; {sheet} shows them")
    return conclude(PROGRAM, problems, interruption, f"{options.out} holds what was found until then")


def _fill(album: Album, jobs: dict[Path, Path], interruption: Interruption, bar: tqdm) -> list[str]:
    """Do the jobs until interrupted; what went wrong with some."""
    problems = []
    for photo, folder in jobs.items():
        if interruption:
            break
        try:
            bar.write(album.add(photo, folder), file=sys.stdout)
        except (BagError, OSError) as error:
            problems.append(f"{photo}: {error}")
        bar.update()
    return problems


def _jobs(options: argparse.Namespace) -> dict[Path, Path]:
    """The photographs and the folder for each; two of the same name get different ones."""
    from h2onet_ros.bag.image_folder import picture_files
    from h2onet_ros.photos.album import is_replaceable

    photos = [file for path in options.photos for file in (picture_files(path) if path.is_dir() else [path])]
    missing = [str(photo) for photo in photos if not photo.is_file()]
    if missing:
        raise BagError(f"Expected photographs, nothing is at {', '.join(missing)}.")
    taken: set[str] = set()
    jobs = {}
    for photo in dict.fromkeys(photos):
        name, count = photo.stem, 1
        while name in taken:
            count += 1
            name = f"{photo.stem}_{count}"
        taken.add(name)
        jobs[photo] = options.out / name
    for folder in jobs.values():
        if folder.exists() and not (options.force and is_replaceable(folder)):
            cure = "name another --out" if options.force else "name another --out, or add --force"
            what = "something else" if options.force else "something"
            raise BagError(f"Expected nothing at {folder}, {what} is there; {cure}.")
    return jobs


if __name__ == "__main__":
    raise SystemExit(main())
