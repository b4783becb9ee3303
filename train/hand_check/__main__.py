"""Train the hand check and export it.

    python -m train.hand_check --real ZIP --synthetic FOLDER --backgrounds FOLDER --out hand_check.onnx

Prints how well it does on what it never saw: the held-out real crops, and every fifth background photograph.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from train.hand_check.network import INPUT_SIZE, HandCheckNetwork, Probabilities, right_probability
from train.hand_check.samples import CheckSamples, Hands, load_backgrounds
from train.real_crops import RealCrops, RealCropsError
from train.synthetic.shards import ShardError, ShardSet

EVERY_NTH_BACKGROUND = 5
VALIDATION_BATCHES = 24
AVERAGE_DECAY = 0.995
SOFTENING = 0.02


def loss_of(output: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Cross-entropies of presence, facing, order and side, and the distance of the joints; see `Target`."""
    logits, joints = output
    presence, right, clockwise, flatness = targets[:, :4].unbind(1)
    palm = (right - clockwise).abs()
    answers = torch.stack([presence, palm, clockwise], dim=1)
    weights = torch.stack([torch.ones_like(presence), flatness * presence, flatness * presence], dim=1)
    softened = answers * (1 - 2 * SOFTENING) + SOFTENING
    losses = nn.functional.binary_cross_entropy_with_logits(logits, softened, reduction="none")
    side = nn.functional.binary_cross_entropy(
        right_probability(logits).clamp(1e-4, 1 - 1e-4), right, reduction="none"
    )
    distance = (joints - targets[:, 4:].unflatten(1, (21, 2))).abs().mean((1, 2))
    hands = presence.sum().clamp(min=1)
    return (losses * weights).sum() / len(targets) + ((0.5 * side + 2 * distance) * presence).sum() / hands


def evaluate(
    network: HandCheckNetwork, samples: CheckSamples, batches: int = VALIDATION_BATCHES
) -> dict[str, float]:
    """Rates of right answers on hands, on what is none, and on which side a hand is of."""
    network.eval()
    logits, targets = [], []
    with torch.no_grad():
        for _, (images, wanted) in zip(range(batches), samples):
            logits.append(network(images)[0])
            targets.append(wanted)
    answers, truth = torch.cat(logits), torch.cat(targets)
    said, hands = answers[:, 0] > 0, truth[:, 0] == 1
    side = right_probability(answers[hands]) > 0.5
    network.train()
    return {
        "hands_accepted": said[hands].float().mean().item(),
        "others_rejected": (~said[~hands]).float().mean().item(),
        "side_right": (side == (truth[hands, 1] == 1)).float().mean().item(),
    }


def train(
    network: HandCheckNetwork, samples: CheckSamples, steps: int, rate: float, workers: int
) -> HandCheckNetwork:
    """AdamW with a one-cycle rate; returns the running average of the weights."""
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=True
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    batches = DataLoader(
        samples, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
    )
    network.train()
    running = None
    with tqdm(total=steps, unit="step") as progress:
        for _, (images, targets) in zip(range(steps), batches):
            loss = loss_of(network(images.contiguous(memory_format=torch.channels_last)), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            averaged.update_parameters(network)
            running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
            progress.set_postfix_str(f"loss {running:.3f}")
            progress.update()
    network.load_state_dict(averaged.module.state_dict())
    return network


def export(network: HandCheckNetwork, path: Path) -> None:
    """Write the ONNX file; it appears only when complete."""
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Probabilities(network).eval(),
            (torch.zeros(2, 3, INPUT_SIZE, INPUT_SIZE),),
            str(partial),
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["presence", "right"],
            dynamic_axes={name: {0: "regions"} for name in ("image", "presence", "right")},
        )
    partial.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train.hand_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--real", type=Path, required=True, help="real crops: a folder or zip file (train/real_crops.py)"
    )
    parser.add_argument(
        "--synthetic", type=Path, required=True, help="rendered samples (train.synthetic.render)"
    )
    parser.add_argument(
        "--backgrounds", type=Path, required=True, help="photographs without hands (train.fetch_backgrounds)"
    )
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--steps", type=int, default=3000, help="batches to learn from (3000)")
    parser.add_argument("--batch", type=int, default=192, help="crops in a batch (192)")
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate (4e-3)")
    parser.add_argument(
        "--most-synthetic", type=int, default=8000, help="rendered pictures kept in memory (8000)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that make crops (1)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the network (2)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    try:
        learn, held_out = RealCrops.load(options.real).split()
        rendered = Hands.synthetic(ShardSet(options.synthetic), options.most_synthetic)
        photographs = np.array(sorted((options.backgrounds / "photos").glob("*.jpg")))
        if len(photographs) < EVERY_NTH_BACKGROUND:
            raise ValueError(
                f"expected photographs in {options.backgrounds / 'photos'}; run train.fetch_backgrounds"
            )
        kept = np.arange(len(photographs)) % EVERY_NTH_BACKGROUND == 0
        seen, unseen = load_backgrounds(photographs[~kept]), load_backgrounds(photographs[kept])
    except (RealCropsError, ShardError, ValueError) as error:
        print(f"train.hand_check: {error}", file=sys.stderr)
        return 2
    # Depth-wise convolutions train twice as fast in this layout on a CPU.
    network = HandCheckNetwork()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    print(
        f"{sum(p.numel() for p in network.parameters())} parameters, {len(learn)} real hands, "
        f"{len(rendered.images)} rendered ones"
    )
    samples = CheckSamples([Hands.real(learn), rendered], seen, options.batch, options.seed)
    try:
        network = train(network, samples, options.steps, options.rate, options.workers)
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    export(network, options.out)
    rates = evaluate(
        network, CheckSamples([Hands.real(held_out)], unseen, options.batch, options.seed + 1000)
    )
    print("held out: " + ", ".join(f"{name} {rate:.1%}" for name, rate in rates.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
