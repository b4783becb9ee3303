"""The launch files: what they start, and that the node started so answers.

With an ordinary ROS 2 its own launch library reads them too (`test_package.py`).
"""

from __future__ import annotations

import launch_stand_in
import pytest
from launch_stand_in import CHECKOUT, DeclareLaunchArgument, ExecuteProcess, LaunchError, run
from sensor_msgs.msg import CameraInfo, Image
from talk import Dialogue

from h2onet_msgs.msg import HandArray
from h2onet_ros.ros.image import rgb_to_image
from h2onet_ros.ros.parameters import NodeParameters

HAND, DEMO, BAG = (CHECKOUT / "launch" / f"{name}.launch.py" for name in ("hand", "demo", "bag"))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    launch_stand_in.install(monkeypatch)


@pytest.mark.parametrize("path", [HAND, DEMO, BAG], ids=lambda path: path.name)
def test_every_argument_is_described(path):
    arguments = [e for e in launch_stand_in.load(path).entities if isinstance(e, DeclareLaunchArgument)]
    assert len(arguments) > 5
    for argument in arguments:
        assert argument.description.endswith(".") and len(argument.description) > 10, argument.name
    wanted = {"image", "camera_info", "compressed", "engine", "weights", "rviz", "namespace", "cameras"}
    if path == HAND:
        assert wanted <= {argument.name for argument in arguments}


def test_without_arguments_one_node_runs_with_the_parameter_file():
    (node,), _ = run(HAND)
    assert (node.package, node.executable) == ("h2onet_ros", "hand_mesh_node")
    assert node.parameters == [str(CHECKOUT / "config" / "hand.yaml")]


def test_what_is_given_overrides_the_parameter_file():
    names = {"engine": "onnxruntime", "precision": "float32"}
    (node,), _ = run(HAND, **names, compressed="true", depth="false", autostart="false")
    file, given = node.parameters
    assert file.endswith("hand.yaml")
    assert given == names | {"compressed": True, "depth": False, "autostart": False}
    for name, value in given.items():
        assert type(value) is type(getattr(NodeParameters(), name))


def test_several_cameras_get_a_node_and_a_window_each():
    processes, _ = run(HAND, cameras="left, right", namespace="robot", rviz="true", image="image_raw")
    places = [(process.executable, process.namespace) for process in processes]
    assert places == [
        ("hand_mesh_node", "robot/left"),
        ("rviz2", "robot/left"),
        ("hand_mesh_node", "robot/right"),
        ("rviz2", "robot/right"),
    ]
    assert processes[1].arguments[:2] == ["-d", str(CHECKOUT / "config" / "hand.rviz")]


def test_wrong_arguments_are_refused():
    with pytest.raises(LaunchError, match="rviz"):
        run(HAND, rviz="yes")
    with pytest.raises(LaunchError, match="bag was not given"):
        run(BAG)
    with pytest.raises(RuntimeError, match="expected one of video, bag, camera"):
        run(DEMO, video="a.mp4", camera="0")


def test_the_node_of_the_launch_file_answers_in_its_namespace(start_node, peer, hand_frames):
    processes, _ = run(HAND, namespace="robot", image="/front/image_raw", camera_info="/front/camera_info")
    (node,) = processes
    process = start_node(*node.ros_arguments)
    images = peer.node.create_publisher(Image, "/front/image_raw", 10)
    infos = peer.node.create_publisher(CameraInfo, "/front/camera_info", 10)
    hands = peer.collect(HandArray, "/robot/hand_mesh_node/hands")
    assert peer.wait_until(lambda: images.get_subscription_count() and infos.get_subscription_count())
    dialogue = Dialogue(peer)

    def is_answered() -> bool:
        images.publish(rgb_to_image(hand_frames[0], dialogue.next_header()))
        peer.wait_until(lambda: bool(hands), 1.0)
        return bool(hands)

    assert peer.wait_until(is_answered)
    assert process.interrupt() == 0


def test_the_demo_plays_to_the_node_and_shows_it(monkeypatch):
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ROS_DISTRO", "kilted")
    processes, context = run(DEMO, engine="onnxruntime")
    assert [process.executable for process in processes] == ["hand_mesh_node", "rviz2", "camera_player"]
    assert context.environment["FASTDDS_DEFAULT_PROFILES_FILE"].endswith("fastdds_shm.xml")
    from h2onet_ros.ros.camera_player import arguments

    options, _ = arguments(processes[2].arguments)
    assert options.loop and options.video.endswith("demo.mp4")
    assert processes[1].arguments[-1] == options.frame_id
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in run(DEMO, camera="/dev/video0")[1].environment


def test_a_recording_is_played_by_ros2_bag_and_the_hands_are_recorded():
    processes, _ = run(BAG, bag="my_bag", image="/cam/image_raw", record="hands", rviz="false", loop="true")
    commands = [process.cmd for process in processes if isinstance(process, ExecuteProcess)]
    assert commands[0][:5] == ["ros2", "bag", "record", "-o", "hands"]
    assert "/hand_mesh_node/hands" in commands[0]
    assert commands[1][:4] == ["ros2", "bag", "play", "my_bag"] and "--loop" in commands[1]
    (node,) = (process for process in processes if not isinstance(process, ExecuteProcess))
    assert ("image", "/cam/image_raw") in node.remappings
