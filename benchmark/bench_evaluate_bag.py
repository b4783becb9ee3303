"""`h2onet evaluate-bag`: how many times faster than real time, and memory over the length of a recording.

The recording is made first: JPEG images of 640 x 480 at 30 Hz with camera_info, the part of the demo
recording that shows one hand, forwards and backwards in turn. Every evaluation is a process of its own, as
from a terminal; choices take turns. Writes a JSON document and prints the table row by row.

    python -m benchmark.bench_evaluate_bag                      # one minute, 1 and 2 threads, three rounds
    python -m benchmark.bench_evaluate_bag --minutes 10 --rounds 1 --threads 1     # memory on a long one
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmark.report import machine
from h2onet_ros.bag.calibration import load_camera
from h2onet_ros.bag.message_maker import RosbagsMessages
from h2onet_ros.bag.message_types import CAMERA_INFO, COMPRESSED_IMAGE, create_typestore
from h2onet_ros.bag.writer import BagWriter
from h2onet_ros.command import WEIGHTS_HELP

DEMO = Path(__file__).resolve().parents[1] / "h2onet_ros" / "assets" / "demo"
RATE = 30
ONE_HAND = 28
"""Images at the beginning of the demo recording with one hand."""
TOPIC = "/camera/image_raw/compressed"


@dataclass(frozen=True)
class Timing:
    """One evaluation; times in seconds, memory in MB.

    Attributes:
        seconds: of processing the images, without starting the process and writing the report.
        total: from start to end of the process.
        speed: seconds of the recording over `seconds`.
        median: of the pipeline, per image.
        memory: peak resident set of the process.
        memory_at: resident set after each tenth of the time.
    """

    engine: str
    threads: int
    images: int
    seconds: float
    total: float
    speed: float
    median: float
    memory: float
    memory_at: list[float]
    results_mb: float


def main() -> int:
    """Exit code."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        bag = Path(temporary) / "camera.mcap"
        _write_bag(bag, round(options.minutes * 60 * RATE))
        where = machine()
        print(f"{bag.stat().st_size / 1e6:.0f} MB, {options.minutes:g} minutes at {RATE} Hz; {where}")
        timings: list[Timing] = []
        print("engine        threads  images/s  x real time  pipeline ms  peak MB  results MB")
        for _ in range(options.rounds):
            for engine in options.engine:
                for threads in options.threads:
                    timing = _evaluate(bag, Path(temporary) / "out", engine, threads, options.weights)
                    timings.append(timing)
                    print(
                        f"{engine:<12}  {threads:>7}  {timing.images / timing.seconds:>8.1f}  "
                        f"{timing.speed:>11.2f}  {1e3 * timing.median:>11.2f}  {timing.memory:>7.0f}  "
                        f"{timing.results_mb:>10.0f}",
                        flush=True,
                    )
                    if options.minutes >= 2:
                        print("  MB over time: " + " ".join(f"{value:.0f}" for value in timing.memory_at))
    document = {"machine": where, "minutes": options.minutes, "timings": [asdict(one) for one in timings]}
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(document, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the recording (1)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each choice is run (3)")
    parser.add_argument("--engine", nargs="+", default=["auto"], help="engines (auto)")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="threads of the engine (1 2)")
    parser.add_argument("--weights", help=WEIGHTS_HELP)
    parser.add_argument("--folder", help="where recording and results are put (the temporary folder)")
    parser.add_argument("--out", default="output/bench_evaluate_bag.json", help="the JSON document")
    return parser


def _images() -> Iterator[np.ndarray]:
    """JPEGs, without end."""
    capture = cv2.VideoCapture(str(DEMO / "demo.mp4"))
    frames = [capture.read()[1] for _ in range(ONE_HAND)]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
    jpegs = [cv2.imencode(".jpg", frame, quality)[1].ravel() for frame in frames + frames[-2:0:-1]]
    while True:
        yield from jpegs


def _write_bag(path: Path, count: int) -> None:
    store = create_typestore()
    messages = RosbagsMessages(store)
    camera = load_camera(DEMO / "camera.yaml")
    with BagWriter(path, store, flush_size=8 << 20, flush_seconds=60.0) as bag:
        bag.add_topic(TOPIC, COMPRESSED_IMAGE)
        bag.add_topic("/camera/camera_info", CAMERA_INFO)
        progress = tqdm(range(count), "recording", leave=False, disable=None)
        for index, jpeg in zip(progress, _images(), strict=False):
            stamp = 10**12 + round(index / RATE * 1e9)
            header = messages.header(stamp, "camera")
            size = {"width": camera.width, "height": camera.height}
            info = messages.make(
                CAMERA_INFO, header=header, k=camera.k.ravel(), distortion_model="plumb_bob", **size
            )
            bag.write("/camera/camera_info", stamp, messages.serialise(info, CAMERA_INFO))
            image = messages.make(COMPRESSED_IMAGE, header=header, format="jpeg", data=jpeg)
            bag.write(TOPIC, stamp, messages.serialise(image, COMPRESSED_IMAGE))


def _evaluate(bag: Path, out: Path, engine: str, threads: int, weights: str | None) -> Timing:
    command = [sys.executable, "-m", "h2onet_ros.cli", "evaluate-bag", str(bag), "--out", str(out), "--force"]
    command += ["--engine", engine, "--threads", str(threads)] + (["--weights", weights] if weights else [])
    # The libraries' own thread pools would fight for the cores.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        memory = _Memory(process.pid)
        _, errors = process.communicate()
        memory.stop()
    total = time.monotonic() - start
    if process.returncode:
        raise SystemExit(f"evaluate-bag ended with {process.returncode}:\n{errors}")
    times = json.loads((out / "timings.json").read_text())
    samples = memory.samples
    return Timing(
        engine=engine,
        threads=threads,
        images=times["images"],
        seconds=times["seconds"],
        total=total,
        speed=times["images_per_second"] / RATE,
        median=times["processing_time"]["median"],
        memory=max(samples),
        memory_at=[samples[round(part / 10 * (len(samples) - 1))] for part in range(1, 11)],
        results_mb=(out / "hands.mcap").stat().st_size / 1e6,
    )


class _Memory:
    """Samples the resident set of a process twice a second."""

    def __init__(self, pid: int) -> None:
        self.samples: list[float] = [0.0]
        self._status = Path(f"/proc/{pid}/status")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            for line in lines:
                if line.startswith("VmRSS:"):
                    self.samples.append(int(line.split()[1]) / 1e3)


if __name__ == "__main__":
    sys.exit(main())
