"""What the tests of the ROS side share: hands, node processes, and a peer that talks to them over DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from talk import CHECKOUT, Conversation, Dialogue, NodeProcess, Peer

from h2onet_ros.perception.types import Hand, Region
from h2onet_ros.ros.domain import reserved_domain
from h2onet_ros.ros.environment import local_environment
from h2onet_ros.ros.messages import Topology

VIDEO = CHECKOUT.parent / "shared" / "data" / "video" / "human_hand_720p30.mp4"

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


@pytest.fixture
def domain() -> Iterator[int]:
    with reserved_domain() as number:
        yield number


@pytest.fixture
def start_node(domain: int, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts node processes in the test's domain, with ROS arguments; all are gone after the test."""
    running: list[NodeProcess] = []

    def start(*arguments: str, **environment: str) -> NodeProcess:
        given = ("--ros-args", *arguments) if arguments else ()
        running.append(NodeProcess(domain, tmp_path, *given, environment=environment))
        return running[-1]

    yield start
    for process in running:
        process.end()


@pytest.fixture
def peer(domain: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    for name, value in local_environment().items():
        monkeypatch.setenv(name, value)
    peer = Peer(domain)
    yield peer
    peer.close()


@pytest.fixture
def dialogue(peer: Peer) -> Dialogue:
    return Dialogue(peer)


@pytest.fixture(scope="session")
def session_conversation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    with pytest.MonkeyPatch.context() as patch, reserved_domain() as number:
        for name, value in local_environment().items():
            patch.setenv(name, value)
        # With this patience no image is skipped because the machine is busy.
        arguments = ("--ros-args", "-p", "max_wait_s:=1.0", "-p", "camera_info_wait_s:=0.0")
        conversation = Conversation(number, tmp_path_factory.mktemp("node"), *arguments)
        yield conversation
        conversation.close()


@pytest.fixture
def conversation(session_conversation: Conversation) -> Iterator[Conversation]:
    """One node for many tests, as starting one takes seconds. Each must leave it working."""
    assert session_conversation.process.process.poll() is None, "another test has ended the shared node"
    yield session_conversation
    assert session_conversation.process.process.poll() is None, session_conversation.process.output
    assert "Traceback" not in session_conversation.process.output


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
