"""Talking to a running node over DDS: its process, a peer of the test, and a conversation between them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.ros.environment import local_environment
from h2onet_ros.ros.image import rgb_to_compressed, rgb_to_image
from h2onet_ros.ros.messages import stamp_from_message, stamp_to_message, topology_from_message

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds after which an event that a test waits for will not come any more."""
FOCAL = 520.0
FRAME_ID = "camera_optical"
INTERVAL = 33_333_333
"""Nanoseconds from one image to the next."""
ANSWER_PATIENCE = 1.0
ATTEMPTS = 60
END_PATIENCE = 15.0
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


class NodeProcess:
    """A running `hand_mesh_node`, ended with the test whatever happens.

    Attributes:
        lines: what it printed so far, standard output and error together.
    """

    def __init__(
        self, domain: int, log_folder: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        environment = local_environment({**os.environ, **(environment or {})}, domain_id=domain)
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

    def wait_for_line(self, text: str, since: int = 0) -> str:
        """The first line that holds the text, once it was printed, among those from number `since` on."""
        with self._news:
            found = self._news.wait_for(lambda: any(text in line for line in self.lines[since:]), PATIENCE)
            assert found, f"the node never printed {text!r}; it printed:\n" + "\n".join(self.lines)
            return next(line for line in self.lines[since:] if text in line)

    def wait(self) -> int:
        """Its exit code, once it has ended and all it printed was read."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def end(self) -> None:
        """End it, gently if possible: one that is killed leaves its shared memory behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(END_PATIENCE)
                return


class Peer:
    """A ROS node of the test itself; collects messages and waits for them."""

    def __init__(self, domain: int) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = Node("test_peer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._changes: Any = None

    def collect(self, kind: type, topic: str, latched: bool = False) -> list:
        """A list that the topic's messages are appended to."""
        messages: list = []
        qos = QoSProfile(depth=50)
        if latched:
            qos.durability = QoSDurabilityPolicy.TRANSIENT_LOCAL
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def call(self, kind: Any, name: str, request: Any = None, patience: float = PATIENCE) -> Any:
        """Call a service, once it is there; its response."""
        client = self.node.create_client(kind, name)
        try:
            assert self.wait_until(client.service_is_ready, patience), f"no service {name}"
            future = client.call_async(request or kind.Request())
            assert self.wait_until(future.done, patience), f"{name} did not answer"
            return future.result()
        finally:
            self.node.destroy_client(client)

    def set(self, node: str = "/hand_mesh_node", **values: Any) -> list[SetParametersResult]:
        """Set parameters of a node, one after the other."""
        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return self.set_messages(messages, node)

    def set_messages(
        self, messages: list[ParameterMessage], node: str = "/hand_mesh_node"
    ) -> list[SetParametersResult]:
        """The same with messages, which may hold anything."""
        request = SetParameters.Request(parameters=messages)
        return list(self.call(SetParameters, f"{node}/set_parameters", request).results)

    def get(self, name: str, node: str = "/hand_mesh_node") -> Any:
        """A parameter's value."""
        response = self.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name]))
        return rclpy.parameter.parameter_value_to_python(response.values[0])

    def transition(self, name: str, node: str = "/hand_mesh_node") -> bool:
        """Ask a node for a transition of its life cycle; whether it was made."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[name]))
        return bool(self.call(ChangeState, f"{node}/change_state", request).success)

    def begin_transition(self, name: str) -> None:
        """Ask for a transition without waiting for the answer."""
        if self._changes is None:
            self._changes = self.node.create_client(ChangeState, "/hand_mesh_node/change_state")
            assert self.wait_until(self._changes.service_is_ready)
        self._changes.call_async(ChangeState.Request(transition=Transition(id=TRANSITIONS[name])))

    def state(self, node: str = "/hand_mesh_node") -> str:
        """Where a node is in its life cycle."""
        return str(self.call(GetState, f"{node}/get_state").current_state.label)

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


class Dialogue:
    """Sends images to a node and waits for its answers.

    Attributes:
        hands: all messages that came.
    """

    def __init__(
        self,
        peer: Peer,
        compressed: bool = False,
        image: str = "image",
        reliability: QoSReliabilityPolicy = QoSReliabilityPolicy.RELIABLE,
    ) -> None:
        self.peer = peer
        self.frame_id = FRAME_ID
        self._image_kind, self._image_topic = (CompressedImage if compressed else Image), image
        self._qos = QoSProfile(depth=50, reliability=reliability)
        self.start_camera()
        self.hands: list[HandArray] = []
        self.subscription = peer.node.create_subscription(
            HandArray, "/hand_mesh_node/hands", self.hands.append, QoSProfile(depth=50)
        )
        self._make = rgb_to_compressed if compressed else rgb_to_image
        self.stamp = 1_700_000_000_000_000_000

    def set_reliability(self, reliability: QoSReliabilityPolicy) -> None:
        """Of the camera's publishers when they come the next time."""
        self._qos = QoSProfile(depth=50, reliability=reliability)

    def start_camera(self) -> None:
        """The camera's publishers come."""
        self.images = self.peer.node.create_publisher(self._image_kind, self._image_topic, self._qos)
        self.infos = self.peer.node.create_publisher(CameraInfo, "camera_info", self._qos)

    def stop_camera(self) -> None:
        """And go, as those of a camera whose driver was killed."""
        for publisher in (self.images, self.infos):
            self.peer.node.destroy_publisher(publisher)

    def wait_until_connected(self) -> None:
        topology = self.peer.collect(MeshTopology, "/hand_mesh_node/topology", latched=True)
        publishers = (self.images, self.infos)
        connected = self.peer.wait_until(
            lambda: topology and all(publisher.get_subscription_count() for publisher in publishers)
        )
        assert connected, f"topology: {len(topology)}, subscribers: " + ", ".join(
            f"{publisher.topic_name} {publisher.get_subscription_count()}" for publisher in publishers
        )
        self.topology = topology_from_message(topology[0])

    def wait_until_settled(self, *more: str, subscribers: int = 1) -> None:
        """Until the node subscribes to the camera, and the topics named, as it will go on doing.

        It is best effort before it knows of a topic's publishers; while it changes, images are lost.
        """
        topics = [self.images.topic_name, self.infos.topic_name, *more]

        def is_settled(topic: str) -> bool:
            found = self.peer.node.get_subscriptions_info_by_topic(topic)
            kinds = {info.qos_profile.reliability for info in found}
            return len(found) >= subscribers and kinds == {QoSReliabilityPolicy.RELIABLE}

        assert self.peer.wait_until(lambda: all(map(is_settled, topics))), f"no reliable reader: {topics}"

    def next_header(self) -> Header:
        self.stamp += INTERVAL
        return Header(stamp=stamp_to_message(self.stamp), frame_id=self.frame_id)

    def send_info(self, width: int, height: int, focal: float = FOCAL) -> None:
        k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0] if focal else [0.0] * 9
        info = CameraInfo(width=width, height=height, k=k)
        info.header.frame_id = self.frame_id
        self.infos.publish(info)

    def send_message(self, message: Any) -> None:
        """Publish an image message with the next header, whatever else it says."""
        message.header = self.next_header()
        self.images.publish(message)

    def send(self, rgb: np.ndarray) -> int:
        """Publish an image; its stamp in nanoseconds."""
        header = self.next_header()
        self.images.publish(self._make(rgb, header))
        return stamp_from_message(header.stamp)

    def ask(self, rgb: np.ndarray) -> HandArray:
        """The hands of an image; sent again where it got lost, as the first ones and best-effort ones may."""
        before = len(self.hands)
        for _ in range(ATTEMPTS):
            stamp = self.send(rgb)
            # Older answers do not count: where time goes back, stamps are used again.
            if self.peer.wait_until(lambda stamp=stamp: stamp in self.stamps(before), ANSWER_PATIENCE):
                return self.hands[-1]
        raise AssertionError(f"the node answered none of {ATTEMPTS} images, but {len(self.hands)} before")

    def stamps(self, since: int = 0) -> list[int]:
        """Of the answers from number `since` on."""
        return [stamp_from_message(message.header.stamp) for message in self.hands[since:]]


class Conversation:
    """A node process with a dialogue, for all tests that leave it as they found it.

    Attributes:
        process, peer, dialogue: of it.
        diagnostics: all that the node sent.
    """

    def __init__(self, domain: int, folder: Path, *arguments: str) -> None:
        self.domain = domain
        self.process = NodeProcess(domain, folder, *arguments)
        self.peer = Peer(domain)
        self.dialogue = Dialogue(self.peer)
        self.diagnostics: list[DiagnosticArray] = self.peer.collect(DiagnosticArray, "/diagnostics")
        try:
            self.dialogue.wait_until_connected()
        except AssertionError:
            self.close()
            print(self.process.output)
            raise

    def diagnosis(self) -> tuple[DiagnosticStatus, dict[str, str]]:
        """The next diagnostics: the status, and its figures by name."""
        # The next one may have been on its way before what is asked about happened.
        wanted = len(self.diagnostics) + 2
        assert self.peer.wait_until(lambda: len(self.diagnostics) >= wanted)
        status = self.diagnostics[-1].status[0]
        return status, {value.key: value.value for value in status.values}

    def close(self) -> None:
        self.peer.close()
        self.process.end()
