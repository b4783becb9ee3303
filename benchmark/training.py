"""Training steps at the published width, `python -m benchmark.training`.

Forward, losses, backward, clipping, Adam, averaged weights; in float32 and bfloat16, with one thread and with
two, in turns. Beside them the rate of the published program's step on two cores. Rates by the clock mean
something on an idle machine only, those per second of processor time (of all threads) also beside other
programs. There two threads spin for each other without end: set OMP_WAIT_POLICY=PASSIVE, or `--threads 1`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from h2onet_ros.hand.model import open_hand
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig
from train.batches import Batch
from train.optimisation import Optimisation
from train.parallel import make_fabric
from train.trainer import Trainer

BATCH = 16
REFERENCE = {"float32": 17.0, "bfloat16": 33.0}
"""Pictures a second of the published program's training step, on two cores."""


def random_batch(topology: HandTopology, samples: int) -> Batch:
    """One frame of each of so many samples; labels near the template."""
    rng = np.random.default_rng(0)
    vertices = topology.template + rng.normal(0, 0.001, (1, samples, *topology.template.shape))
    joints = np.einsum("jv,fbvi->fbji", topology.joint_regressor, vertices)
    ones = torch.ones(1, samples)
    return Batch(
        images=torch.as_tensor(rng.integers(0, 256, (1, samples, 3, 128, 128), dtype=np.uint8)),
        uv=torch.rand(1, samples, 21, 2),
        vertices=torch.as_tensor(vertices, dtype=torch.float32),
        joints=torch.as_tensor(joints, dtype=torch.float32),
        rotation=torch.eye(3).expand(1, samples, 3, 3),
        occlusion=torch.zeros(1, samples, 6),
        mesh_weight=ones,
        uv_weight=ones,
        occlusion_weight=ones,
        names=tuple(map(str, range(samples))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of PyTorch (default: 1 2)")
    parser.add_argument("--turns", type=int, default=5, help="steps timed of each kind (default: 5)")
    arguments = parser.parse_args()
    topology = HandTopology.from_hand(open_hand())
    batch = random_batch(topology, BATCH)
    clock: dict[tuple[str, int], list[float]] = {}
    processor: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trainers = {}
        for precision in REFERENCE:
            torch.manual_seed(0)
            network = H2ONet(H2ONetConfig("single_frame", 1.0), topology)
            optimisation = Optimisation(steps=1000, bfloat16=precision == "bfloat16")
            fabric = make_fabric("cpu", optimisation.bfloat16)
            trainers[precision] = Trainer(network, optimisation, 1000, Path(folder) / precision, fabric)
        # The first turn warms up.
        for turn in tqdm(range(arguments.turns + 1), unit="turn"):
            for threads in arguments.threads:
                torch.set_num_threads(threads)
                for precision, trainer in trainers.items():
                    began, spent = time.perf_counter(), time.process_time()
                    trainer.train_step(batch)
                    if turn:
                        kind = precision, threads
                        clock.setdefault(kind, []).append(time.perf_counter() - began)
                        processor.setdefault(kind, []).append(time.process_time() - spent)
    print(f"single-frame network of width 1, stage 2, batches of {BATCH}; pictures a second, medians")
    print(
        f"{'':<10}{'threads':>8}{'by the clock':>14}{'per processor second':>22}{'published, two cores':>22}"
    )
    for (precision, threads), times in clock.items():
        rate, efficiency = (BATCH / float(np.median(t)) for t in (times, processor[precision, threads]))
        print(f"{precision:<10}{threads:>8}{rate:>14.1f}{efficiency:>22.1f}{REFERENCE[precision]:>22.0f}")


if __name__ == "__main__":
    main()
