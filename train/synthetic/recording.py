"""Make the bundled demo recording: two hands before a camera, with the exact answer beside it.

    python -m train.synthetic.recording --out h2onet_ros/assets/demo --panorama panoramas/pmndrs_lobby.npz

Writes `demo.mp4` (640 x 480, 30 frames/s), `camera.yaml` (the calibration format of camera_info files) and
`truth.npz`: for frame t and hand h (0 the right hand, 1 the left) `joints` `(T, 2, 21, 3)`, metres in the
camera frame, standard order; `joints2d` `(T, 2, 21, 2)` pixels; `rotation` `(T, 2, 3, 3)`, `pose`
`(T, 2, 16, 3)` of the fingers (row 0 is zero) and `shape` `(S,)` of the hand model; `visible_share` `(T, 2)`
of each hand's pixels (0: not in the picture); `stamp` `(T,)` nanoseconds. The vertices are
`rotation @ (posed - wrist) + joints[0]`; for the left hand, x of the posed hand is negated first.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from h2onet_ros.hand.model import HandModel
from train.synthetic.backgrounds import Light, Panorama
from train.synthetic.geometry import thing_soup
from train.synthetic.poses import INDEX, LITTLE, MIDDLE, RING, PoseSampler
from train.synthetic.studio import Studio, left_hand, plain_plan, sleeve

WIDTH, HEIGHT, RATE, SECONDS = 640, 480, 30, 7.0
FOCAL = 545.0
CAMERA = np.array([[FOCAL, 0, 322.4], [0, FOCAL, 236.8], [0, 0, 1.0]])


def named_pose(hand: HandModel, name: str) -> np.ndarray:
    """Anatomical angles `(16, 3)` of a pose of the script."""
    angles = np.zeros((16, 3))
    still = np.random.default_rng(0)
    bent = {
        "open": (),
        "fist": (INDEX, MIDDLE, RING, LITTLE),
        "point": (MIDDLE, RING, LITTLE),
        "victory": (RING, LITTLE),
        "relaxed": (),
        "grip": (),
    }[name]
    for finger in (INDEX, MIDDLE, RING, LITTLE):
        if finger in bent:
            PoseSampler.bend(angles, finger, 78, 93, 45)
        elif name == "relaxed":
            PoseSampler.bend(angles, finger, 22, 28)
        elif name == "grip":
            PoseSampler.bend(angles, finger, 48, 52)
        else:
            PoseSampler.bend(angles, finger, 0, 3, 2)
    PoseSampler.fan(angles, {"open": 11.0, "victory": 12.0}.get(name, 2.0), still)
    thumbs = {
        "open": (-18, 8, 0, 0, -2),
        "fist": (24, 18, 12, 30, 45),
        "point": (24, 18, 12, 30, 45),
        "victory": (28, 18, 14, 32, 45),
        "relaxed": (4, 10, 4, 10, 15),
        "grip": (6, 22, 14, 12, 20),
    }
    PoseSampler.place_thumb(angles, *thumbs[name])
    return PoseSampler(hand).clip(angles)


@dataclass(frozen=True)
class Track:
    """A hand's script: rows of (second, pose, turns about y, x, z in degrees, wrist position in metres)."""

    rows: list[tuple[float, str, tuple[float, float, float], tuple[float, float, float]]]

    def at(self, hand: HandModel, second: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Angles `(16, 3)`, rotation `(3, 3)` and wrist `(3,)` of the unmirrored hand at a time."""
        times = [row[0] for row in self.rows]
        angles = np.stack([named_pose(hand, row[1]) for row in self.rows]).reshape(len(times), -1)
        places = np.array([row[3] for row in self.rows])
        turns = Rotation.from_euler("YXZ", [row[2] for row in self.rows], degrees=True)
        second = float(np.clip(second, times[0], times[-1]))
        smooth = PchipInterpolator(times, np.arange(len(times)))(second)
        whole = min(int(smooth), len(times) - 2)
        part = smooth - whole
        part = part * part * (3 - 2 * part)
        eased = times[whole] + part * (times[whole + 1] - times[whole])
        return (
            PchipInterpolator(times, angles)(eased).reshape(16, 3),
            Slerp(times, turns)(eased).as_matrix(),
            PchipInterpolator(times, places)(second),
        )


# Positions are of the wrist; a hand held up reaches about 0.18 m above it. The left hand's are of the picture
# seen in a mirror, since it is posed as a right hand and mirrored.
RIGHT = Track(
    [
        (0.0, "open", (0, 0, 0), (-0.11, 0.11, 0.50)),
        (1.0, "fist", (5, 0, -6), (-0.10, 0.10, 0.49)),
        (1.8, "open", (0, -10, 8), (-0.12, 0.10, 0.50)),
        (2.8, "relaxed", (-75, -8, 4), (-0.12, 0.10, 0.48)),
        (3.7, "open", (-172, -4, -6), (-0.10, 0.11, 0.50)),
        (4.6, "point", (-140, 5, -14), (-0.11, 0.10, 0.47)),
        (5.5, "victory", (-20, 0, 4), (-0.11, 0.10, 0.50)),
        (6.3, "grip", (25, -15, 10), (-0.12, 0.09, 0.46)),
        (7.0, "open", (0, 0, 0), (-0.11, 0.11, 0.50)),
    ]
)
LEFT = Track(
    [
        (0.0, "relaxed", (20, 0, 40), (-0.40, 0.36, 0.52)),
        (0.7, "relaxed", (20, 0, 40), (-0.40, 0.36, 0.52)),
        (1.7, "open", (0, -5, 4), (-0.13, 0.12, 0.53)),
        (2.6, "victory", (8, 0, -6), (-0.12, 0.11, 0.52)),
        (3.5, "open", (-15, 5, -18), (-0.12, 0.12, 0.50)),
        (4.4, "fist", (10, -5, 0), (-0.12, 0.10, 0.52)),
        (5.2, "open", (60, -5, 6), (-0.13, 0.11, 0.51)),
        (6.1, "open", (165, 0, 6), (-0.12, 0.12, 0.52)),
        (7.0, "relaxed", (190, -25, 10), (-0.13, 0.14, 0.52)),
    ]
)


def _occluder(second: float) -> np.ndarray | None:
    """A box carried past in front of both hands."""
    if not 3.6 < second < 6.6:
        return None
    place = np.array([-0.33 + (second - 3.6) * 0.22, 0.035, 0.34])
    turn = Rotation.from_euler("zyx", [18, 30 + 20 * second, 8], degrees=True).as_matrix()
    return thing_soup(
        "box", np.array([0.032, 0.055, 0.02]), turn, place, np.array([0.85, 0.8, 0.7]), 1.0, 1.0, 0.3
    )


class DemoStudio:
    """Draws the frames of the recording."""

    def __init__(self, panorama: Panorama, hand: HandModel | None = None) -> None:
        turn = Rotation.from_euler("y", 35, degrees=True).as_matrix()
        behind = cv2.GaussianBlur(panorama.view(CAMERA, (WIDTH, HEIGHT), turn), (0, 0), 5)
        soft = panorama.light(turn)
        sun = np.array([0.45, -0.65, -0.6])
        light = Light(soft.ambient * 0.75, sun / np.linalg.norm(sun), np.array([0.85, 0.82, 0.78]))
        self._studio = Studio(CAMERA, behind, light, np.random.default_rng(7), hand)
        self._forearm = sleeve((0.05, 0.08, 0.16))
        self.hand, self.shape = self._studio.hand, self._studio.shape

    def frame(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Picture `index` as RGB `(480, 640, 3)` uint8, and its truth: a row of the arrays of `truth.npz`."""
        second = index / RATE
        right, left = (
            plain_plan(*track.at(self.hand, second), self.shape, self._forearm) for track in (RIGHT, LEFT)
        )
        thing = _occluder(second)
        picture, truths = self._studio.draw(
            right,
            left_hand(left),
            [] if thing is None else [thing],
            np.array([0, 0.03, 0.5]),
            0.34,
            np.random.default_rng([7, index]),
        )
        pose = np.stack([truth.posed.pose for truth in truths])
        pose[:, 0] = 0
        return picture, {
            "joints": np.stack([truth.posed.joints for truth in truths]).astype(np.float32),
            "joints2d": np.stack([truth.image_points for truth in truths]).astype(np.float32),
            "rotation": np.stack([truth.posed.rotation for truth in truths]).astype(np.float32),
            "pose": pose.astype(np.float32),
            "visible_share": np.array([truth.visible_share for truth in truths], np.float32),
        }


CAMERA_YAML = """\
# Calibration of the demo recording's (synthetic) camera.
image_width: {width}
image_height: {height}
camera_name: demo
camera_matrix:
  rows: 3
  cols: 3
  data: [{f}, 0.0, {cx}, 0.0, {f}, {cy}, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.0, 0.0, 0.0, 0.0, 0.0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
projection_matrix:
  rows: 3
  cols: 4
  data: [{f}, 0.0, {cx}, 0.0, 0.0, {f}, {cy}, 0.0, 0.0, 0.0, 1.0, 0.0]
"""


def record(folder: Path, panorama: Panorama) -> None:
    """Write the recording into `folder`.

    Raises:
        RuntimeError: no off-screen OpenGL, or the video cannot be written.
    """
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    studio = DemoStudio(panorama)
    path = folder / "demo.mp4"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    if not video.isOpened():
        raise RuntimeError(f"OpenCV cannot write {path}: expected an FFmpeg build with MPEG-4 (mp4v).")
    truths = []
    for index in tqdm(range(round(SECONDS * RATE)), unit="frame"):
        picture, truth = studio.frame(index)
        video.write(np.ascontiguousarray(picture[..., ::-1]))
        truths.append(truth)
    video.release()
    arrays = {key: np.stack([truth[key] for truth in truths]) for key in truths[0]}
    stamps = np.round(np.arange(len(truths)) * 1e9 / RATE).astype(np.int64)
    np.savez_compressed(folder / "truth.npz", shape=studio.shape.astype(np.float32), stamp=stamps, **arrays)  # type: ignore[arg-type]
    (folder / "camera.yaml").write_text(
        CAMERA_YAML.format(width=WIDTH, height=HEIGHT, f=FOCAL, cx=CAMERA[0, 2], cy=CAMERA[1, 2])
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--panorama", type=Path, required=True, help="a file of train.fetch_backgrounds, CC0")
    arguments = parser.parse_args()
    try:
        with np.load(arguments.panorama, allow_pickle=False) as archive:
            panorama = Panorama(archive["radiance"])
        record(arguments.out, panorama)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        print(f"recording: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
