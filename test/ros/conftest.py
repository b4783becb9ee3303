"""What the tests of the ROS side share: hands, node processes, and a peer that talks to them over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

from h2onet_ros.perception.types import Hand, Region
from h2onet_ros.ros.domain import reserved_domain
from h2onet_ros.ros.environment import local_environment
from h2onet_ros.ros.messages import Topology

CHECKOUT = Path(__file__).resolve().parents[2]
VIDEO = CHECKOUT.parent / "shared" / "data" / "video" / "human_hand_720p30.mp4"
PATIENCE = 30.0
"""Seconds after which an event that a test waits for will not come any more."""

FACES = np.array([(0, 1, 2), (0, 2, 3), (0, 3, 1), (1, 3, 2)], np.int32)


@pytest.fixture
def tetrahedron() -> Topology:
    """A mesh of four vertices and four faces, one part each."""
    part = np.array([0, 2, 4, 5], np.uint8)
    return Topology("tetrahedron", FACES, part, part[::-1].copy())


@pytest.fixture
def make_hand() -> Callable[..., Hand]:
    """Makes hands whose numbers are all different; the same seed makes the same hand."""

    def make(track_id: int = 7, handedness: str = "right", vertices: int = 4, seed: int = 0) -> Hand:
        random = np.random.default_rng(seed)

        def array(*shape: int) -> np.ndarray:
            return random.uniform(-1, 1, shape).astype(np.float32)

        axis = array(3).astype(np.float64)
        return Hand(
            track_id=track_id,
            handedness=handedness,
            handedness_score=0.75,
            detection_score=0.875,
            region=Region(320.5, 240.25, 128.0, -0.75),
            position=array(3),
            rotation=cv2.Rodrigues(axis)[0].astype(np.float32),
            joints=array(21, 3),
            vertices=array(vertices, 3),
            occlusion=random.uniform(0, 1, 6).astype(np.float32),
            image_points=100 * array(21, 2),
            reprojection_error=1.5,
        )

    return make


class NodeProcess:
    """A running `hand_mesh_node`, ended with the test whatever happens.

    Attributes:
        lines: what it printed so far, standard output and error together.
    """

    def __init__(self, domain: int, log_folder: Path, *arguments: str) -> None:
        environment = local_environment(domain_id=domain)
        environment |= {
            "ROS_HOME": str(log_folder),
            "PYTHONUNBUFFERED": "1",
            "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
        }
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "h2onet_ros.ros.node", *arguments],
            cwd=CHECKOUT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()

    @property
    def output(self) -> str:
        with self._news:
            return "\n".join(self.lines)

    def wait_for_line(self, text: str) -> str:
        """The first line that holds the text, once it was printed."""
        with self._news:
            found = self._news.wait_for(lambda: any(text in line for line in self.lines), PATIENCE)
            assert found, f"the node never printed {text!r}; it printed:\n" + "\n".join(self.lines)
            return next(line for line in self.lines if text in line)

    def wait(self) -> int:
        """Its exit code, once it has ended and all it printed was read."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


class Peer:
    """A ROS node of the test itself; collects messages and waits for them."""

    def __init__(self, domain: int) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("test_peer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def collect(self, kind: type, topic: str, latched: bool = False) -> list:
        """A list that the topic's messages are appended to."""
        messages: list = []
        qos = QoSProfile(depth=50)
        if latched:
            qos.durability = QoSDurabilityPolicy.TRANSIENT_LOCAL
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def wait_until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Take in messages until the condition holds; whether it came to hold."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
        return condition()

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def domain() -> Iterator[int]:
    with reserved_domain() as number:
        yield number


@pytest.fixture
def start_node(domain: int, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts node processes in the test's domain, with ROS arguments; all are gone after the test."""
    running: list[NodeProcess] = []

    def start(*arguments: str) -> NodeProcess:
        running.append(NodeProcess(domain, tmp_path, *(("--ros-args", *arguments) if arguments else ())))
        return running[-1]

    yield start
    for process in running:
        process.kill()


@pytest.fixture
def peer(domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    for name, value in local_environment().items():
        monkeypatch.setenv(name, value)
    peer = Peer(domain)
    yield peer
    peer.close()


@pytest.fixture(scope="session")
def hand_frames() -> list[np.ndarray]:
    """Successive frames of a real hand, RGB, 480 x 640... of the shared video, as `(H, W, 3)` uint8."""
    if not VIDEO.is_file():
        pytest.skip(f"needs {VIDEO.name} in ../shared/data/video beside the checkout")
    capture = cv2.VideoCapture(str(VIDEO))
    frames = []
    while len(frames) < 20:
        ok, bgr = capture.read()
        assert ok
        frames.append(cv2.cvtColor(cv2.resize(bgr, None, fx=0.5, fy=0.5), cv2.COLOR_BGR2RGB))
    capture.release()
    return frames
