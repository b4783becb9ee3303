"""One training run, step by step, on one process or many; its state is a checkpoint that survives a kill."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from h2onet_ros.model import H2ONet, TrainingOutput
from train.batches import Batch
from train.checkpoint import (
    BEST,
    CHECKPOINT,
    TOPOLOGY,
    TrainingError,
    part,
    read_checkpoint,
    read_description,
    write_checkpoint,
)
from train.losses import Targets, h2onet_losses, heatmap_loss
from train.optimisation import Optimisation
from train.parallel import make_fabric

PATIENCE = 10
"""Steps in a row whose gradients may be infinite: they are left out."""


class Trainer:
    """Trains a network step by step and keeps its state in a folder.

    Args:
        network: to be trained, in place.
        optimisation: how.
        steps: length of the run.
        folder: of the run; created. A checkpoint in it is not read unless `resume` is called.
        fabric: where to compute, in what precision, with which other processes; without it on the CPU.
    """

    def __init__(
        self,
        network: H2ONet,
        optimisation: Optimisation,
        steps: int,
        folder: Path,
        fabric: Fabric | None = None,
    ) -> None:
        self.fabric = fabric or make_fabric("cpu", optimisation.bfloat16)
        self.network = network
        self.optimisation = optimisation
        self.steps = steps
        self.folder = folder
        self.step = 0
        self.elapsed = 0.0
        self.best: float | None = None
        self._names: dict[Tensor, str] = {p: name for name, p in network.named_parameters()}
        self._maps: list[Tensor] = []
        network.backbone.reduce.register_forward_hook(lambda _module, _inputs, maps: self._maps.append(maps))
        network.to(self.fabric.device)
        self._parts = optimisation.part_modules(network)
        network.requires_grad_(not self._parts)
        for module in self._parts:
            module.requires_grad_()
        self._optimiser = torch.optim.AdamW(
            optimisation.groups(network), lr=optimisation.learning_rate, fused=True
        )
        self._parallel, self._stepper = self.fabric.setup(network, self._optimiser)
        state = network.state_dict().items()
        self.average = {name: value.detach().clone() for name, value in state}
        self._faces = torch.as_tensor(network.topology.faces, dtype=torch.int64, device=self.fabric.device)
        self._broken_steps = 0
        self._last_step: float | None = None
        if self.fabric.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            network.topology.save(folder / TOPOLOGY)

    @property
    def progress(self) -> float:
        """How much of the schedule is over, 0 to 1; by steps, or by time where that is further."""
        by_steps = self.step / self.steps
        minutes = self.optimisation.minutes
        return min(1.0, max(by_steps, self.elapsed / (60 * minutes) if minutes else 0.0))

    @property
    def finished(self) -> bool:
        return self.progress >= 1

    def learning_rate(self) -> float:
        """Of the next step."""
        return self.optimisation.rate_at(self.progress)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step; returns the weighted loss terms and their sum, of this process's share of the batch.

        Raises:
            TrainingError: the losses are not finite (nothing was changed by them), or the gradients were not,
                many times in a row.
        """
        began = time.perf_counter()
        o = self.optimisation
        rate = self.learning_rate()
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        self._parallel.train(not self._parts)
        for module in self._parts:
            module.train()
        self._maps.clear()
        batch = batch.to(self.fabric.device)
        output = self._parallel(batch.images.float() / 255)
        if len(batch.images) == 1:
            output = _distinct_frames(output)
        terms = h2onet_losses(output, self._targets(batch, output), self._faces, 1 if o.stage == 1 else 2)
        del terms["total"]
        if o.heatmap_weight:
            uv, weight = batch.uv.flatten(0, 1), batch.uv_weight.flatten()
            terms["heatmaps"] = o.heatmap_weight * heatmap_loss(self._maps[0], uv, weight)
        terms = {name: value * o.loss_weights.get(name, 1.0) for name, value in terms.items()}
        total = torch.stack(list(terms.values())).sum()
        self._stop_unless_finite(batch, output, terms, total)
        self._optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        norm = self.fabric.clip_gradients(
            self._parallel, self._stepper, max_norm=o.clip, error_if_nonfinite=False
        )
        assert norm is not None
        if torch.isfinite(norm):
            self._stepper.step()
            self._update_average()
            self._broken_steps = 0
        else:
            self._broken_steps += 1
            if self._broken_steps >= PATIENCE:
                raise TrainingError(
                    f"the gradients were not finite {PATIENCE} times in a row at step {self.step}: start "
                    "again from the last checkpoint with a lower learning rate or a longer warm-up"
                )
        self.step += 1
        now = time.perf_counter()
        # Waiting for data and validating between steps count as well: the run is to end in time.
        self.elapsed += now - (began if self._last_step is None else self._last_step)
        self._last_step = now
        if o.minutes and self.fabric.world_size > 1:
            self.elapsed = self.fabric.broadcast(self.elapsed)
        return {**{name: value.item() for name, value in terms.items()}, "total": total.item()}

    def agree(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes; all must ask."""
        if self.fabric.world_size == 1:
            return flag
        answer = self.fabric.all_reduce(torch.tensor(float(flag), device=self.fabric.device), reduce_op="sum")
        assert isinstance(answer, Tensor)
        return bool(answer > 0)

    def _stop_unless_finite(
        self, batch: Batch, output: TrainingOutput, terms: dict[str, Tensor], total: Tensor
    ) -> None:
        broken = not bool(torch.isfinite(total))
        if not self.agree(broken):
            return
        advice = (
            "The weights were not changed and the last checkpoint stands: repeat the command to go on from "
            "it. If it happens again, lower optimisation.learning_rate or begin with better weights (--from)"
        )
        if not broken:
            raise TrainingError(
                f"another process had a loss that is not finite at step {self.step}. {advice}"
            )
        names = [name for name, value in terms.items() if not torch.isfinite(value)]
        answers = (output.uv, output.vertices, output.vertices_oriented)
        fine = torch.stack([torch.isfinite(x).flatten(2).all(2).all(0) for x in answers]).all(0)
        guilty = [name for name, good in zip(batch.names, fine.tolist()) if not good]
        where = ", ".join(guilty or batch.names)
        raise TrainingError(
            f"the loss ({', '.join(names)}) is not finite at step {self.step}, for {where}. {advice}"
        )

    def _targets(self, batch: Batch, output: TrainingOutput) -> Targets:
        frames = output.uv.shape[0]

        def repeat(x: Tensor) -> Tensor:
            return x.expand(frames, *x.shape[1:])

        vertices, joints, rotation = batch.vertices, batch.joints, batch.rotation
        wrist, turned = joints[..., :1, :], rotation.transpose(-1, -2)
        return Targets(
            uv=repeat(batch.uv),
            vertices=repeat(vertices),
            joints=repeat(joints),
            vertices_oriented=repeat((vertices - wrist) @ turned + wrist),
            joints_oriented=repeat((joints - wrist) @ turned + wrist),
            rotation=repeat(rotation),
            occlusion=repeat(batch.occlusion),
            mesh_weight=repeat(batch.mesh_weight),
            uv_weight=repeat(batch.uv_weight),
            occlusion_weight=repeat(batch.occlusion_weight),
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.optimisation.average, (1 + self.step) / (10 + self.step))
        now = self.network.state_dict()
        floating = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[n] for n in floating], [now[n] for n in floating], 1 - decay)
        for name in now.keys() - set(floating):
            self.average[name].copy_(now[name])

    def averaged_network(self) -> H2ONet:
        """A copy of the network with the averaged weights, for evaluation and export."""
        network = H2ONet(self.network.config, self.network.topology)
        network.load_state_dict(self.average)
        return network.to(self.fabric.device).eval()

    def save(self) -> None:
        """Write the checkpoint; does nothing in other processes than the first.

        Raises:
            TrainingError: it cannot be written; the old one stays.
        """
        if not self.fabric.is_global_zero:
            return
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for parameter, state in self._optimiser.state.items():
            tensors |= {f"optimiser.{key}.{self._names[parameter]}": value for key, value in state.items()}
        write_checkpoint(self.folder / CHECKPOINT, tensors, self._description())

    def save_if_best(self, error: float) -> bool:
        """Keep the averaged weights if no validation had a smaller error.

        Raises:
            TrainingError: they cannot be written; the old ones stay.
        """
        if self.best is not None and not error < self.best:
            return False
        self.best = error
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        write_checkpoint(self.folder / BEST, tensors, self._description())
        return True

    def _description(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "finished": self.finished,
            "best": self.best,
            "network": self.network.config.to_dict(),
            "optimisation": asdict(self.optimisation),
        }

    def resume(self) -> bool:
        """Continue from the folder's checkpoint, if there is one.

        Raises:
            TrainingError: it belongs to another network, or is damaged.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return False
        description, tensors = read_checkpoint(path)
        if description["network"] != self.network.config.to_dict():
            raise TrainingError(
                f"{path} is of another network ({description['network']}); choose another --out or the old "
                "configuration"
            )
        try:
            self.network.load_state_dict(part(tensors, "network."))
        except RuntimeError as error:
            raise TrainingError(
                f"{path} is of another hand: {str(error).splitlines()[-1].strip()}"
            ) from error
        device = self.fabric.device
        self.average = {name: value.to(device) for name, value in part(tensors, "average.").items()}
        for parameter, name in self._names.items():
            state = {}
            for key in ("step", "exp_avg", "exp_avg_sq"):
                value = tensors.get(f"optimiser.{key}.{name}")
                if value is not None:
                    # In the parameter's own layout (channels last): the fused step walks both side by side.
                    like = torch.empty_like(parameter, requires_grad=False)
                    state[key] = value.to(device) if key == "step" else like.copy_(value)
            if state:
                self._optimiser.state[parameter] = state
        self.step, self.elapsed = int(description["step"]), float(description["elapsed"])
        if (self.folder / BEST).exists():
            self.best = read_description(self.folder / BEST).get("best")
        return True


def _distinct_frames(output: TrainingOutput) -> TrainingOutput:
    """Of a single frame that stood for three: now, which has the fusion's offsets, and one past frame."""
    per_frame = {
        name: value[:2]
        for name, value in output._asdict().items()
        if name not in ("rotation_offset", "rotation_offset_6d")
    }
    return output._replace(**per_frame)
