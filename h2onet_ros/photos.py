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
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from h2onet_ros.bag.evaluate import Interruption
from h2onet_ros.options import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from h2onet_ros.perception.camera import Camera
    from h2onet_ros.perception.types import Hand

PROGRAM = "h2onet photos"
EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
EXAMPLES = """examples:
  h2onet photos hand.jpg
  h2onet photos pictures/ --max-hands 4 --out output/team
  h2onet photos left.png right.png --calibration camera.yaml --hand-length 0.19
"""
FIELD_OF_VIEW = 60.0
"""Degrees, of a camera that nobody tells of."""
SHEET_PHOTOS = 48
"""Most photographs on the sheet."""
SHEET_TILE = (360, 480)
"""Height and width of each, pixels."""


def main(args: Sequence[str] | None = None) -> int:
    """Find the hands in photographs; the exit code."""
    interruption = Interruption()
    options = _arguments(args)
    # Imports take a while; --help shall not.
    from h2onet_ros.bag.errors import BagError
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
        help=f"across the longer side (as the file tells, else {FIELD_OF_VIEW:g})",
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
    how.add_argument("--weights", metavar="FOLDER", help="weights bundle (the one that comes along)")
    how.add_argument("--engine", default="auto", help="that runs the network (%(default)s)")
    how.add_argument("--threads", type=number(1, 64, int), default=1, help="of the engine (%(default)s)")
    return parser.parse_args(args)


def _find(options: argparse.Namespace, interruption: Interruption) -> int:
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.progress import image_bar

    jobs = _jobs(options)
    problems = []
    with _Album(options) as album, image_bar(len(jobs)) as bar:
        for photo, folder in jobs.items():
            if interruption:
                break
            try:
                bar.write(album.add(photo, folder), file=sys.stdout)
            except (BagError, OSError) as error:
                problems.append(f"{photo}: {error}")
            bar.update()
    if album.tiles:
        try:
            sheet = album.write_sheet()
        except BagError as error:
            problems.append(str(error))
        else:
            print(f"{_number(album.count, 'photograph')}, {_number(album.hands, 'hand')}; {sheet} shows them")
    for problem in problems:
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
    if interruption:
        print(f"{PROGRAM}: stopped; {options.out} holds what was found until then", file=sys.stderr)
        return 128 + interruption.signal_number
    return EXIT_FAILURE if problems else EXIT_OK


def _jobs(options: argparse.Namespace) -> dict[Path, Path]:
    """The photographs and the folder for each; two of the same name get different ones."""
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.image_folder import picture_files

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
    there = [str(folder) for folder in jobs.values() if folder.exists()]
    if there and not options.force:
        raise BagError(
            f"Expected nothing at {there[0]}, something is there; name another --out, or add --force."
        )
    return jobs


class _Album:
    """Finds and writes the hands of photographs.

    Attributes:
        tiles: small overlays for the sheet.
        count, hands: how many photographs and hands there were so far.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Raises BagError, BundleError, EngineError, NetworkError for what cannot be used."""
        from h2onet_ros.bag.calibration import load_camera
        from h2onet_ros.engines import WeightsBundle, create_engine, default_bundle_path
        from h2onet_ros.perception.photo import PhotoPipeline

        self.tiles: list[NDArray[np.uint8]] = []
        self.count = self.hands = 0
        self._options = options
        self._calibration = load_camera(options.calibration) if options.calibration else None
        bundle = WeightsBundle.load(options.weights or default_bundle_path())
        self._mesh = bundle.topology
        engine = create_engine(bundle, options.engine, options.threads)
        self._find = PhotoPipeline(engine, options.max_hands, options.hand_length, options.threads)

    def __enter__(self) -> _Album:
        return self

    def __exit__(self, *_: object) -> None:
        self._find.close()

    def add(self, photo: Path, folder: Path) -> str:
        """Write what is found in a photograph to a folder; what that is in words.

        Raises:
            BagError: it is no picture, or the calibration is of another one.
            OSError: the folder cannot be written.
        """
        import cv2
        import numpy as np

        from h2onet_ros.bag.contact_sheet import captioned
        from h2onet_ros.bag.errors import BagError
        from h2onet_ros.bag.evaluation.overlay import fit
        from h2onet_ros.bag.image_folder import read_picture
        from h2onet_ros.perception.draw import draw_overlay
        from h2onet_ros.perception.hand_files import write_hands
        from h2onet_ros.perception.types import Frame

        bgr = read_picture(photo)
        if bgr is None:
            raise BagError("it cannot be read as a picture")
        rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        camera, origin = self._camera(photo, bgr.shape[1], bgr.shape[0])
        result = self._find(rgb, camera)
        overlay = draw_overlay(rgb, result.hands, camera, self._mesh.faces, self._mesh.face_part)
        if folder.exists():
            shutil.rmtree(folder)
        frame = Frame(rgb, 0, camera)
        write_hands(folder, frame, result, overlay, self._mesh.faces, picture="jpg", with_image=False)
        self.count += 1
        self.hands += len(result.hands)
        if len(self.tiles) < SHEET_PHOTOS:
            small = fit(np.asarray(overlay[..., ::-1], np.uint8), (*SHEET_TILE, 3))
            self.tiles.append(captioned(small, SHEET_TILE[1], photo.name))
        return f"{photo.name}: {_described(result.hands)}; {origin}"

    def write_sheet(self) -> Path:
        """Write `photos.jpg`. Raises BagError where it cannot be written."""
        from h2onet_ros.bag.contact_sheet import arrange, write_image

        path: Path = self._options.out / "photos.jpg"
        write_image(path, arrange(self.tiles, min(4, math.ceil(math.sqrt(len(self.tiles))))))
        return path

    def _camera(self, photo: Path, width: int, height: int) -> tuple[Camera, str]:
        """The camera of a photograph, and where it is known from."""
        from h2onet_ros.bag.calibration import fit_camera
        from h2onet_ros.perception.camera import Camera
        from h2onet_ros.perception.exif import field_of_view, focal_length_35mm

        if self._calibration is not None:
            return fit_camera(self._calibration, width, height), "calibrated camera"
        degrees = self._options.field_of_view
        if degrees is None and (noted := focal_length_35mm(photo)):
            camera = Camera.assumed(width, height, field_of_view(noted, width, height))
            return camera, f"focal length as noted in the file, {noted:g} mm"
        degrees = degrees or FIELD_OF_VIEW
        return Camera.assumed(width, height, math.radians(degrees)), f"assumed to see {degrees:g} degrees"


def _described(hands: Sequence[Hand]) -> str:
    if not hands:
        return "no hand"
    each = ", ".join(f"{hand.handedness} at {hand.position[2]:.2f} m" for hand in hands)
    return f"{_number(len(hands), 'hand')}: {each}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


if __name__ == "__main__":
    raise SystemExit(main())
