"""`h2onet weights`: look into weights bundles, store them anew, import published checkpoints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from h2onet_ros.engines.base import EngineError
from h2onet_ros.engines.bundle import WeightsBundle, packaged_bundles

if TYPE_CHECKING:
    from h2onet_ros.model.export import Provenance

REFERENCE_LICENCE = "as the published H2ONet weights and MANO: non-commercial research"


class UsageError(ValueError):
    """What was asked cannot be done; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the weights commands; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError, EngineError) as error:
        print(f"h2onet weights {options.command}: {error}", file=sys.stderr)
        return 1
    return 0


def listing(options: argparse.Namespace) -> None:
    """Print the bundles that come with the package."""
    bundles = {name: WeightsBundle.load(folder) for name, folder in packaged_bundles().items()}
    if options.json:
        print(json.dumps({name: str(bundle.folder) for name, bundle in bundles.items()}, indent=2))
        return
    print(f"{'':<10}{'width':>6}{'MB':>7}   PA-MPJPE of rendered hands, image points of photographs")
    for name, bundle in bundles.items():
        print(f"{name:<10}{bundle.info.width:>6g}{_size(bundle):>7}   {_errors(bundle.info.metrics)}")


def _errors(metrics: dict[str, float]) -> str:
    try:
        return f"{metrics['synthetic_pa_mpjpe_mm']:.1f} mm, {metrics['real_uv_median']:.1%}"
    except KeyError:
        return "not measured"


def info(options: argparse.Namespace) -> None:
    """Print what a bundle holds."""
    bundle = WeightsBundle.load(options.folder)
    hierarchy = bundle.topology.hierarchy
    facts = asdict(bundle.info) | {
        "temporal_offsets_s": list(bundle.info.temporal_offsets_s),
        "vertices": hierarchy.vertex_counts[0],
        "faces": len(bundle.topology.faces),
        "mesh_levels": list(hierarchy.vertex_counts),
        "encode_bytes": bundle.encode_path.stat().st_size,
        "fuse_bytes": bundle.fuse_path.stat().st_size,
        "sha256": bundle.digest,
    }
    if options.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    facts["metrics"] = ", ".join(f"{k} {v:g}" for k, v in bundle.info.metrics.items()) or "not measured"
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")


def export(options: argparse.Namespace) -> None:
    """Store a bundle anew, in another precision."""
    _require_torch()
    from h2onet_ros.model.export import Provenance, export_bundle
    from h2onet_ros.model.weights import load_network

    bundle = WeightsBundle.load(options.folder)
    kept = {field.name: getattr(bundle.info, field.name) for field in fields(Provenance)}
    made = export_bundle(
        load_network(bundle), options.output, Provenance(**kept), options.precision, options.overwrite
    )
    print(f"wrote {made.folder}: {_size(made)} MB, {options.precision}")


def quantise(options: argparse.Namespace) -> None:
    """Add 8 bit networks to a copy of a bundle, if they are good enough."""
    from h2onet_ros.quantisation import quantise_bundle

    made, losses = quantise_bundle(
        WeightsBundle.load(options.folder),
        options.output,
        options.engine or ["openvino"],
        calibration=options.calibration,
        validation=options.validation or options.calibration,
        extent=options.extent,
        most=options.crops,
        overwrite=options.overwrite,
    )
    for engine, loss in losses.items():
        print(f"{engine}: {loss}")
    print(f"wrote {made.folder}: 8 bit networks for {', '.join(made.info.int8_loss_mm)}; use precision int8")


def import_reference(options: argparse.Namespace) -> None:
    """A published checkpoint to a bundle."""
    _require_torch()
    from h2onet_ros.model import reference
    from h2onet_ros.model.export import export_bundle

    network = reference.import_reference(options.checkpoint, options.template, _parts(options))
    made = export_bundle(network, options.output, _provenance(options), options.precision, options.overwrite)
    print(f"wrote {made.folder}: {made.info.variant}, {_size(made)} MB, {options.precision}")
    if not made.multi_frame and options.mano is None and options.parts is None:
        print("no parts were given: the whole hand counts as palm in colours")


def _provenance(options: argparse.Namespace) -> Provenance:
    from h2onet_ros.model.export import Provenance

    return Provenance(
        name=options.name or Path(options.checkpoint).stem,
        hand="mano",
        licence=REFERENCE_LICENCE,
        training_data=options.training_data,
        temporal_offsets_s=tuple(options.temporal_offsets),
    )


def _parts(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray] | None:
    """Part of each vertex and face, from the user's MANO file or an npz file."""
    if options.mano is not None:
        from h2onet_ros.hand.mano import load_mano

        hand = load_mano(options.mano).hand
        return hand.vertex_part, hand.face_part
    if options.parts is not None:
        with np.load(options.parts, allow_pickle=False) as arrays:
            missing = {"vertex_part", "face_part"} - set(arrays.files)
            if missing:
                raise UsageError(f"{options.parts} lacks {', '.join(sorted(missing))}")
            return arrays["vertex_part"], arrays["face_part"]
    return None


def _size(bundle: WeightsBundle) -> str:
    return f"{(bundle.encode_path.stat().st_size + bundle.fuse_path.stat().st_size) / 1e6:.1f}"


def _require_torch() -> None:
    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise UsageError(f"this needs {' and '.join(missing)}; install h2onet_ros with its extra 'train'")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("h2onet weights", description="Weights bundles of the hand network.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    known = commands.add_parser("list", help="the bundles that come along, for --weights and the like")
    known.add_argument("--json", action="store_true", help="names and folders, machine-readable")
    known.set_defaults(run=listing)

    show = commands.add_parser("info", help="what a bundle holds")
    show.add_argument(
        "folder", nargs="?", help="bundle, or the name of one that comes along; its default if left out"
    )
    show.add_argument("--json", action="store_true", help="machine-readable")
    show.set_defaults(run=info)

    store = commands.add_parser("export", help="write a bundle's ONNX networks anew, in another precision")
    store.add_argument("folder", help="bundle to read")
    _add_output(store)
    store.set_defaults(run=export)

    whole = commands.add_parser(
        "quantise",
        help="add encoding networks in 8 bit integers, if they are good enough",
        description="Quantises the encoding network after training, calibrated on crops of hands, and "
        "measures what that costs on others. Nothing is written where it costs more than 0.3 mm PA-MPJPE. "
        "Crops come from a folder or zip file of square pictures of right hands, or from a recording or "
        "video, whose hands are found first. With a labels.npz (image, joints) beside the pictures the loss "
        "is that of the joints' error; else it is the distance between the two answers, which the loss "
        "cannot exceed.",
    )
    whole.add_argument("folder", help="bundle to read")
    whole.add_argument("--calibration", required=True, metavar="PATH", help="crops to choose the ranges by")
    whole.add_argument(
        "--validation", metavar="PATH", help="crops to measure on; every other one of those above if left out"
    )
    whole.add_argument(
        "--engine",
        action="append",
        choices=("openvino", "onnxruntime", "tensorrt"),
        help="to make a network for; may be repeated (default: openvino)",
    )
    whole.add_argument(
        "--extent", type=float, help="side of the pictures over the longer side of the hand (default: 1.5)"
    )
    whole.add_argument(
        "--crops", type=int, default=300, help="at most so many of each (default: %(default)s)"
    )
    whole.add_argument("--output", required=True, help="folder of the new bundle")
    whole.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    whole.set_defaults(run=quantise)

    take = commands.add_parser("import-reference", help="a published H2ONet checkpoint to a bundle")
    take.add_argument("checkpoint", help=".pth file, single- or multi-frame")
    take.add_argument("--template", required=True, help="the published template folder, or its transform.pkl")
    parts = take.add_mutually_exclusive_group()
    parts.add_argument(
        "--mano", help="your MANO_RIGHT.pkl, to know each vertex's finger (multi-frame needs it)"
    )
    parts.add_argument(
        "--parts", help="or an npz file with vertex_part (V,) and face_part (F,), 0 thumb .. 5 palm"
    )
    take.add_argument("--name", help="of the weights; the file's name if left out")
    take.add_argument(
        "--training-data", default="unknown", help="what they were trained on, to be told by info"
    )
    take.add_argument(
        "--temporal-offsets",
        nargs=2,
        type=float,
        default=(0.17, 0.33),
        metavar=("SHORT", "LONG"),
        help="age of the past frames in seconds: 0.17 0.33 for DexYCB (the default), 1 2 for HO3D",
    )
    _add_output(take)
    take.set_defaults(run=import_reference)
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, help="folder of the new bundle")
    parser.add_argument(
        "--precision", choices=("float16", "float32"), default="float16", help="of the stored weights"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")


if __name__ == "__main__":
    sys.exit(main())
