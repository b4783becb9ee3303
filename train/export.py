"""Turn a run's checkpoint into a weights bundle for the node, and prove that it gives the same hands.

    python -m train.export RUN --out FOLDER [--metrics evaluation.json] [--overwrite]

RUN is the folder of a run, of which the last weights are taken, or one of its files, such as
`RUN/best.safetensors`. What the bundle says of hand, licence and data follows from the run, unless given.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from h2onet_ros.engines import BundleError, WeightsBundle, create_engine
from h2onet_ros.hand.model import open_hand
from h2onet_ros.model import H2ONet
from h2onet_ros.model.export import Provenance, export_bundle
from train.averaging import average
from train.batches import Mixture
from train.checkpoint import CONFIG, TrainingError, load_network
from train.config import RunConfig
from train.evaluation.predictors import NetworkPredictor

TOLERANCE_M = 5e-4
"""How far off the worst vertex of most hands may be for storing the weights in half precision."""

OPEN_LICENCE = "Apache-2.0"
OPEN_DATA = (
    "synthetic renders of the open hand (train/synthetic), and 9,244 photographed hands of four public data "
    "sets (Apache-2.0, MIT, public domain) with points from MediaPipe's landmark network; see docs/weights.md"
)
MANO_LICENCE = "non-commercial research (MANO, and the data sets trained on)"
HO3D_OFFSETS_S = (1.0, 2.0)
"""Ages of the past frames in HO3D: 30 and 60 pictures at 30 a second."""


def difference(network: H2ONet, bundle: WeightsBundle, hands: int = 24) -> float:
    """Largest distance, metres, between a vertex of the network and of the bundle run by ONNX Runtime.

    The median of several hands, since of noise, which is looked at, the network may say two things.
    """
    crops = np.random.default_rng(0).random((3 * hands, 3, 128, 128), np.float32)
    answers = []
    for predictor in (NetworkPredictor(network), create_engine(bundle, "onnxruntime", threads=1)):
        features = predictor.encode(crops)
        frames = [features.select(np.arange(i * hands, (i + 1) * hands)) for i in range(3)]
        answers.append(predictor.fuse(*frames).vertices)
    return float(np.median(np.linalg.norm(answers[0] - answers[1], axis=-1).max(1)))


def run_config(run: Path) -> RunConfig:
    """The configuration of a run, by its folder or a checkpoint in it."""
    return RunConfig.load((run if run.is_dir() else run.parent) / CONFIG)


def was_trained_upright(mixture: Mixture) -> bool:
    """Whether a run's crops were turned until the hand stood upright."""
    return mixture.augmentation == "upright" and mixture.crop.upright


def describe(run: Path, network: H2ONet, given: argparse.Namespace) -> Provenance:
    """What the bundle is to say of itself."""
    folder = run if run.is_dir() else run.parent
    config = run_config(run)
    data = list(config.data)
    is_open = np.array_equal(network.topology.faces, open_hand().faces)
    offsets = HO3D_OFFSETS_S if any("ho3d" in name for name in data) else Provenance.temporal_offsets_s
    open_name = "open_hand_compact" if network.config.width < 1 else "open_hand"
    return Provenance(
        name=given.name or (open_name if is_open else "_".join(folder.resolve().parts[-2:])),
        hand="open_hand" if is_open else "mano",
        licence=given.licence or (OPEN_LICENCE if is_open else MANO_LICENCE),
        training_data=given.training_data or (OPEN_DATA if is_open else ", ".join(data)),
        temporal_offsets_s=offsets,
        crop_scale=given.crop_scale or config.mixture.crop.crop_scale,
        upright=was_trained_upright(config.mixture),
        metrics=json.loads(given.metrics.read_text()) if given.metrics else {},
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run, or its checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--name", help="of the bundle")
    parser.add_argument("--licence", help="of the weights")
    parser.add_argument("--training-data", help="what they were trained on, in a sentence")
    parser.add_argument("--metrics", type=Path, help="JSON file of train.evaluate, to be kept in the bundle")
    parser.add_argument(
        "--crop-scale",
        type=float,
        metavar="X",
        help="side of the crops that the node makes over the longer side of the hand's box, if not as "
        "trained; train.evaluate --crop-scale tells which is best",
    )
    parser.add_argument(
        "--average-with",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="runs that RUN continued, or that continued it: the mean of all their weights is exported",
    )
    parser.add_argument("--precision", choices=("float16", "float32"), default="float16")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    arguments = parser.parse_args()
    try:
        network, description = load_network(arguments.run)
        network = average([network, *(load_network(other)[0] for other in arguments.average_with)])
        provenance = describe(arguments.run, network, arguments)
        bundle = export_bundle(
            network, arguments.out, provenance, arguments.precision, overwrite=arguments.overwrite
        )
        off = difference(network, bundle)
    except (TrainingError, BundleError, OSError, ValueError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in arguments.out.iterdir()) / 1e6
    print(
        f"{arguments.out}: step {description['step']}, {size:.1f} MB, worst vertex {1e3 * off:.4f} mm "
        "from the checkpoint's (median of hands)"
    )
    if off > TOLERANCE_M:
        print(f"export: more than {1e3 * TOLERANCE_M} mm: do not use this bundle", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
