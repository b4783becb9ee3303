"""How right hands are, and how calm: rendered recordings with known truth through the pipeline.

    python -m benchmark.accuracy                   prints tables, writes accuracy.md, .json and smoothing.png
    python -m benchmark.accuracy --docs            the same into docs/placement.md and docs/images
    python -m benchmark.accuracy --weights FOLDER  other weights

Needs the extras `train` and `test`, and off-screen OpenGL.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from h2onet_ros.engines import WeightsBundle, create_engine
from h2onet_ros.engines.base import Engine
from h2onet_ros.hand.metrics import mean_distance
from h2onet_ros.perception.depth import fit_depth
from h2onet_ros.perception.hand_size import hand_length
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.placement import TURN_PRIOR, place
from h2onet_ros.perception.smoothing import HandPose, HandSmoother, SmoothingConfig
from h2onet_ros.perception.types import FrameResult, Hand
from train.synthetic import scripts
from train.synthetic.scripts import Script, Shown

PAGE = Path(__file__).resolve().parents[1] / "docs" / "placement.md"
BEGIN, END = "<!-- accuracy: begin -->\n", "<!-- accuracy: end -->\n"
RAW = PipelineConfig(smoothing=SmoothingConfig(enabled=False))
STRENGTHS = (0.3, 0.5, 1.0, 2.0, 4.0)
POINT_NOISE, TURN_NOISE = 0.02, 0.2  # of the hand's box, and radians, for placement alone


class Bench:
    """Renders, runs and counts, with a progress bar."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def perform(self, name: str, script: Script) -> list[Shown]:
        count = round(script.seconds * script.rate)
        return list(tqdm(scripts.perform(script), f"render {name}", count, leave=False, disable=None))

    def run(self, shown: list[Shown], config: PipelineConfig, depth: bool = False) -> list[FrameResult]:
        pipeline = HandPipeline(self._engine, config)
        frames = [one.frame if depth else one.without_depth for one in shown]
        return [pipeline.process(frame) for frame in tqdm(frames, "hands", leave=False, disable=None)]


def sightings(results: list[FrameResult], shown: list[Shown]) -> list[tuple[int, Hand, int]]:
    """(frame, hand, which of the true hands) of the hands found that are at least four fifths visible."""
    found = []
    for i, (result, one) in enumerate(zip(results, shown, strict=True)):
        for hand in result.hands:
            away = [np.linalg.norm(t.image_points - hand.image_points, axis=1).mean() for t in one.hands]
            which = int(np.argmin(away))
            if one.hands[which].visible_share > 0.8:
                found.append((i, hand, which))
    return found


def wrist_table(bench: Bench) -> tuple[list[str], list[dict]]:
    """Wrists of both hands before several cameras, and of a small hand."""
    rows = []
    cases = [(name, 1.0) for name in scripts.CAMERAS] + [("usual", 0.75)]
    for camera, size in cases:
        name = camera if size == 1 else f"{camera}, a child's hands"
        shown = bench.perform(name, replace(scripts.two_hands(camera, size), rate=10.0))
        truth = shown[0].hands[0].posed.joints
        known = replace(RAW, hand_length=hand_length(truth))
        row: dict = {
            "camera": name,
            "focal": float(shown[0].frame.camera.focal[0]),
            "distance": float(truth[0, 2]),
            "alone": _placed_alone(shown, depth=False),
            "alone_depth": _placed_alone(shown, depth=True),
        }
        for key, config, depth in (("image", RAW, False), ("length", known, False), ("depth", RAW, True)):
            seen = sightings(bench.run(shown, config, depth), shown)
            row[key] = _errors(h.position - shown[i].hands[w].posed.joints[0] for i, h, w in seen)
            row[f"{key}_apart"] = _apart(seen, shown)
        rows.append(row)
    lines = [
        "| camera | focal length, px | distance, m | placement alone | and depth | image | image and hand's "
        "length | depth | between hands: image | depth |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            _cm(row[key])
            for key in ("alone", "alone_depth", "image", "length", "depth", "image_apart", "depth_apart")
        ]
        lines.append(
            f"| {row['camera']} | {row['focal']:.0f} | {row['distance']:.2f} | {' | '.join(cells)} |"
        )
    return lines, rows


def _placed_alone(shown: list[Shown], depth: bool) -> list[float]:
    """What is left of the wrist's error with the true hand, turned a little, and image points that err a
    little."""
    rng = np.random.default_rng(0)
    errors = []
    for one in shown:
        for hand in one.hands:
            axis = rng.normal(size=3)
            turn = cv2.Rodrigues(TURN_NOISE * axis / np.linalg.norm(axis))[0].T
            joints = (hand.posed.joints - hand.posed.joints[0]) @ turn
            extent = np.ptp(hand.image_points, axis=0).max()
            points = hand.image_points + rng.normal(size=(21, 2)) * POINT_NOISE * extent
            camera = one.frame.camera
            placement = place(joints, points, camera, TURN_PRIOR)
            if placement is not None and depth and one.frame.depth is not None:
                vertices = (hand.posed.vertices - hand.posed.joints[0]) @ turn
                fit = fit_depth(vertices, joints, points, camera, one.frame.depth, placement, TURN_PRIOR)
                placement = None if fit is None else fit.placement
            if placement is not None:
                errors.append(placement.position - hand.posed.joints[0])
    return _errors(errors)


def _apart(seen: list[tuple[int, Hand, int]], shown: list[Shown]) -> list[float]:
    places: dict[int, dict[int, np.ndarray]] = {}
    for i, hand, which in seen:
        places.setdefault(i, {})[which] = hand.position
    both = {i: hands for i, hands in places.items() if len(hands) == 2}
    return _errors(
        (hands[1] - hands[0]) - (shown[i].hands[1].posed.joints[0] - shown[i].hands[0].posed.joints[0])
        for i, hands in both.items()
    )


def _errors(differences: Iterable[np.ndarray]) -> list[float]:
    """Median and 90th percentile of lengths, metres."""
    lengths = [float(np.linalg.norm(difference)) for difference in differences]
    return [float(np.percentile(lengths, q)) for q in (50, 90)] if lengths else [float("nan")] * 2


def _cm(errors: list[float]) -> str:
    return f"{100 * errors[0]:.1f} / {100 * errors[1]:.1f}"


def rotation_table(bench: Bench) -> tuple[list[str], list[dict]]:
    """What fitting the rotation and the bones to the image points, and to depth, does."""
    shown = [
        one
        for camera in ("usual", "wide")
        for one in bench.perform(camera, replace(scripts.two_hands(camera), rate=10.0))
    ]
    rows = []
    mesh_alone = replace(RAW, image_alignment=0.0)
    for name, config, depth in (
        ("the network's", replace(mesh_alone, fit_rotation=False), False),
        ("rotation fitted to the image points", mesh_alone, False),
        ("and bones turned towards them", RAW, False),
        ("and fitted to depth", RAW, True),
    ):
        results = [bench.run(part, config, depth) for part in _by_camera(shown)]
        seen = sightings([r for part in results for r in part], shown)
        joints = np.stack([h.joints - h.joints[0] for _, h, _ in seen])
        true = np.stack([shown[i].hands[w].posed.joints for i, _, w in seen])
        turns = [
            np.degrees(np.linalg.norm(cv2.Rodrigues(h.rotation @ shown[i].hands[w].posed.rotation.T)[0]))
            for i, h, w in seen
        ]
        extent = [np.ptp(shown[i].hands[w].image_points, axis=0).max() for i, _, w in seen]
        rows.append(
            {
                "rotation": name,
                "degrees": float(np.median(turns)),
                "mpjpe_mm": 1e3 * float(mean_distance(joints, true - true[:, :1]).mean()),
                "reprojection": float(
                    np.median([h.reprojection_error for _, h, _ in seen] / np.array(extent))
                ),
            }
        )
    lines = [
        "| | rotation off, median, degrees | MPJPE, mm | placement's reprojection, of the hand's box |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['rotation']} | {r['degrees']:.1f} | {r['mpjpe_mm']:.1f} | {100 * r['reprojection']:.1f} % |"
        for r in rows
    ]
    return lines, rows


def _by_camera(shown: list[Shown]) -> list[list[Shown]]:
    cameras = list(dict.fromkeys(id(one.frame.camera) for one in shown))
    return [[one for one in shown if id(one.frame.camera) == camera] for camera in cameras]


def tracking_table(bench: Bench) -> tuple[list[str], list[dict]]:
    """Identities and sides through crossings and absences."""
    rows = []
    for name, script in (
        ("two hands cross twice, one behind the other", scripts.crossing()),
        ("a board passes in front of a hand", scripts.hidden()),
        ("a hand leaves the image and comes back", scripts.leaving()),
    ):
        shown = bench.perform(name, script)
        seen = sightings(bench.run(shown, PipelineConfig()), shown)
        visible = sum(hand.visible_share > 0.8 for one in shown for hand in one.hands)
        ids = [{h.track_id for _, h, w in seen if w == which} for which in range(len(shown[0].hands))]
        sides = [(h.handedness == "left") == shown[i].hands[w].is_left for i, h, w in seen]
        rows.append(
            {
                "recording": name,
                "found": len(seen) / visible,
                "identities": [len(one) for one in ids],
                "right_side": float(np.mean(sides)),
            }
        )
    lines = [
        "| recording | found, of the visible hands | identities of each hand | right side |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['recording']} | {100 * r['found']:.0f} % | {', '.join(map(str, r['identities']))} | "
        f"{100 * r['right_side']:.0f} % |"
        for r in rows
    ]
    return lines, rows


def smoothing_table(bench: Bench) -> tuple[list[str], list[dict]]:
    """Unrest of a hand held still, and how late a waving one is, at several strengths."""
    still = _poses(bench.run(bench.perform("a hand at rest", scripts.resting()), RAW))
    moving = _poses(bench.run(bench.perform("a waving hand", scripts.waving(0.12, 0.06)), RAW))
    rows = []
    for strength in (None, *STRENGTHS):
        config = SmoothingConfig(enabled=False) if strength is None else SmoothingConfig(strength=strength)
        calm, late = _smoothed(still, config), _smoothed(moving, config)
        rows.append(
            {
                "strength": strength,
                "wrist_mm": 1e3 * _unrest([p.position for p in calm]),
                "joints_mm": 1e3 * _unrest([p.joints for p in calm]),
                "rotation_deg": _turning([p.rotation for p in calm]),
                "lag_across_ms": 1e3 * _lag(moving, late, 0),
                "lag_along_ms": 1e3 * _lag(moving, late, 2),
            }
        )
    lines = [
        "| strength | wrist, mm | joints about it, mm | rotation, degrees | lag across, ms | in depth, ms |",
        "|---|---|---|---|---|---|",
    ]
    for r in rows:
        name = "off" if r["strength"] is None else f"{r['strength']:g}"
        lines.append(
            f"| {name} | {r['wrist_mm']:.2f} | {r['joints_mm']:.2f} | {r['rotation_deg']:.2f} | "
            f"{r['lag_across_ms']:.0f} | {r['lag_along_ms']:.0f} |"
        )
    return lines, rows


def _poses(results: list[FrameResult]) -> list[tuple[int, HandPose]]:
    """Stamps and what was said of the hand that was followed longest."""
    ids = [hand.track_id for result in results for hand in result.hands]
    longest = max(set(ids), key=ids.count)
    return [
        (r.stamp, HandPose(h.position, h.rotation, h.vertices - h.position, h.joints - h.position))
        for r in results
        for h in r.hands
        if h.track_id == longest
    ]


def _smoothed(poses: list[tuple[int, HandPose]], config: SmoothingConfig) -> list[HandPose]:
    smoother = HandSmoother(config)
    return [smoother(pose, stamp) for stamp, pose in poses]


def _unrest(values: list[np.ndarray]) -> float:
    """Mean distance of points from the middle between the frame before and after."""
    points = np.stack(values)[10:].reshape(len(values) - 10, -1, 3)
    middle = (points[2:] + points[:-2]) / 2
    return float(np.linalg.norm(points[1:-1] - middle, axis=-1).mean())


def _turning(rotations: list[np.ndarray]) -> float:
    """Mean angle from frame to frame, degrees."""
    pairs = pairwise(rotations[10:])
    return float(np.mean([np.degrees(np.linalg.norm(cv2.Rodrigues(b @ a.T)[0])) for a, b in pairs]))


def _lag(raw: list[tuple[int, HandPose]], smooth: list[HandPose], axis: int) -> float:
    """Seconds by which the wrist's smoothed course is behind the raw one along an axis."""
    times = np.array([stamp for stamp, _ in raw]) * 1e-9
    course = np.array([pose.position[axis] for _, pose in raw])
    late = np.array([pose.position[axis] for pose in smooth])
    inside = times > times[0] + 0.5
    lags = np.linspace(0, 0.4, 201)
    misfit = [np.square(late[inside] - np.interp(times[inside] - lag, times, course)).mean() for lag in lags]
    return float(lags[int(np.argmin(misfit))])


def plot(rows: list[dict], path: Path) -> None:
    """Unrest against lag, one point for each strength."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, label in (("lag_across_ms", "lag across"), ("lag_along_ms", "lag in depth")):
        lags = [row[key] for row in rows]
        axes.plot(lags, [row["wrist_mm"] for row in rows], "o-", label=label)
    for row in rows:
        name = "off" if row["strength"] is None else f"{row['strength']:g}"
        axes.annotate(name, (row["lag_along_ms"], row["wrist_mm"]), textcoords="offset points", xytext=(6, 6))
    axes.set(xlabel="lag of a waving hand, ms", ylabel="unrest of a resting wrist, mm", ylim=(0, None))
    axes.set_title("Smoothing: strength against lag")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


TABLES = {
    "Wrist": (
        wrist_table,
        "Error of the wrist in cm, median / 90th percentile, without smoothing. Placement alone: with the "
        "true hand, turned by 0.2 radians, and image points off by 2 % of the hand's box; the rest is the "
        "network's.",
    ),
    "Rotation": (rotation_table, "Both hands before two cameras, without smoothing."),
    "Identities": (
        tracking_table,
        "At 30 frames a second. Every identity counts that was ever nearest to the hand.",
    ),
    "Smoothing": (
        smoothing_table,
        "A hand at rest: distance from the middle between the frame before and after, and turning from frame "
        "to frame. A hand that waves at 1 Hz, 12 cm to each side and 6 cm in depth: how late it is.",
    ),
}


def main() -> int:
    """Exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmark.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, help="a weights bundle; the package's own without it")
    parser.add_argument("--only", nargs="+", choices=[name.lower() for name in TABLES], help="some tables")
    parser.add_argument("--out", type=Path, default=Path("output"), help="folder (default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="write into docs/placement.md and docs/images")
    options = parser.parse_args()
    bundle = WeightsBundle.load(options.weights)
    bench = Bench(create_engine(bundle, "onnxruntime", threads=1))
    text, result = f"Weights `{bundle.info.name}` ({bundle.digest[:12]}).\n", {}
    for name, (make, legend) in TABLES.items():
        if options.only and name.lower() not in options.only:
            continue
        lines, result[name.lower()] = make(bench)
        text += f"\n### {name}\n\n{legend}\n\n" + "\n".join(lines) + "\n"
    print(text)
    out = PAGE.parent / "images" if options.docs else options.out
    out.mkdir(parents=True, exist_ok=True)
    (out / "accuracy.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if "smoothing" in result:
        plot(result["smoothing"], out / "smoothing.png")
    if options.docs:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    else:
        (out / "accuracy.md").write_text(text, encoding="utf-8")
    print(f"written into {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
