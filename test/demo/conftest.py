"""Real processes on a ROS domain of their own, and what they leave behind."""

import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

from h2onet_ros.ros.domain import reserved_domain
from h2onet_ros.ros.environment import local_environment

TIMEOUT = 120.0
"""Seconds after which what a test waits for will not come any more."""


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Environment of processes that talk on this machine only, in a domain that nobody else uses."""
    with reserved_domain() as domain:
        base = dict(os.environ) | {"ROS_HOME": str(tmp_path_factory.mktemp("ros"))}
        base["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(Path(__file__).parents[2]), base.get("PYTHONPATH")))
        )
        yield local_environment(base | {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, domain)


class Process:
    """A program of this package, ended with the test."""

    def __init__(self, module, arguments, environment, wrapper=()):
        self.popen = subprocess.Popen(
            [*wrapper, sys.executable, "-m", f"h2onet_ros.ros.{module}", *map(str, arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.output = b""

    def line(self, containing, timeout=TIMEOUT):
        """The first line of its output that contains the text and was not given yet; waits for it."""
        selector = selectors.DefaultSelector()
        selector.register(self.popen.stdout, selectors.EVENT_READ)
        until = time.monotonic() + timeout
        while True:
            *lines, rest = self.output.split(b"\n")
            for number, line in enumerate(lines):
                if containing.encode() in line:
                    # The others stay: what comes over several topics comes in any order.
                    self.output = b"\n".join([*lines[:number], *lines[number + 1 :], rest])
                    return line.decode()
            assert selector.select(max(until - time.monotonic(), 0)), f"no {containing!r} in {self.output!r}"
            data = os.read(self.popen.stdout.fileno(), 65536)
            assert data, f"ended without {containing!r}: {self.output!r} {self.popen.stderr.read()!r}"
            self.output += data

    def event(self, kind, timeout=TIMEOUT):
        return json.loads(self.line(f'"event": "{kind}"', timeout))

    def finish(self, timeout=TIMEOUT):
        """Exit code and standard error, once it has ended."""
        output, errors = self.popen.communicate(timeout=timeout)
        self.output += output
        return self.popen.returncode, errors.decode()


@pytest.fixture
def start(environment):
    """Starts programs: `start("camera_player", ["--video", path])`."""
    processes = []

    def starter(module, arguments, **changes):
        processes.append(Process(module, arguments, environment | changes))
        return processes[-1]

    yield starter
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.communicate()


@pytest.fixture
def ros(environment, monkeypatch):
    """A node of the test itself, and `spin(until)` to let it work until a condition holds."""
    for name in set(environment) - set(os.environ):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(environment["ROS_DOMAIN_ID"]))
    node = rclpy.create_node("test", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin(until, timeout=TIMEOUT):
        end = time.monotonic() + timeout
        while not until():
            assert time.monotonic() < end, "timed out"
            executor.spin_once(timeout_sec=0.05)

    node.spin = spin
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture(scope="session")
def short_video(tmp_path_factory):
    """12 images of 160 x 120 at 30 a second, coarse random patches."""
    path = tmp_path_factory.mktemp("video") / "patches.mp4"
    random = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, (160, 120))
    for _ in range(12):
        small = random.integers(0, 255, (6, 8, 3), np.uint8)
        writer.write(cv2.resize(small, (160, 120), interpolation=cv2.INTER_NEAREST))
    writer.release()
    return path
