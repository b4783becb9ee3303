"""The course of one stage: steps, log, checkpoints and validation, until the end or until asked to stop."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from h2onet_ros.model import H2ONet
from train.batches import StepBatches, load_steps
from train.checkpoint import CHECKPOINT, CONFIG, TrainingError
from train.config import RunConfig, changed
from train.log import RunLog
from train.sources import RunData, topology_of
from train.start import start_backbone, start_from
from train.trainer import Trainer
from train.validation import Validation


class Stopped(Exception):
    """The run was asked to stop; its checkpoint is written."""


class Interrupts:
    """Turns the first SIGINT or SIGTERM into a flag, so that no step is cut in two; the second one ends."""

    def __init__(self) -> None:
        self.asked = False
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, self._ask)

    def _ask(self, _kind: int, _frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        tqdm.write("stopping after this step; once more to stop without a checkpoint")


def run_stage(
    config: RunConfig,
    data: RunData,
    out: Path,
    fabric: Fabric,
    interrupts: Interrupts,
    start: Path | None = None,
    densestack: Path | None = None,
) -> None:
    """Train a stage to its end, or go on with one that was stopped.

    Args:
        config: of the stage.
        data: of the stage.
        out: folder of the run.
        fabric: launched.
        interrupts: asked after every step.
        start: run or bundle whose weights a new run begins with.
        densestack: pre-trained backbone that a new run begins with.

    Raises:
        Stopped: asked to; the checkpoint is written.
        TrainingError: losses that are not finite, no room for checkpoints, wrong weights.
    """
    torch.set_num_threads(config.threads)
    fabric.seed_everything(config.seed, verbose=False)
    network = H2ONet(config.network, topology_of(data.hand))
    samples = sum(len(ingredient.source) for ingredient in data.ingredients.values())
    steps_per_epoch = samples / config.mixture.samples_per_step(config.network.frames)
    optimisation = config.optimisation
    steps = optimisation.total_steps(steps_per_epoch)
    main = fabric.is_global_zero
    if not (out / CHECKPOINT).exists():
        if start is not None:
            _say(main, start_from(network, start, same=bool(optimisation.parts)))
        elif optimisation.parts:
            raise TrainingError(
                f"only {', '.join(optimisation.parts)} are trained: give the weights of the rest with --from"
            )
        if densestack is not None:
            _say(main, start_backbone(network, densestack))
    trainer = Trainer(network, optimisation, steps, out, fabric)
    if trainer.resume():
        _say(main, f"continuing at step {trainer.step} of {steps}")
        if main and (out / CONFIG).exists():
            for line in changed(RunConfig.load(out / CONFIG), config):
                _say(main, f"changed since the run was started: {line}")
    if main:
        config.save(out / CONFIG)
    mixture = config.mixture
    part = (fabric.global_rank, fabric.world_size)
    regressor = network.topology.joint_regressor
    sources = data.ingredients
    batches = StepBatches(mixture, sources, regressor, config.seed, config.network.frames, part)
    _say(
        main,
        f"{samples} samples ({', '.join(f'{name} {len(i.source)}' for name, i in sources.items())}), "
        f"{steps} steps, {steps / steps_per_epoch:.3g} epochs; batch {batches.describe()}; learning rate "
        f"{optimisation.learning_rate:g}, {fabric.world_size} process{'es' * (fabric.world_size > 1)} on "
        f"{fabric.device.type}, {'bfloat16 mixed' if optimisation.bfloat16 else 'float32'}",
    )
    validation = Validation(
        data.held_out,
        config.validation_samples,
        config.network.frames,
        mixture.augmentation == "upright",
        mixture.crop.crop_scale,
    )
    log = RunLog(out, trainer.step) if main else None
    try:
        _steps(config, trainer, batches, validation, log, interrupts)
    finally:
        if log:
            log.close()


def _steps(
    config: RunConfig,
    trainer: Trainer,
    batches: StepBatches,
    validation: Validation,
    log: RunLog | None,
    interrupts: Interrupts,
) -> None:
    recent: list[dict[str, float]] = []
    stopped = False
    with tqdm(
        total=trainer.steps, initial=trainer.step, unit="step", disable=log is None, smoothing=0.05
    ) as bar:
        for batch in load_steps(batches, trainer.step, trainer.steps, config.workers):
            if trainer.finished:
                break
            recent.append(trainer.train_step(batch))
            bar.update()
            stopped = trainer.agree(interrupts.asked)
            if trainer.step % config.log_every == 0 or stopped:
                mean = _mean(recent, trainer.fabric)
                recent.clear()
                if log:
                    log.losses(trainer.step, trainer.elapsed, trainer.learning_rate(), mean)
                bar.set_postfix_str(f"loss {mean['total']:.4f}, {trainer.progress:.0%}")
            if stopped:
                break
            if trainer.step % config.save_every == 0:
                trainer.save()
            if trainer.step % config.validate_every == 0 and trainer.step < trainer.steps:
                _validate(config, trainer, validation, log)
    if stopped and not trainer.finished:
        trainer.save()
        raise Stopped
    _validate(config, trainer, validation, log)
    trainer.save()


def _validate(config: RunConfig, trainer: Trainer, validation: Validation, log: RunLog | None) -> None:
    if log:
        checked = validation(trainer.averaged_network())
        if checked.figures:
            log.validation(trainer.step, trainer.elapsed, checked.figures, checked.pictures)
            error = checked.error(config.best)
            best = error is not None and trainer.save_if_best(error)
            tqdm.write(
                f"step {trainer.step}{', best so far' if best else ''}: "
                + ", ".join(f"{k} {v}" for k, v in checked.figures.items())
            )
    trainer.fabric.barrier()


def _say(main: bool, text: str) -> None:
    if main:
        tqdm.write(text)


def _mean(entries: list[dict[str, float]], fabric: Fabric) -> dict[str, float]:
    """Mean of each term over the steps that have it, and over all processes."""
    names = sorted({name for entry in entries for name in entry})
    means = torch.tensor([np.mean([e[name] for e in entries if name in e]) for name in names])
    if fabric.world_size > 1:
        gathered = fabric.all_reduce(means.to(fabric.device), reduce_op="mean")
        assert isinstance(gathered, torch.Tensor)
        means = gathered
    return {name: round(value, 6) for name, value in zip(names, means.tolist())}
