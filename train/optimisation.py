"""How the weights of a network are moved: lengths, learning rates, weights of the losses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class Optimisation:
    """How the weights are moved.

    Attributes:
        steps: batches in all; or give `epochs`.
        epochs: passes through as many samples as the data sets hold.
        minutes: if given, the schedule also ends when this much training time has passed: on a machine whose
            speed is not known, the learning rate still comes down in time.
        learning_rate: at its highest. It belongs to the batch of the configuration, which is shared out to
            all processes: more of them change neither.
        schedule: "cosine": one up, one down; "milestones": `gamma` times less from each milestone on.
        milestones: epochs.
        gamma: factor on the learning rate at a milestone.
        warm_up: share of the run in which the learning rate rises.
        final: last learning rate over the highest, of the cosine.
        weight_decay: of AdamW, for matrices and filters only; 0 is Adam.
        clip: norm that gradients are clipped to.
        average: decay of the averaged weights, which are what is exported; shorter at the start. 0: the
            weights themselves.
        mesh_rate, orientation_rate: factors on the learning rate of the mesh decoder and of the orientation
            regressor, which have no normalisation and overshoot where the backbone does not yet.
        heatmap_weight: weight of `heatmap_loss`, a help that the paper does not have: without it the image
            points, and all that is read at them, take thousands of steps to leave the mean.
        stage: 1 (canonical shape) or 2 (also orientation), as in the paper.
        bfloat16: compute in bfloat16 where it is safe (mixed precision).
        loss_weights: factor on each named term of `train.losses`; 1 where not named.
        parts: modules that are trained, such as `decoder3d.offset_pred`; all else stays as it is, statistics
            of its normalisation included. Nothing: the whole network.
    """

    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "milestones"] = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    warm_up: float = 0.04
    final: float = 0.01
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    mesh_rate: float = 1.0
    orientation_rate: float = 1.0
    heatmap_weight: float = 0.0
    stage: int = 2
    bfloat16: bool = True
    loss_weights: dict[str, float] = field(default_factory=dict)
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("optimisation: give either steps or epochs")
        if self.schedule not in ("cosine", "milestones"):
            raise ValueError(f"optimisation: schedule must be cosine or milestones, got {self.schedule!r}")
        if self.milestones and self.epochs is None:
            raise ValueError("optimisation: milestones are epochs, so the length must be given in epochs")
        if self.stage not in (1, 2):
            raise ValueError(f"optimisation: stage must be 1 or 2, got {self.stage!r}")
        if not self.learning_rate > 0 or not self.clip > 0:
            raise ValueError("optimisation: learning_rate and clip must be positive")

    def total_steps(self, steps_per_epoch: float) -> int:
        """Batches in all."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, round(self.epochs * steps_per_epoch))

    def rate_at(self, progress: float) -> float:
        """The learning rate when `progress` (0..1) of the run is over."""
        if progress < self.warm_up:
            return self.learning_rate * (0.02 + 0.98 * progress / self.warm_up)
        if self.schedule == "milestones":
            assert self.epochs is not None or not self.milestones
            # Steps make up epochs only to rounding.
            passed = sum(progress >= m / (self.epochs or 1) - 1e-9 for m in self.milestones)
            return self.learning_rate * self.gamma**passed
        fall = 0.5 * (1 + math.cos(math.pi * (progress - self.warm_up) / (1 - self.warm_up)))
        return self.learning_rate * (self.final + (1 - self.final) * fall)

    def part_modules(self, network: nn.Module) -> list[nn.Module]:
        """The modules of `parts`.

        Raises:
            ValueError: the network has no such module.
        """
        try:
            return [network.get_submodule(name) for name in self.parts]
        except AttributeError as error:
            raise ValueError(f"optimisation: parts: {error}") from error

    def groups(self, network: nn.Module) -> list[dict]:
        """The trained parameters by weight decay and factor on the learning rate, for the optimiser."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            decay = self.weight_decay if parameter.ndim > 1 else 0.0
            factor = 1.0
            if name.startswith("decoder3d."):
                factor = self.orientation_rate if ".rot_reg." in name else self.mesh_rate
            groups.setdefault((decay, factor), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (decay, factor), parameters in groups.items()
        ]
