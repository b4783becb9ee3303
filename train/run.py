"""Train a network on synthetic hands and real crops, by one command that can be killed and repeated.

    python -m train.run --config config/train/open_hand_compact.yaml \\
        --synthetic data/synthetic --test data/synthetic_test --real real_hands.zip --out runs/compact

Writes to the folder of the run: `checkpoint.safetensors` (all that is needed to go on, or to export),
`topology.npz`, `log.jsonl`, `curve.png` and `config.yaml`. The same command continues a run that was stopped.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
import yaml
from tqdm import tqdm

from h2onet_ros.hand.model import HandModel, open_hand
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig
from train.curve import draw_curve
from train.data import Mixture, RealSource, StepBatches, SyntheticSource, load_steps
from train.fit import Fits, fit
from train.real_crops import RealCrops, RealCropsError
from train.synthetic.shards import ShardError
from train.trainer import Optimisation, Trainer, TrainingError, load_network
from train.validation import Validation


@dataclass(frozen=True)
class RunConfig:
    """A training configuration; the YAML files in `config/train/` hold these names.

    Attributes:
        network: variant and width.
        mixture: batches and augmentation.
        optimisation: steps, learning rate, losses.
        seed: of the first weights and of all batches.
        real_mesh_weight: weight of the 3D terms where the mesh was fitted to landmarks.
        log_every, save_every, validate_every: steps between them.
        validation_samples: of each held-out set.
        workers, threads: loading processes, threads of the computation.
    """

    optimisation: Optimisation
    network: H2ONetConfig = field(default_factory=H2ONetConfig)
    mixture: Mixture = field(default_factory=Mixture)
    seed: int = 1
    real_mesh_weight: float = 0.5
    log_every: int = 20
    save_every: int = 200
    validate_every: int = 1000
    validation_samples: int = 256
    workers: int = 1
    threads: int = 2

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read a YAML file.

        Raises:
            ValueError: an unknown name or a wrong value, named with its place.
            OSError: the file cannot be read.
        """
        try:
            content = yaml.safe_load(Path(path).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
        return _build(cls, content, str(path))


def _build(kind: Any, content: Any, where: str) -> Any:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected names and values, got {content!r}")
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    values = {}
    for name, value in content.items():
        if is_dataclass(hints[name]):
            value = _build(hints[name], value, f"{where}: {name}")
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def load_fits(crops: RealCrops, hand: HandModel, path: Path) -> Fits:
    """The fits in `path`, made now (minutes) if they are not there or not of these crops."""
    if path.exists():
        fits = Fits.load(path)
        if set(map(str, crops.names)) <= set(map(str, fits.names)):
            return fits
    fits = fit(crops, hand, progress=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.save(path)
    return fits


def run(
    config: RunConfig,
    out: Path,
    synthetic: SyntheticSource | None,
    real: RealSource | None,
    validation: Validation,
    hand: HandModel,
    device: str = "cpu",
    progress: bool = True,
    start: Path | None = None,
) -> Trainer:
    """Train to the end of the schedule, or until interrupted; the checkpoint is written in both cases.

    `start` is another run whose weights a new run begins with.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = H2ONet(config.network, HandTopology.from_hand(hand))
    if start is not None:
        other, _ = load_network(start)
        if other.config != config.network:
            raise TrainingError(f"{start} is of another network ({other.config}) than the configuration's")
        network.load_state_dict(other.state_dict())
    trainer = Trainer(network, config.optimisation, out, device)
    if trainer.resume():
        tqdm.write(f"continuing at step {trainer.step}")
    batches = StepBatches(config.mixture, synthetic, real, config.seed, config.network.frames)
    stop = config.optimisation.steps
    recent: list[dict[str, float]] = []
    with tqdm(total=stop, initial=trainer.step, unit="step", disable=not progress, smoothing=0.05) as bar:
        loader = load_steps(batches, trainer.step, stop, config.workers)
        try:
            for batch in loader:
                if trainer.finished:
                    break
                recent.append(trainer.train_step(batch))
                bar.update()
                if trainer.step % config.log_every == 0:
                    mean = _mean(recent)
                    trainer.log({"rate": trainer.learning_rate(), **mean})
                    bar.set_postfix_str(f"loss {mean['total']:.4f}, {trainer.progress:.0%}")
                    recent.clear()
                if trainer.step % config.save_every == 0:
                    trainer.save()
                if trainer.step % config.validate_every == 0:
                    _validate(trainer, validation, out)
        finally:
            trainer.save()
    _validate(trainer, validation, out)
    return trainer


def _validate(trainer: Trainer, validation: Validation, out: Path) -> None:
    found = validation(trainer.averaged_network())
    if found:
        trainer.log({"validation": found})
        tqdm.write(f"step {trainer.step}: " + ", ".join(f"{k} {v}" for k, v in found.items()))
    draw_curve(out)


def _mean(entries: list[dict[str, float]]) -> dict[str, float]:
    names = {name for entry in entries for name in entry}
    return {name: round(float(np.mean([e[name] for e in entries if name in e])), 6) for name in sorted(names)}


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file, see config/train/")
    parser.add_argument("--synthetic", type=Path, help="folder made by train.synthetic.render")
    parser.add_argument("--test", type=Path, help="another such folder, for validation")
    parser.add_argument("--real", type=Path, help="folder or zip file of real crops")
    parser.add_argument("--fits", type=Path, help="file of train.fit (default: in --out, made if missing)")
    parser.add_argument("--from", dest="start", type=Path, help="run whose weights a new run begins with")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        config = RunConfig.load(arguments.config)
        arguments.out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(arguments.config, arguments.out / "config.yaml")
        hand = open_hand()
        synthetic = SyntheticSource(arguments.synthetic) if arguments.synthetic else None
        test = SyntheticSource(arguments.test) if arguments.test else None
        real = held_out = None
        if arguments.real:
            crops = RealCrops.load(arguments.real)
            fits = load_fits(crops, hand, arguments.fits or arguments.out / "fits.npz")
            real, held_out = (RealSource(part, fits, hand, config.real_mesh_weight) for part in crops.split())
        validation = Validation(test, held_out, config.validation_samples)
        run(
            config,
            arguments.out,
            synthetic,
            real,
            validation,
            hand,
            arguments.device,
            start=arguments.start,
        )
    except KeyboardInterrupt:
        print("\nstopped; the checkpoint is written, the same command continues", file=sys.stderr)
        return 130
    except (ShardError, RealCropsError, TrainingError, OSError, ValueError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
