"""Weights bundles with 8 bit networks: made, measured, and refused where they cost too much."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2onet_ros.crop_samples import CropError, CropSamples, load_crops
from h2onet_ros.engines import Engine, WeightsBundle, create_engine
from h2onet_ros.engines.bundle import int8_files, with_int8
from h2onet_ros.engines.onnxruntime import OnnxRuntimeEngine
from h2onet_ros.hand import metrics

MOST_LOSS_MM = 0.3
FEWEST = 20
"""Crops without which neither ranges nor losses mean anything."""

BATCH = 16


class QuantisationError(ValueError):
    """An 8 bit network is too coarse to be offered. The message tells by how much."""


@dataclass(frozen=True)
class Loss:
    """What 8 bits cost.

    Attributes:
        mm: PA-MPJPE, millimetres: of the joints' error where the truth is known, else between the answers.
        samples: crops it was measured on.
        is_bound: the truth was not known, so that `mm` is what the loss cannot exceed.
    """

    mm: float
    samples: int
    is_bound: bool

    def __str__(self) -> str:
        what = "at most " if self.is_bound else ""
        return f"{what}{self.mm:.2f} mm PA-MPJPE on {self.samples} crops"


def quantise_bundle(
    bundle: WeightsBundle,
    output: str | Path,
    targets: Sequence[str],
    calibration: str | Path,
    validation: str | Path,
    extent: float | None = None,
    most: int = 300,
    overwrite: bool = False,
) -> tuple[WeightsBundle, dict[str, Loss]]:
    """A copy of the bundle with 8 bit encoding networks; nothing is written where one of them is too coarse.

    Args:
        targets: engines to make networks for.
        calibration, validation: see `load_crops`. Where both are the same, every other crop serves each.
        extent: see `load_crops`.
        most: crops of each.

    Raises:
        QuantisationError: a network costs more than `MOST_LOSS_MM`.
        CropError: there are not enough crops.
        EngineError: a package is missing.
        BundleError: the output cannot be written.
    """
    from h2onet_ros.engines.quantise import quantised

    exact = create_engine(bundle, "onnxruntime")
    ranges, held_out = _samples(bundle, exact, Path(calibration), Path(validation), extent, most)
    files: dict[str, bytes] = {}
    losses: dict[str, Loss] = {}
    for target in dict.fromkeys(targets):
        made = quantised(bundle, target, ranges.crops)
        with tempfile.TemporaryDirectory(prefix="h2onet_") as folder:
            candidate = with_int8(bundle, Path(folder) / "bundle", made, {target: 0.0})
            losses[target] = measure(_runnable(candidate, target), exact, held_out)
        files |= made
    coarse = {target: loss for target, loss in losses.items() if not loss.mm <= MOST_LOSS_MM}
    if coarse:
        raise QuantisationError(
            f"8 bits cost more than {MOST_LOSS_MM} mm: "
            + "; ".join(f"{target} {loss}" for target, loss in coarse.items())
            + ". Nothing was written; calibrate on more crops like those that will be seen, or keep bfloat16"
        )
    loss_mm = {target: round(loss.mm, 4) for target, loss in losses.items()}
    return with_int8(bundle, output, files, loss_mm, overwrite), losses


def measure(engine: Engine, exact: Engine, samples: CropSamples) -> Loss:
    """What an engine loses against an exact one, each crop standing for all three moments."""
    ours, theirs = (_joints(each, samples.crops) for each in (engine, exact))
    if samples.joints is None:
        return Loss(_error(ours, theirs), len(samples), True)
    return Loss(_error(ours, samples.joints) - _error(theirs, samples.joints), len(samples), False)


def _error(predicted: np.ndarray, wanted: np.ndarray) -> float:
    return 1e3 * float(np.mean(metrics.pa_mean_distance(predicted, wanted)))


def _joints(engine: Engine, crops: np.ndarray) -> np.ndarray:
    parts = []
    for start in range(0, len(crops), BATCH):
        features = engine.encode(crops[start : start + BATCH])
        parts.append(engine.fuse(features, features, features).joints)
    return np.concatenate(parts).astype(np.float64)


def _samples(
    bundle: WeightsBundle,
    engine: Engine,
    calibration: Path,
    validation: Path,
    extent: float | None,
    most: int,
) -> tuple[CropSamples, CropSamples]:
    if calibration == validation:
        both = load_crops(calibration, bundle, 2 * most, extent, engine)
        ranges, held_out = both.every(2), both.every(2, 1)
    else:
        ranges, held_out = (
            load_crops(path, bundle, most, extent, engine) for path in (calibration, validation)
        )
    for path, samples in ((calibration, ranges), (validation, held_out)):
        if len(samples) < FEWEST:
            raise CropError(f"{path} gives {len(samples)} crops, at least {FEWEST} are needed")
    return ranges, held_out


def _runnable(candidate: WeightsBundle, target: str) -> Engine:
    """TensorRT's network is measured with ONNX Runtime, which computes the same and needs no GPU."""
    if target != "tensorrt":
        return create_engine(candidate, target, precision="int8", cache_folder=None)
    (name,) = int8_files("tensorrt")
    return OnnxRuntimeEngine(candidate, precision="int8", encode=candidate.folder / name)
