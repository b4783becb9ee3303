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

from h2onet_ros.hand.model import HandModel, open_hand
from train.synthetic import sensor
from train.synthetic.assemble import hand_pieces, pose_plans, project, scaled_camera
from train.synthetic.backgrounds import Light, Panorama
from train.synthetic.geometry import ID_OTHER_HAND, NO_TEXTURE, Forearm, HandSurface, thing_soup
from train.synthetic.poses import INDEX, LITTLE, MIDDLE, RING, PoseSampler
from train.synthetic.renderer import Renderer, Shot
from train.synthetic.scene import HandPlan, Sensor
from train.synthetic.textures import SkinPainter, TextureSet, noise_surface

WIDTH, HEIGHT, RATE, SECONDS = 640, 480, 30, 7.0
FOCAL = 545.0
CAMERA = np.array([[FOCAL, 0, 322.4], [0, FOCAL, 236.8], [0, 0, 1.0]])
_SUPERSAMPLING = 2


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


def _forearm(colour: tuple[float, float, float]) -> Forearm:
    return Forearm(
        length=0.45,
        wrist_flexion=0.12,
        wrist_deviation=0.05,
        width=0.042,
        thickness=0.036,
        sleeve_start=0.065,
        sleeve_gap=0.009,
        sleeve_colour=np.array(colour),
        sleeve_layer=NO_TEXTURE,
        band_start=2.0,
        band_width=0.01,
        band_colour=np.zeros(3),
    )


def _plan(hand: HandModel, track: Track, second: float, shape: np.ndarray, forearm: Forearm) -> HandPlan:
    angles, rotation, wrist = track.at(hand, second)
    still = np.zeros(3)
    return HandPlan(
        angles, angles, shape, rotation, still, wrist, still, 0.0, np.ones(3), 0.25, forearm
    )  # fmt: skip


def _left_to_picture(plan: HandPlan) -> HandPlan:
    """A plan of the mirrored picture as `pose_plans(mirrored=True)` wants it."""
    mirror = np.diag([-1.0, 1, 1])
    return HandPlan(
        **{**plan.__dict__, "rotation": mirror @ plan.rotation @ mirror, "offset": mirror @ plan.offset}
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


class Studio:
    """Draws the frames of the recording."""

    def __init__(self, panorama: Panorama, hand: HandModel | None = None) -> None:
        self.hand = hand or open_hand()
        self.surface = HandSurface(self.hand)
        rng = np.random.default_rng(7)
        self.textures = TextureSet(
            np.stack([SkinPainter(self.surface).paint(rng, tone=2.0), noise_surface(rng)]), 1
        )
        self.renderer = Renderer(
            self.textures.layers,
            (WIDTH * _SUPERSAMPLING, HEIGHT * _SUPERSAMPLING),
            columns=1,
            rows=1,
            shadow_size=1024,
        )
        self.turn = Rotation.from_euler("y", 35, degrees=True).as_matrix()
        behind = panorama.view(CAMERA, (WIDTH, HEIGHT), self.turn)
        self.behind = cv2.GaussianBlur(behind, (0, 0), 5)
        soft = panorama.light(self.turn)
        sun = np.array([0.45, -0.65, -0.6])
        self.light = Light(soft.ambient * 0.75, sun / np.linalg.norm(sun), np.array([0.85, 0.82, 0.78]))
        self.shape = np.clip(rng.normal(0, 0.7, self.hand.shape_count), -1.5, 1.5)
        self.forearm = _forearm((0.05, 0.08, 0.16))
        self._sensor = Sensor(0.6, 0.004, 0.006, 92, np.ones(3), 1.0, 0.0)

    def frame(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Picture `index` as RGB `(480, 640, 3)` uint8, and its truth: a row of the arrays of `truth.npz`."""
        second = index / RATE
        right = _plan(self.hand, RIGHT, second, self.shape, self.forearm)
        left = _left_to_picture(_plan(self.hand, LEFT, second, self.shape, self.forearm))
        posed = [
            pose_plans(self.surface, [(right, 0.0)])[0],
            pose_plans(self.surface, [(left, 0.0)], mirrored=True)[0],
        ]
        own = hand_pieces(self.surface, right, posed[0])
        other = hand_pieces(self.surface, left, posed[1], ID_OTHER_HAND, mirrored=True)
        thing = _occluder(second)
        extra = [] if thing is None else [thing]
        camera = scaled_camera(CAMERA, _SUPERSAMPLING)
        centre = np.array([0, 0.03, 0.5])

        def shot(pieces: list[np.ndarray]) -> Shot:
            return Shot(np.concatenate(pieces), len(pieces[0]), camera, self.light, centre, 1.0, 0.34)

        drawn = self.renderer.draw([shot([*own, *other, *extra])])[0]
        alone = self.renderer.draw([shot([other[0]])])[0].alone
        # Arm and hand of the second hand carry one id; where its hand alone would be tells them apart.
        shares = [
            np.count_nonzero((drawn.ids >= 1) & (drawn.ids <= 6))
            / max(int(np.count_nonzero(drawn.alone)), 1),
            np.count_nonzero((drawn.ids == ID_OTHER_HAND) & alone) / max(int(np.count_nonzero(alone)), 1),
        ]
        rng = np.random.default_rng([7, index])
        picture = sensor.composite(drawn.image, self.behind)
        picture = sensor.expose(picture, self._sensor, np.zeros(2), float(WIDTH), rng)
        joints = np.stack([p.joints for p in posed])
        pose = np.stack([p.pose for p in posed])
        pose[:, 0] = 0
        return picture, {
            "joints": joints.astype(np.float32),
            "joints2d": np.stack([project(j, CAMERA) for j in joints]).astype(np.float32),
            "rotation": np.stack([p.rotation for p in posed]).astype(np.float32),
            "pose": pose.astype(np.float32),
            "visible_share": np.array(shares, np.float32),
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
    studio = Studio(panorama)
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
