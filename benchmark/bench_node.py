"""The node over DDS: stamp to publication, lost and skipped images, memory, and the cost of markers.

A camera process publishes 640 x 480 images at 30 Hz, the node's process answers, and this one listens. The
images are those of the demo recording in which two hands can be seen, forwards and backwards in turn; with
--hands 1 one of the two is painted over. Writes a JSON document and prints the table row by row.

    python -m benchmark.bench_node                              # 900 frames with one hand, 900 with two
    python -m benchmark.bench_node --hands 2 --engine openvino
    python -m benchmark.bench_node --hands 2 --minutes 10       # memory over time
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from tqdm import tqdm
from visualization_msgs.msg import MarkerArray

from benchmark.report import machine
from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.command import WEIGHTS_HELP
from h2onet_ros.engines import bundle_path
from h2onet_ros.ros.domain import reserved_domain
from h2onet_ros.ros.environment import local_environment
from h2onet_ros.ros.markers import HandMarkers
from h2onet_ros.ros.messages import hands_from_message, stamp_from_message, topology_from_message
from h2onet_ros.ros.qos import LATCHED_QOS

WARM_UP = 60
"""Frames at the start that do not count."""
START_PATIENCE_S = 120.0
END_PATIENCE_S = 5.0
PAGE = Path(__file__).resolve().parents[1] / "docs" / "node.md"
BEGIN, END = "<!-- bench_node: begin -->\n", "<!-- bench_node: end -->\n"
MARKER_REPEATS = 500


@dataclass
class Run:
    """The figures of one run; times in milliseconds, memory in megabytes."""

    hands: int
    engine: str
    threads: int
    outputs: str
    frames: int = 0
    answered: int = 0
    skipped: int = 0
    lost: int = 0
    with_all_hands: int = 0
    latency_p50: float = float("nan")
    latency_p95: float = float("nan")
    latency_max: float = float("nan")
    arrival_p50: float = float("nan")
    processing_p50: float = float("nan")
    camera_late: int = 0
    cpu_percent: float = float("nan")
    memory: float = float("nan")
    memory_growth: float = float("nan")
    memory_by_minute: list[float] = field(default_factory=list)
    markers_per_hand: float = float("nan")
    markers_published_per_hand: float = float("nan")
    weights: str = ""


class Listener(Node):
    """Collects the node's answers: stamp, latency, arrival after the stamp, processing, skipped, hands."""

    def __init__(self, topics: list[str], context: rclpy.Context) -> None:
        super().__init__("bench_listener", context=context)
        self.answers: list[tuple[int, float, float, float, int, int]] = []
        self.topology: MeshTopology | None = None
        self.latest: HandArray | None = None
        self.create_subscription(MeshTopology, "/hand_mesh_node/topology", self._on_topology, LATCHED_QOS)
        self.create_subscription(HandArray, "/hand_mesh_node/hands", self._on_hands, 100)
        if "markers" in topics:
            # Raw: what it costs here to take the message apart is not what is asked for.
            self.create_subscription(MarkerArray, "/hand_mesh_node/markers", lambda _: None, 10, raw=True)

    def _on_topology(self, message: MeshTopology) -> None:
        self.topology = message

    def _on_hands(self, message: HandArray) -> None:
        now = self.get_clock().now().nanoseconds
        stamp = stamp_from_message(message.header.stamp)
        self.answers.append(
            (
                stamp,
                message.latency,
                (now - stamp) * 1e-9,
                message.processing_time,
                message.skipped_images,
                len(message.hands),
            )
        )
        if message.hands:
            self.latest = message


class Program:
    """A child process that ends with this one's block, with its standard output by lines."""

    def __init__(self, module: str, arguments: list[str], environment: dict[str, str], log: IO[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)

    def last_line(self) -> str:
        """Once it has ended."""
        self._reader.join()
        if not self.lines:
            raise RuntimeError(f"{self.process.args[2]} ended without its figures")
        return self.lines[-1]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def measure(hands: int, options: argparse.Namespace, log: IO[str]) -> Run:
    """One run from start to end."""
    topics = [] if options.no_markers else ["markers"]
    run = Run(hands, options.engine, options.threads, ", ".join(["hands", *topics]))
    frames = round(options.minutes * 60 * 30) if options.minutes else options.frames
    with reserved_domain() as domain:
        environment = local_environment(domain_id=domain) | {"ROS_HOME": tempfile.gettempdir()}
        os.environ.update(environment)
        parameters = {"engine": options.engine, "threads": options.threads}
        if options.weights:
            parameters["weights"] = str(bundle_path(options.weights).resolve())
        given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        node = Program("h2onet_ros.ros.node", ["--ros-args", *given], environment, log)
        camera = Program(
            "benchmark.node_camera", [f"--frames={frames + WARM_UP}", f"--hands={hands}"], environment, log
        )
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=domain)
        try:
            _listen(run, node, camera, frames, topics, context)
        finally:
            camera.end()
            node.end()
            context.try_shutdown()
    return run


def _listen(
    run: Run, node: Program, camera: Program, frames: int, topics: list[str], context: rclpy.Context
) -> None:
    listener = Listener(topics, context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listener)
    memory: list[tuple[float, float]] = []
    bar = tqdm(total=frames + WARM_UP, unit=" images", desc=f"{run.hands} hands", disable=None)
    last_news, cpu_start, count = time.monotonic(), (0.0, 0.0), 0
    patience = START_PATIENCE_S
    while time.monotonic() - last_news < patience:
        executor.spin_once(timeout_sec=0.1)
        if node.process.poll() is not None:
            raise RuntimeError("the node ended: " + "".join(node.lines[-5:]))
        now = time.monotonic()
        if len(listener.answers) > count:
            bar.update(len(listener.answers) - count)
            last_news, patience, count = now, END_PATIENCE_S, len(listener.answers)
        if count >= WARM_UP // 4 and (not memory or now - memory[-1][0] >= 1.0):
            if not memory:
                cpu_start = (_cpu_seconds(node.process.pid), now)
            memory.append((now, resident_megabytes(node.process.pid)))
        if camera.process.poll() is not None and now - last_news > 1.0:
            break
    bar.close()
    if not memory:
        raise RuntimeError("the node gave no answers")
    if camera.process.poll() is None:
        raise RuntimeError(f"no answer came for {patience:.0f} s while the camera went on")
    used = _cpu_seconds(node.process.pid) - cpu_start[0]
    run.cpu_percent = 100 * used / max(last_news - cpu_start[1], 1e-3)
    _memory(run, memory)
    _times(run, listener, json.loads(camera.last_line()))
    assert listener.topology is not None
    run.weights = listener.topology.weights
    if listener.latest is not None:
        _markers(run, listener, executor)
    executor.shutdown()
    listener.destroy_node()


def _memory(run: Run, memory: list[tuple[float, float]]) -> None:
    times, values = np.array(memory).T
    run.memory = float(values.max())
    tenth = max(len(values) // 10, 1)
    run.memory_growth = float(np.median(values[-tenth:]) - np.median(values[:tenth]))
    minutes = ((times - times[0]) // 60).astype(int)
    run.memory_by_minute = [round(float(values[minutes == m].mean()), 1) for m in range(minutes.max() + 1)]


def _times(run: Run, listener: Listener, camera: dict[str, Any]) -> None:
    place = {stamp: index for index, stamp in enumerate(camera["stamps"])}
    answers, run.frames, last = [], len(place) - WARM_UP, -1
    for answer in listener.answers:
        index = place[answer[0]]
        if index >= WARM_UP:
            # What lies between this answer and the one before was skipped, as the node says, or lost.
            missing = index - max(last, WARM_UP - 1) - 1
            run.skipped += min(answer[4], missing)
            run.lost += max(missing - answer[4], 0)
            answers.append(answer)
        last = index
    run.lost += len(place) - 1 - last
    run.answered = len(answers)
    if not answers:
        raise RuntimeError(f"none of {run.frames} images was answered")
    table = np.array([answer[1:] for answer in answers])
    run.with_all_hands = int((table[:, 4] >= run.hands).sum())
    run.latency_p50, run.latency_p95 = (float(v) for v in 1e3 * np.percentile(table[:, 0], [50, 95]))
    run.latency_max = float(1e3 * table[:, 0].max())
    run.arrival_p50 = float(1e3 * np.median(table[:, 1]))
    run.processing_p50 = float(1e3 * np.median(table[:, 2]))
    run.camera_late = camera["late"]


def _markers(run: Run, listener: Listener, executor: SingleThreadedExecutor) -> None:
    """Build the markers of the last hands, and publish them to a subscriber."""
    assert listener.topology is not None and listener.latest is not None
    markers = HandMarkers(topology_from_message(listener.topology))
    result = hands_from_message(listener.latest)
    publisher = listener.create_publisher(MarkerArray, "bench_markers", 10)
    listener.create_subscription(MarkerArray, "bench_markers", lambda _: None, 10, raw=True)
    while not publisher.get_subscription_count():
        executor.spin_once(timeout_sec=0.05)
    built, published = [], []
    for number in range(MARKER_REPEATS):
        start = time.perf_counter()
        message = markers.build(result.hands, number, "camera")
        middle = time.perf_counter()
        publisher.publish(message)
        built.append(middle - start)
        published.append(time.perf_counter() - start)
        executor.spin_once(timeout_sec=0.0)
    run.markers_per_hand = float(1e3 * np.median(built) / len(result.hands))
    run.markers_published_per_hand = float(1e3 * np.median(published) / len(result.hands))


def resident_megabytes(pid: int) -> float:
    """Memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def _cpu_seconds(pid: int) -> float:
    values = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def table(runs: list[Run]) -> str:
    """The runs as a Markdown table."""
    lines = [
        "| hands | engine, threads | outputs | frames | lost | skipped | all seen | p50 ms | p95 ms | "
        "max ms | processing ms | CPU % | memory MB | growth MB | markers ms/hand |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        lines.append(
            f"| {run.hands} | {run.engine}, {run.threads} | {run.outputs} | {run.frames} | {run.lost} | "
            f"{run.skipped} | {run.with_all_hands} | {run.latency_p50:.1f} | {run.latency_p95:.1f} | "
            f"{run.latency_max:.1f} | {run.processing_p50:.1f} | {run.cpu_percent:.0f} | {run.memory:.0f} | "
            f"{run.memory_growth:+.1f} | {run.markers_per_hand:.2f} built, "
            f"{run.markers_published_per_hand:.2f} published |"
        )
    return "\n".join(lines)


def _place(where: dict[str, Any]) -> str:
    machine_text = f"{where['processor']}, {where['cores']} cores, {where['system']}"
    return f"{machine_text}; {where['date']}, load {where['load']} at the end; 640 x 480 at 30 Hz:"


def main() -> int:
    """Exit code."""
    options = _parser().parse_args()
    # The node and the camera are to end with this program, however it is told to.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    out = Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    with out.with_suffix(".log").open("w") as log:
        try:
            for hands in options.hands:
                runs.append(measure(hands, options, log))
        except RuntimeError as error:
            print(f"bench_node: {error}; the log is {log.name}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("bench_node: interrupted", file=sys.stderr)
        finally:
            if runs:
                document = {"machine": machine(), "runs": [asdict(run) for run in runs]}
                out.write_text(json.dumps(document, indent=1) + "\n")
                text = f"{_place(document['machine'])}\n\n{table(runs)}\n"
                print(f"{text}\nwritten: {out}")
                if options.docs:
                    before, _, rest = PAGE.read_text().partition(BEGIN)
                    PAGE.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmark.bench_node",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--hands", type=int, nargs="+", choices=(1, 2), default=[1, 2], help="one run for each (1 2)"
    )
    parser.add_argument("--frames", type=int, default=900, help="images that count (900)")
    parser.add_argument("--minutes", type=float, help="instead of --frames: how long, at 30 images a second")
    parser.add_argument("--engine", default="auto", help="engine that runs the network (auto)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine (1)")
    parser.add_argument("--weights", help=WEIGHTS_HELP)
    parser.add_argument("--no-markers", action="store_true", help="do not subscribe to the markers")
    parser.add_argument("--out", default="output/bench_node.json", help="document to write (%(default)s)")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/node.md, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
