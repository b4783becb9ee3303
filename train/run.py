"""Train a network by one command that can be killed and repeated.

    python -m train.run --list
    python -m train.run single_frame_dexycb --dexycb DEX_YCB --mano MANO_RIGHT.pkl
    python -m train.run multi_frame_dexycb --dexycb DEX_YCB --mano MANO_RIGHT.pkl
    python -m train.run open_hand_compact --synthetic data/synthetic --test data/synthetic_test \\
        --real real_hands.zip
    torchrun --nproc-per-node 4 -m train.run single_frame_dexycb --dexycb DEX_YCB --mano MANO_RIGHT.pkl

A configuration is one of `--list` or a YAML file. Its stages are trained one after the other, each from the
weights that validated best in the one before, into runs/CONFIGURATION/STAGE. The same command goes on with a
run that was stopped (Ctrl-C), killed or ran out of disk: it gives the losses of an uninterrupted one.

The folder of a stage holds `checkpoint.safetensors` (all that is needed to go on, or to export),
`best.safetensors` (the averaged weights that validated best), `topology.npz`, `log.jsonl`, `curve.png`,
`tensorboard/` (`tensorboard --logdir runs`) and `config.yaml`.

Batch and learning rate are those of the configuration, however many processes share the batch: change both on
purpose, as in `--set mixture.batch=128 --set optimisation.learning_rate=2e-3`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from h2onet_ros.hand.model import HandModelError
from train.checkpoint import CHECKPOINT, TrainingError, best_checkpoint, read_description
from train.config import FOLDER, Plan, RunConfig
from train.datasets.base import DataSetError
from train.loop import Interrupts, Stopped, run_stage
from train.parallel import make_fabric
from train.real_crops import RealCropsError
from train.sources import add_data_options, open_data
from train.synthetic.shards import ShardError

EXPECTED = (ShardError, RealCropsError, DataSetError, HandModelError, TrainingError, OSError, ValueError)


def train_plan(plan: Plan, arguments: argparse.Namespace, out: Path, interrupts: Interrupts) -> None:
    """Train the stages of a configuration, those that are finished left out."""
    for name, config in _chosen(plan, arguments).items():
        folder = out / name
        if _finished(folder, config):
            print(f"{folder} is finished", flush=True)
            continue
        start = arguments.start or (_start(plan, name, config, out, arguments.skip) if config.start else None)
        optimisation = config.optimisation
        # Stage 1 leaves the orientation branch without gradients.
        fabric = make_fabric(arguments.device, optimisation.bfloat16, optimisation.stage == 2)
        if fabric.is_global_zero and name:
            print(f"== {plan.name}, {name}: {folder}", flush=True)
        # One process makes indices and fits, the others find them.
        with fabric.rank_zero_first():
            folder.mkdir(parents=True, exist_ok=True)
            data = open_data(config, arguments, folder)
        run_stage(config, data, folder, fabric, interrupts, start, arguments.densestack)
        # Only the first stage trained is told by --from and --densestack where to begin.
        arguments.start = arguments.densestack = None


def _chosen(plan: Plan, arguments: argparse.Namespace) -> dict[str, RunConfig]:
    unknown = sorted({*arguments.stage, *arguments.skip} - set(plan.stages))
    if unknown:
        raise ValueError(
            f"{plan.name} has no stage {', '.join(unknown)}; it has "
            f"{', '.join(filter(None, plan.stages)) or 'only one'}"
        )
    return {
        name: config
        for name, config in plan.stages.items()
        if name not in arguments.skip and (not arguments.stage or name in arguments.stage)
    }


def _finished(folder: Path, config: RunConfig) -> bool:
    """Whether the stage is over; one that was made longer is not."""
    path = folder / CHECKPOINT
    if not path.exists() or not read_description(path).get("finished"):
        return False
    length = read_description(path)["optimisation"]
    o = config.optimisation
    return (length["steps"], length.get("epochs"), length["minutes"]) == (o.steps, o.epochs, o.minutes)


def _start(plan: Plan, name: str, config: RunConfig, out: Path, skipped: list[str]) -> Path:
    """The checkpoint that a stage begins with."""
    start = config.start
    while start in skipped:
        start = plan.stages[start].start
    other, slash, stage = start.rpartition("/")
    folder = out.parent / other / stage if slash else out / start
    path = best_checkpoint(folder)
    if not path.exists():
        command = f"python -m train.run {other or plan.name} --stage {stage}"
        raise TrainingError(
            f"{name} begins with the weights of {start}, which are not in {folder}: train them first "
            f"(`{command}` and the data), or give others with --from"
        )
    last = folder / CHECKPOINT
    if last.exists() and not read_description(last).get("finished", True):
        raise TrainingError(
            f"{name} begins with the weights of {start}, whose training in {folder} is not over: go on with "
            "it first, or give its folder with --from"
        )
    return path


def list_plans() -> str:
    """The configurations that come along, one a paragraph."""
    lines = []
    for path in sorted(FOLDER.glob("*.yaml")):
        plan = Plan.load(path)
        first = next(iter(plan.stages.values()))
        lines.append(f"{plan.name:<22} {first.description}")
        for name, c in plan.stages.items():
            o = c.optimisation
            length = f"{o.epochs:g} epochs" if o.epochs else f"{o.steps} steps"
            length += f" or {o.minutes:g} minutes" if o.minutes else ""
            batch = c.mixture.triplet_batch if c.mixture.triplet_share == 1 else c.mixture.batch
            lines.append(
                f"{'':<22}   {name or 'one stage':<10} {', '.join(c.data)}; {length}, learning rate "
                f"{o.learning_rate:g}, batch {batch}{f', from {c.start}' if c.start else ''}"
            )
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("configuration", nargs="?", help="a name that --list shows, or a YAML file")
    parser.add_argument("--list", action="store_true", help="show the configurations that come along")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: runs/CONFIGURATION")
    parser.add_argument(
        "--stage", action="append", default=[], help="train only this one (can be given several times)"
    )
    parser.add_argument("--skip", action="append", default=[], metavar="STAGE", help="leave this one out")
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="PATH", help="run or weights bundle to begin with"
    )
    parser.add_argument(
        "--densestack",
        type=Path,
        metavar="FILE",
        help="MobRecon's densestack.pth: first weights of the backbone",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[STAGE:]NAME=VALUE",
        help="change a value of the configuration, as in optimisation.epochs=2",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N (default: a GPU if there is one)")
    add_data_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.list:
        print(list_plans())
        return 0
    if not arguments.configuration:
        parser.error("which configuration? `--list` shows those that come along")
    interrupts = Interrupts()
    try:
        plan = Plan.load(arguments.configuration, arguments.set)
        train_plan(plan, arguments, arguments.out or Path("runs") / plan.name, interrupts)
    except (Stopped, KeyboardInterrupt) as stopped:
        saved = "the checkpoint is written" if isinstance(stopped, Stopped) else "the last checkpoint stands"
        print(f"\nstopped; {saved}, the same command continues", file=sys.stderr)
        return 130
    except EXPECTED as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
