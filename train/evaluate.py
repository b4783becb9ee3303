"""Measure a network: rendered hands with full truth, held-out photographs, a video.

    python -m train.evaluate --bundle FOLDER (or --run RUN) --test data/synthetic_test \\
        --real real_hands.zip [--video FILE --wheel mediapipe-0.10.21-*.whl] [--json FILE] [--pictures DIR]

Bundles run as they do in the node, by ONNX Runtime. `synthetic_single` leaves out the past: how much worse it
is on occluded hands is what the past is good for. Crops are centred on the true joints; `jittered` ones vary
as a tracker's regions do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from h2onet_ros.engines import BundleError, WeightsBundle, create_engine
from h2onet_ros.hand.joints import SKELETON
from h2onet_ros.hand.model import open_hand
from train.augment import CropJitter
from train.check_video import distances, read_frames, summary
from train.data import Frame, RealSource, SyntheticSource, make_crop
from train.fit import Fits, fit
from train.real_crops import RealCrops, RealCropsError
from train.synthetic.shards import ShardError
from train.trainer import TrainingError, load_network
from train.validation import (
    STILL,
    NetworkPredictor,
    Predictions,
    Predictor,
    metrics_2d,
    metrics_3d,
    predict,
    real_rows,
    real_samples,
    synthetic_samples,
    uv_errors,
)

TRACKING = CropJitter(rotate_probability=0.0)
OCCLUDED_FINGERS = 2
"""A hand counts as occluded with at least so many hidden fingers."""


def evaluate_synthetic(
    predictor: Predictor, source: SyntheticSource, regressor: np.ndarray, count: int | None
) -> dict[str, dict[str, float]]:
    """Figures on rendered hands, with and without the past, on all and on occluded hands."""
    samples = synthetic_samples(source, count)
    hidden = np.array([sample[0].occlusion[:5].sum() >= OCCLUDED_FINGERS for sample in samples])
    triplets = np.array([len(sample) == 3 for sample in samples])
    found = {}
    for name, forget in (("synthetic", False), ("synthetic_single", True)):
        p = predict(predictor, samples, regressor, forget=forget)
        found[name] = metrics_3d(p) | metrics_2d(p)
        rows = hidden & triplets
        if rows.any():
            part = Predictions(**{key: value[rows] for key, value in vars(p).items()})
            found[f"{name}_occluded"] = metrics_3d(part) | metrics_2d(part)
    p = predict(predictor, samples, regressor, jitter=TRACKING)
    found["synthetic_jittered"] = metrics_3d(p) | metrics_2d(p)
    return found


def draw_predictions(
    p: Predictions, samples: list[list[Frame]], rows: np.ndarray, faces: np.ndarray
) -> np.ndarray:
    """Crops with the given points (green), the network's points and its mesh from the same view, BGR."""
    tiles = []
    for row in rows:
        crop = make_crop(samples[row][0], 0.0, STILL, np.random.default_rng(0))[0]
        picture = cv2.resize(crop[..., ::-1], (256, 256), interpolation=cv2.INTER_CUBIC)
        meshed = _draw_mesh(picture.copy(), p.vertices[row], p.joints[row], p.uv[row] * 256, faces)
        for points, colour in ((p.true_uv[row], (60, 220, 60)), (p.uv[row], (60, 60, 255))):
            pixels = np.round(points * 256).astype(int)
            for a, b in SKELETON:
                cv2.line(picture, pixels[a].tolist(), pixels[b].tolist(), colour, 1, cv2.LINE_AA)
        tiles.append(np.concatenate([picture, meshed], 1))
    columns = 4
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    lines = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.concatenate(lines)


def _draw_mesh(
    picture: np.ndarray, vertices: np.ndarray, joints: np.ndarray, points: np.ndarray, faces: np.ndarray
) -> np.ndarray:
    # Weak perspective: scale and place that bring the joints onto the image points, least squares.
    flat = joints[:, :2] - joints[:, :2].mean(0)
    scale = float((flat * (points - points.mean(0))).sum() / (flat * flat).sum())
    pixels = (vertices[:, :2] - joints[:, :2].mean(0)) * scale + points.mean(0)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    layer = picture.copy()
    for face in np.argsort(-vertices[faces].mean(1)[:, 2]):
        if normal[face, 2] < 0:
            shade = 70 + 180 * float(-normal[face, 2])
            corners = np.round(pixels[faces[face]]).astype(np.int32)
            cv2.fillConvexPoly(layer, corners, (shade, shade * 0.8, shade * 0.65), cv2.LINE_AA)
    return cv2.addWeighted(layer, 0.75, picture, 0.25, 0)


def evaluate_video(bundle: WeightsBundle, video: Path, wheel: Path, every: int = 5) -> dict[str, object]:
    """The whole pipeline on a video, judged by MediaPipe's landmark network every few frames."""
    from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
    from train.detector.landmarks import LandmarkNetwork

    pipeline = HandPipeline(create_engine(bundle), PipelineConfig(max_hands=1))
    judge = LandmarkNetwork(wheel)
    results, judged = [], []
    for index, frame in enumerate(read_frames(video, None)):
        result = pipeline.process(frame)
        results.append(result)
        if index % every == 0:
            judged += distances(frame, result, judge)
    return summary(results, np.array(judged).reshape(-1, 2))


def table(figures: dict[str, dict[str, float]]) -> str:
    """Figures as lines of text, one set a column."""
    names = list(dict.fromkeys(name for part in figures.values() for name in part))
    width = max(map(len, names))
    lines = [" " * width + "".join(f"{head:>28}" for head in figures)]
    for name in names:
        cells = [f"{part[name]:28.4f}" if name in part else " " * 28 for part in figures.values()]
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--bundle", type=Path, help="weights bundle")
    which.add_argument("--run", type=Path, help="folder of a training run, or its checkpoint")
    parser.add_argument("--test", type=Path, help="folder of rendered samples not trained on")
    parser.add_argument("--real", type=Path, help="folder or zip file of real crops")
    parser.add_argument("--fits", type=Path, help="file of train.fit (without: fitted now)")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--wheel", type=Path, help="mediapipe-0.10.21 wheel, judges the video")
    parser.add_argument("--count", type=int, help="only so many samples of each set")
    parser.add_argument("--json", type=Path, help="write the figures there, flat: set_figure")
    parser.add_argument("--pictures", type=Path, help="write pictures of typical and worst samples there")
    arguments = parser.parse_args()
    if arguments.video and not (arguments.bundle and arguments.wheel):
        parser.error("--video needs --bundle and --wheel")
    try:
        return _evaluate(arguments)
    except (ShardError, RealCropsError, TrainingError, BundleError, OSError, ValueError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1


def _evaluate(arguments: argparse.Namespace) -> int:
    predictor: Predictor
    if arguments.bundle:
        bundle = WeightsBundle.load(arguments.bundle)
        predictor, topology = create_engine(bundle, "onnxruntime"), bundle.topology
    else:
        network, _ = load_network(arguments.run)
        predictor, topology = NetworkPredictor(network), network.topology
    regressor, faces = topology.joint_regressor, topology.faces
    figures: dict[str, dict[str, float]] = {}
    pictures: dict[str, np.ndarray] = {}
    if arguments.test:
        source = SyntheticSource(arguments.test)
        figures |= evaluate_synthetic(predictor, source, regressor, arguments.count)
        samples = synthetic_samples(source, 24)
        p = predict(predictor, samples, regressor)
        pictures["synthetic"] = draw_predictions(p, samples, np.arange(len(samples)), faces)
    if arguments.real:
        held_out = RealCrops.load(arguments.real).split()[1]
        hand = open_hand()
        fits = Fits.load(arguments.fits) if arguments.fits else fit(held_out, hand, progress=True)
        source_real = RealSource(held_out, fits, hand, 1.0)
        samples = real_samples(source_real, arguments.count)
        p = predict(predictor, samples, regressor)
        figures["real"] = metrics_2d(p)
        figures["real_jittered"] = metrics_2d(predict(predictor, samples, regressor, jitter=TRACKING))
        for side, rows in (("left", held_out.mirrored), ("right", ~held_out.mirrored)):
            rows = rows[real_rows(source_real, arguments.count)]
            if rows.any():
                part = Predictions(**{key: value[rows] for key, value in vars(p).items()})
                figures[f"real_{side}"] = metrics_2d(part)
        error = uv_errors(p)
        typical = np.linspace(0, len(samples) - 1, min(24, len(samples))).round().astype(int)
        pictures["real"] = draw_predictions(p, samples, typical, faces)
        pictures["real_worst"] = draw_predictions(p, samples, np.argsort(-error)[:24], faces)
    print(table(figures))
    if arguments.video:
        print(json.dumps(evaluate_video(bundle, arguments.video, arguments.wheel), indent=1))
    if arguments.json:
        flat = {f"{part}_{name}": round(v, 4) for part, found in figures.items() for name, v in found.items()}
        arguments.json.write_text(json.dumps(flat, indent=1) + "\n")
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            cv2.imwrite(str(arguments.pictures / f"{name}.png"), picture)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
