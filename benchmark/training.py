"""Training steps at the published width, `python -m benchmark.training`.

Forward, losses, backward, clipping, Adam, averaged weights.
Rates are per second of processor time, so that they mean something beside other programs, and what two cores
would make of them. `H2ONET_BENCH_THREADS=2` measures with two threads.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from h2onet_ros.hand.model import open_hand
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig
from train.batches import Batch
from train.optimisation import Optimisation
from train.parallel import make_fabric
from train.trainer import Trainer

BATCH = 16
STEPS = 3
WANTED = {"float32": 17.0, "bfloat16": 33.0}
"""Pictures a second on two cores: the published program's training step."""


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
    threads = int(os.environ.get("H2ONET_BENCH_THREADS", "1"))
    torch.set_num_threads(threads)
    topology = HandTopology.from_hand(open_hand())
    batch = random_batch(topology, BATCH)
    trainers = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in WANTED:
            torch.manual_seed(0)
            network = H2ONet(H2ONetConfig("single_frame", 1.0), topology)
            optimisation = Optimisation(steps=100, bfloat16=precision == "bfloat16")
            fabric = make_fabric("cpu", optimisation.bfloat16)
            trainers[precision] = Trainer(network, optimisation, 100, Path(folder) / precision, fabric)
            trainers[precision].train_step(batch)
        spent: dict[str, list[float]] = {precision: [] for precision in WANTED}
        for _ in range(STEPS):
            for precision, trainer in trainers.items():
                began = time.process_time()
                trainer.train_step(batch)
                spent[precision].append(time.process_time() - began)
    print(f"single-frame network of width 1, stage 2, batches of {BATCH}, {threads} thread(s)")
    print(f"{'':<10}{'pictures per processor second':>32}{'two cores':>12}{'wanted':>10}")
    for precision, times in spent.items():
        rate = BATCH / float(np.median(times))
        print(f"{precision:<10}{rate:>32.1f}{2 * rate:>12.1f}{WANTED[precision]:>10.0f}")
    ratio = np.median(spent["float32"]) / np.median(spent["bfloat16"])
    print(f"bfloat16 is {ratio:.2f} times as fast as float32")


if __name__ == "__main__":
    main()
