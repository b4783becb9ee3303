"""Frames of wrists and joints, as messages and on /tf of a running node.

ROS's PyPI wheels hold no tf2_msgs: the one message of it that is needed is built here, once for a checkout.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Transform
from std_msgs.msg import Header
from talk import CHECKOUT, Dialogue

from h2onet_ros.hand.joints import JOINT_NAMES
from h2onet_ros.ros.messages import hand_from_message, rotation_from_quaternion
from h2onet_ros.ros.transforms import hands_to_transforms, tf_message_type

SOURCES = {
    "msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n",
    "package.xml": """<?xml version="1.0"?>
<package format="3">
  <name>tf2_msgs</name>
  <version>0.0.0</version>
  <description>The message of /tf, for tests.</description>
  <maintainer email="maintainers@h2onet-ros.example">h2onet_ros maintainers</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>geometry_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
</package>
""",
    "CMakeLists.txt": f"""cmake_minimum_required(VERSION 3.16)
project(tf2_msgs)
include({CHECKOUT}/h2onet_msgs/cmake/pypi_wheels.cmake)
find_package(ament_cmake REQUIRED)
find_package(geometry_msgs REQUIRED)
find_package(rosidl_default_generators REQUIRED)
rosidl_generate_interfaces(tf2_msgs "msg/TFMessage.msg" DEPENDENCIES geometry_msgs)
ament_package()
""",
}


def matrix(transform: Transform) -> np.ndarray:
    result = np.eye(4)
    q, t = transform.rotation, transform.translation
    result[:3, :3] = rotation_from_quaternion((q.x, q.y, q.z, q.w))
    result[:3, 3] = t.x, t.y, t.z
    return result


def test_a_wrist_lies_in_the_cameras_frame_and_its_joints_in_the_wrists(make_hand):
    hands = [make_hand(track_id=3), make_hand(track_id=5, handedness="left", seed=1)]
    header = Header(stamp=Time(sec=7), frame_id="camera")
    transforms = hands_to_transforms(hands, header, "robot/", with_joints=True)
    assert len(transforms) == 2 * 21
    by_name = {transform.child_frame_id: transform for transform in transforms}
    for hand in hands:
        wrist = by_name[f"robot/hand_{hand.track_id}"]
        assert (wrist.header.frame_id, wrist.header.stamp.sec) == ("camera", 7)
        pose = matrix(wrist.transform)
        np.testing.assert_allclose(pose[:3, 3], hand.position, atol=1e-6)
        np.testing.assert_allclose(pose[:3, :3], hand.rotation, atol=1e-6)
        for number, name in enumerate(JOINT_NAMES[1:], 1):
            joint = by_name[f"robot/hand_{hand.track_id}/{name}"]
            assert joint.header.frame_id == wrist.child_frame_id
            in_camera = pose @ matrix(joint.transform)
            np.testing.assert_allclose(in_camera[:3, 3], hand.joints[number], atol=1e-5)


def test_joints_come_only_where_asked_for(make_hand):
    transforms = hands_to_transforms([make_hand(track_id=1)], Header(frame_id="camera"))
    assert [transform.child_frame_id for transform in transforms] == ["hand_1"]


@pytest.fixture(scope="session")
def tf2_msgs() -> dict[str, str]:
    """Environment variables with which tf2_msgs can be imported; none where it is installed."""
    if tf_message_type() is not None:
        return {}
    root = CHECKOUT / "build" / "test_tf2_msgs"
    prefix = root / "install"
    packages = prefix / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    done = root / f"done_{sys.version_info.major}_{sys.version_info.minor}"
    if not done.exists():
        for name, text in SOURCES.items():
            (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "source" / name).write_text(text)
        environment = os.environ | {"VIRTUAL_ENV": sys.prefix}
        configure = ["cmake", "-S", root / "source", "-B", root / "build", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
        install = ["cmake", "--build", root / "build", "--target", "install", "--parallel", "2"]
        for command in ([*configure, f"-DCMAKE_INSTALL_RPATH={prefix / 'lib'}"], install):
            run = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
        done.write_text("")
    assert packages.is_dir()

    def joined(name: str, path: Path) -> str:
        return os.pathsep.join(filter(None, (str(path), os.environ.get(name))))

    return {
        "PYTHONPATH": joined("PYTHONPATH", packages),
        "LD_LIBRARY_PATH": joined("LD_LIBRARY_PATH", prefix / "lib"),
    }


@pytest.fixture
def tf_message(tf2_msgs, monkeypatch) -> type:
    for name, value in tf2_msgs.items():
        monkeypatch.setenv(name, value)
        first = value.split(os.pathsep)[0]
        if name == "PYTHONPATH":
            monkeypatch.syspath_prepend(first)
        else:
            # The loader took note of its path when this process started; what is loaded already it finds.
            for library in sorted(Path(first).glob("libtf2_msgs*.so")):
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    kind = tf_message_type()
    assert kind is not None
    return kind


def test_a_running_node_sends_frames_to_tf(tf_message, tf2_msgs, start_node, peer, hand_frames):
    arguments = ["-p", "publish_tf:=joints", "-p", "tf_prefix:=left_", "-p", "camera_info_wait_s:=0.0"]
    node = start_node(*arguments, **tf2_msgs)
    dialogue = Dialogue(peer)
    frames = peer.collect(tf_message, "/tf")
    dialogue.wait_until_connected()
    dialogue.ask(hand_frames[0])
    assert peer.wait_until(lambda: peer.node.count_publishers("/tf") > 0)
    for rgb in hand_frames[1:5]:
        answer = dialogue.ask(rgb)
    assert peer.wait_until(lambda: frames and frames[-1].transforms[0].header.stamp == answer.header.stamp)
    hand = hand_from_message(answer.hands[0])
    wrist, *joints = frames[-1].transforms
    assert wrist.child_frame_id == f"left_hand_{hand.track_id}" and len(joints) == 20
    assert wrist.header.frame_id == answer.header.frame_id
    np.testing.assert_allclose(matrix(wrist.transform)[:3, 3], hand.position, atol=1e-5)

    # /tf alone is reason enough to work, and its switch acts at once.
    peer.node.destroy_subscription(dialogue.subscription)
    count = len(frames)

    def has_come() -> bool:
        dialogue.send(hand_frames[5])
        peer.wait_until(lambda: len(frames) > count, 0.5)
        return len(frames) > count

    assert peer.wait_until(has_come)
    assert peer.set(publish_tf="none")[0].successful
    assert peer.wait_until(lambda: dialogue.images.get_subscription_count() == 0)
    assert node.interrupt() == 0
