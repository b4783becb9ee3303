"""The network on every engine against the reference's way of running it (one interleaved run).

The reference computes three frames at every step, eagerly in PyTorch; an engine encodes one frame and fuses
it with what it kept. Each runs in a process of its own, and all take turns, so that whatever else the machine
does hits all alike. Weights are random, of the published width, unless H2ONET_BENCH_BUNDLE names a bundle.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.engine_worker import REFERENCE
from h2onet_ros.engines import WeightsBundle

ROUNDS = int(os.environ.get("H2ONET_BENCH_ROUNDS", "60"))
RESULTS = Path("output") / "bench_engines.json"
CANDIDATES = (
    (REFERENCE, "float32", 2),
    ("torch", "float32", 2),
    ("onnxruntime", "float32", 1),
    ("onnxruntime", "float32", 2),
    ("openvino", "float32", 1),
    ("openvino", "float32", 2),
    ("openvino", "bfloat16", 1),
    ("openvino", "bfloat16", 2),
)
ACTIONS = ("step", "encode", "encode two hands", "fuse")


class Worker:
    """A process that runs one engine on demand."""

    def __init__(self, folder: Path, name: str, precision: str, threads: int) -> None:
        self.title = f"{name} {precision}, {threads} thread{'s' if threads > 1 else ''}"
        self.actions = ("step",) if name == REFERENCE else ACTIONS
        self.times: dict[str, list[float]] = {action: [] for action in self.actions}
        command = [
            sys.executable,
            "-m",
            "benchmark.engine_worker",
            str(folder),
            name,
            precision,
            str(threads),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.facts = json.loads(self._answer())

    def stop(self) -> None:
        """End the process by ending its input."""
        self._process.communicate()

    def run(self, action: str) -> float:
        """Milliseconds."""
        assert self._process.stdin is not None
        print(action, file=self._process.stdin, flush=True)
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            error = self._process.communicate()[1].strip().splitlines()
            raise RuntimeError(error[-1] if error else "the worker ended")
        return line

    def median(self, action: str) -> float:
        return float(np.median(self.times[action]))


def main() -> None:
    """Print the table and write it as JSON."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = _bundle_folder(Path(temporary))
        workers = _start(folder)
        try:
            for number in range(ROUNDS + 2):
                for action in ACTIONS:
                    for worker in workers:
                        if action in worker.actions:
                            worker.run(action)  # its caches are cold after the others' turns
                            taken = worker.run(action)
                            if number >= 2:
                                worker.times[action].append(taken)
        finally:
            for worker in workers:
                worker.stop()
        _report(WeightsBundle.load(folder), workers)


def _bundle_folder(temporary: Path) -> Path:
    """The bundle asked for, or random weights, made in a process that goes away with PyTorch."""
    if path := os.environ.get("H2ONET_BENCH_BUNDLE"):
        return Path(path)
    folder = temporary / "bundle"
    subprocess.run([sys.executable, "-m", "benchmark.random_bundle", str(folder)], check=True)
    return folder


def _start(folder: Path) -> list[Worker]:
    workers = []
    for candidate in CANDIDATES:
        try:
            workers.append(Worker(folder, *candidate))
        except RuntimeError as error:
            print(f"left out: {' '.join(map(str, candidate))}: {error}")
    return workers


def _report(bundle: WeightsBundle, workers: list[Worker]) -> None:
    first = workers[0]
    print(
        f"{_processor()}, {os.cpu_count()} cores; width {bundle.info.width:g}; milliseconds, {ROUNDS} rounds"
    )
    columns = f"{'step':>8} {'p95':>8} {'ratio':>6} {'fuse':>6} {'+1 hand':>8} {'start s':>8} {'MB':>6}"
    print(f"{'':30} {columns}")
    rows = [_row(worker, first) for worker in workers]
    for row in rows:
        figures = f"{row['step_ms']:8.2f} {row['step_p95_ms']:8.2f} {row['ratio']:6.1f}"
        if "fuse_ms" in row:
            figures += f" {row['fuse_ms']:6.2f} {row['further_hand_ms']:8.2f}"
        else:
            figures += f" {'':6} {'':8}"
        print(f"{row['name']:30} {figures} {row['start_s']:8.2f} {row['memory_mb']:6.0f}")
    kept = next((row["kept_kb"] for row in rows if "kept_kb" in row), None)
    if kept is not None:
        print(f"kept of each past frame and hand: {kept:.1f} kB")
    RESULTS.parent.mkdir(exist_ok=True)
    document = {"processor": _processor(), "cores": os.cpu_count(), "width": bundle.info.width, "rows": rows}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


def _row(worker: Worker, first: Worker) -> dict[str, Any]:
    row = {
        "name": worker.title,
        "step_ms": worker.median("step"),
        "step_p95_ms": float(np.percentile(worker.times["step"], 95)),
        "ratio": first.median("step") / worker.median("step"),
        **worker.facts,
    }
    if "fuse" in worker.actions:
        row["encode_ms"] = worker.median("encode")
        row["fuse_ms"] = worker.median("fuse")
        row["further_hand_ms"] = worker.median("encode two hands") - worker.median("encode")
    return row


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
