"""One engine in a process of its own: `python -m benchmark.engine_worker BUNDLE ENGINE PRECISION THREADS`.

Prints a JSON line with start-up time and memory, then for each action named on a line of its input how many
milliseconds it took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

START = time.perf_counter()
REFERENCE = "reference"
"""The engine that is the published way: three frames at every step, eagerly."""


def main() -> None:
    """Serve until the input ends."""
    folder, name, precision, threads = sys.argv[1:]
    actions, facts = make(folder, name, precision, int(threads))
    for action in actions.values():
        action()
    facts |= {"start_s": time.perf_counter() - START, "memory_mb": resident_megabytes()}
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        action = actions[line.strip()]
        start = time.perf_counter()
        action()
        print(1e3 * (time.perf_counter() - start), flush=True)


def make(
    folder: str, name: str, precision: str, threads: int
) -> tuple[dict[str, Callable[[], object]], dict]:
    """Actions by name, and facts to print."""
    import numpy as np

    from h2onet_ros.engines import WeightsBundle, create_engine

    if name == REFERENCE:
        return {"step": reference_step(folder, threads)}, {"description": "PyTorch, eager, three frames"}
    crops = np.random.default_rng(0).random((2, 3, 128, 128), dtype=np.float32)
    engine = create_engine(WeightsBundle.load(folder), name, threads, precision, cache_folder=None)
    kept = engine.encode(crops[:1])
    actions: dict[str, Callable[[], object]] = {
        "step": lambda: engine.fuse(engine.encode(crops[:1]), kept, kept),
        "encode": lambda: engine.encode(crops[:1]),
        "encode two hands": lambda: engine.encode(crops),
        "fuse": lambda: engine.fuse(kept, kept, kept),
    }
    return actions, {"description": engine.description, "kept_kb": kept.as_past().nbytes / 1e3}


def reference_step(folder: str, threads: int) -> Callable[[], object]:
    """Three backbones in eager PyTorch, as the published code runs a video."""
    import torch

    from h2onet_ros.model.weights import load_network

    torch.set_num_threads(threads)
    network = load_network(folder)
    frames = torch.rand(3, 1, 3, 128, 128)

    def step() -> object:
        with torch.inference_mode():
            return network(frames)

    return step


def resident_megabytes() -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
