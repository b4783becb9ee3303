"""One training run: the steps, the learning rate, averaged weights, and a checkpoint that survives a kill."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, TrainingOutput
from train.data import Batch
from train.losses import Targets, h2onet_losses

CHECKPOINT = "checkpoint.safetensors"
TOPOLOGY = "topology.npz"
LOG = "log.jsonl"


class TrainingError(RuntimeError):
    """A run cannot go on: wrong checkpoint, or losses that are not finite."""


@dataclass(frozen=True)
class Optimisation:
    """How the weights are moved.

    Attributes:
        steps: batches in all.
        minutes: if given, the schedule also ends when this much training time has passed: on a machine whose
            speed is not known, the learning rate still comes down in time.
        learning_rate: at its highest.
        warm_up: share of the run in which it rises.
        final: last learning rate over the highest.
        weight_decay: of AdamW, for matrices and filters only.
        clip: norm that gradients are clipped to.
        average: decay of the averaged weights, which are what is exported; shorter at the start.
        mesh_rate, orientation_rate: factors on the learning rate of the mesh decoder and of the orientation
            regressor, which have no normalisation and overshoot where the backbone does not yet.
        heatmap_weight: weight of `heatmap_loss`, a help that the paper does not have: without it the image
            points, and all that is read at them, take thousands of steps to leave the mean.
        stage: 1 (canonical shape) or 2 (also orientation), as in the paper.
        bfloat16: compute in bfloat16 where it is safe.
        loss_weights: factor on each named term of `train.losses`; 1 where not named.
    """

    steps: int
    minutes: float | None = None
    learning_rate: float = 1e-3
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


class Trainer:
    """Trains a network step by step and keeps its state in a folder.

    Args:
        network: to be trained, in place.
        optimisation: how.
        folder: of the run; created. A checkpoint in it is not read unless `resume` is called.
        device: where to compute.
    """

    def __init__(
        self, network: H2ONet, optimisation: Optimisation, folder: Path, device: torch.device | str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.optimisation = optimisation
        self.folder = folder
        self.step = 0
        self.elapsed = 0.0
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self._faces = torch.as_tensor(network.topology.faces, dtype=torch.int64, device=self.device)
        self._names: dict[Tensor, str] = {p: name for name, p in network.named_parameters()}
        self._maps: list[Tensor] = []
        network.backbone.reduce.register_forward_hook(lambda _module, _inputs, maps: self._maps.append(maps))
        self._optimiser = torch.optim.AdamW(
            [
                {"params": parameters, "weight_decay": decay, "factor": factor}
                for (decay, factor), parameters in self._groups().items()
            ],
            lr=optimisation.learning_rate,
            fused=True,
        )
        self._broken_steps = 0
        self._last_step: float | None = None
        folder.mkdir(parents=True, exist_ok=True)
        network.topology.save(folder / TOPOLOGY)

    @property
    def progress(self) -> float:
        """How much of the schedule is over, 0 to 1; by steps, or by time where that is further."""
        by_steps = self.step / self.optimisation.steps
        minutes = self.optimisation.minutes
        return min(1.0, max(by_steps, self.elapsed / (60 * minutes) if minutes else 0.0))

    @property
    def finished(self) -> bool:
        return self.progress >= 1

    def learning_rate(self) -> float:
        """One cosine up, one down."""
        o, progress = self.optimisation, self.progress
        if progress < o.warm_up:
            return o.learning_rate * (0.02 + 0.98 * progress / o.warm_up)
        fall = 0.5 * (1 + math.cos(math.pi * (progress - o.warm_up) / (1 - o.warm_up)))
        return o.learning_rate * (o.final + (1 - o.final) * fall)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step; returns the weighted loss terms and their sum.

        Raises:
            TrainingError: losses were not finite ten times in a row.
        """
        began = time.perf_counter()
        o = self.optimisation
        rate = self.learning_rate()
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        self.network.train()
        self._maps.clear()
        batch = batch.to(self.device)
        images = batch.images.float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=o.bfloat16):
            output = self.network(images)
        if len(images) == 1:
            output = _distinct_frames(output)
        terms = h2onet_losses(output, self._targets(batch, output), self._faces, 1 if o.stage == 1 else 2)
        del terms["total"]
        if o.heatmap_weight:
            terms["heatmaps"] = o.heatmap_weight * heatmap_loss(self._maps[0], batch.uv.flatten(0, 1))
        terms = {name: value * o.loss_weights.get(name, 1.0) for name, value in terms.items()}
        total = torch.stack(list(terms.values())).sum()
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), o.clip)
        if torch.isfinite(total) and torch.isfinite(norm):
            self._optimiser.step()
            self._update_average()
            self._broken_steps = 0
        else:
            self._broken_steps += 1
            if self._broken_steps >= 10:
                raise TrainingError(
                    f"the loss was not finite ten times in a row at step {self.step}: start again from "
                    "the last checkpoint with a lower learning rate or a longer warm-up"
                )
        self.step += 1
        now = time.perf_counter()
        # Waiting for data and validating between steps count as well: the run is to end in time.
        self.elapsed += now - (began if self._last_step is None else self._last_step)
        self._last_step = now
        return {**{name: value.item() for name, value in terms.items()}, "total": total.item()}

    def _groups(self) -> dict[tuple[float, float], list[nn.Parameter]]:
        """Parameters by weight decay and factor on the learning rate."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            decay = self.optimisation.weight_decay if parameter.ndim > 1 else 0.0
            factor = 1.0
            if name.startswith("decoder3d."):
                o = self.optimisation
                factor = o.orientation_rate if ".rot_reg." in name else o.mesh_rate
            groups.setdefault((decay, factor), []).append(parameter)
        return groups

    def _targets(self, batch: Batch, output: TrainingOutput) -> Targets:
        frames = output.uv.shape[0]

        def repeat(x: Tensor) -> Tensor:
            return x.expand(frames, *x.shape[1:])

        vertices, rotation = batch.vertices, batch.rotation
        joints = torch.matmul(self.network.joint_regressor, vertices)
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
        return network.eval()

    def save(self) -> None:
        """Write the checkpoint: one file of plain tensors, replaced only when the new one is complete."""
        tensors: dict[str, Tensor] = {}
        for name, value in self.network.state_dict().items():
            tensors[f"network.{name}"] = value
        for name, value in self.average.items():
            tensors[f"average.{name}"] = value
        for parameter, state in self._optimiser.state.items():
            for key, value in state.items():
                tensors[f"optimiser.{key}.{self._names[parameter]}"] = value
        description = {
            "step": self.step,
            "elapsed": self.elapsed,
            "network": self.network.config.to_dict(),
            "optimisation": asdict(self.optimisation),
        }
        partial = self.folder / f"{CHECKPOINT}.partial"
        contiguous = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
        save_file(contiguous, partial, {"description": json.dumps(description)})
        partial.replace(self.folder / CHECKPOINT)

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
        self.network.load_state_dict(_part(tensors, "network."))
        self.average = {name: value.to(self.device) for name, value in _part(tensors, "average.").items()}
        for parameter, name in self._names.items():
            state = {}
            for key in ("step", "exp_avg", "exp_avg_sq"):
                value = tensors.get(f"optimiser.{key}.{name}")
                if value is not None:
                    # In the parameter's own layout (channels last): the fused step walks both side by side.
                    state[key] = value if key == "step" else torch.empty_like(parameter).copy_(value)
            if state:
                self._optimiser.state[parameter] = state
        self.step, self.elapsed = int(description["step"]), float(description["elapsed"])
        return True

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to the run's log."""
        with (self.folder / LOG).open("a") as stream:
            stream.write(json.dumps({"step": self.step, "elapsed": round(self.elapsed, 1), **entry}) + "\n")


def heatmap_loss(maps: Tensor, uv: Tensor, sigma: float = 0.8) -> Tensor:
    """Cross-entropy between each point's map, as a distribution over places, and a blob at its true place.

    The backbone turns one map a point into coordinates with fully connected layers, which first have to find
    out which cell lies where. This tells the maps directly. Points outside the crop do not count.

    Args:
        maps: (N, 21, H, W), the backbone's maps.
        uv: (N, 21, 2) true image points, 0..1 across the crop.
        sigma: of the blob, cells.
    """
    height, width = maps.shape[-2:]
    inside = ((uv > 0) & (uv < 1)).all(-1)
    cells = uv * uv.new_tensor([width, height]) - 0.5
    x = torch.arange(width, device=uv.device) - cells[..., :1]
    y = torch.arange(height, device=uv.device) - cells[..., 1:]
    squared = y.square().unsqueeze(-1) + x.square().unsqueeze(-2)
    target = torch.softmax((-squared / (2 * sigma * sigma)).flatten(-2), -1)
    error = -(target * torch.log_softmax(maps.float().flatten(-2), -1)).sum(-1)
    return (error * inside).sum() / inside.sum().clamp_min(1)


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of a checkpoint.

    Raises:
        TrainingError: the file is missing, damaged or no checkpoint.
    """
    try:
        with safe_open(path, "pt") as stream:
            description = json.loads((stream.metadata() or {})["description"])
            return description, {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is not a checkpoint of this program ({error})") from error


def load_network(folder: str | Path) -> tuple[H2ONet, dict[str, Any]]:
    """The network of a run with its averaged weights, and the checkpoint's description.

    Args:
        folder: of the run, or its checkpoint file.
    """
    from h2onet_ros.model import H2ONetConfig

    path = Path(folder)
    path = path if path.is_file() else path / CHECKPOINT
    description, tensors = read_checkpoint(path)
    try:
        topology = HandTopology.load(path.parent / TOPOLOGY)
    except OSError as error:
        raise TrainingError(f"{path.parent} lacks {TOPOLOGY}, which a run writes at its start") from error
    network = H2ONet(H2ONetConfig(**description["network"]), topology)
    network.load_state_dict(_part(tensors, "average."))
    return network.eval(), description


def _distinct_frames(output: TrainingOutput) -> TrainingOutput:
    """Of a single frame that stood for three: now, which has the fusion's offsets, and one past frame."""
    per_frame = {
        name: value[:2]
        for name, value in output._asdict().items()
        if name not in ("rotation_offset", "rotation_offset_6d")
    }
    return output._replace(**per_frame)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
