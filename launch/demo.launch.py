"""Plays the recording that comes along, a video, a recording or a camera to hand_mesh_node, with RViz.

ros2 launch h2onet_ros demo.launch.py
ros2 launch h2onet_ros demo.launch.py video:=hand.mp4
ros2 launch h2onet_ros demo.launch.py camera:=/dev/video0
"""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

import h2onet_ros

SHARE = FindPackageShare("h2onet_ros")
RECORDING = Path(h2onet_ros.__file__).parent / "assets" / "demo"
FRAME = "camera_optical_frame"
SOURCES = ("video", "bag", "camera")
# Up to Jazzy, Fast DDS knows the old name only.
NEW_NAME, OLD_NAME = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"


def argument(name, default, description, choices=None):
    """A launch argument that `ros2 launch --show-args` explains."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def make_player(context):
    """The camera's stand-in, once the arguments are known."""
    value = {name: LaunchConfiguration(name).perform(context) for name in context.launch_configurations}
    chosen = [name for name in SOURCES if value[name]]
    if len(chosen) > 1:
        raise RuntimeError(
            f"demo.launch.py: expected one of {', '.join(SOURCES)}, got {' and '.join(chosen)}"
        )
    given = [f"--{name}={value[name]}" for name in (*SOURCES, "calibration") if value[name]]
    if not chosen:
        given = [f"--video={RECORDING / 'demo.mp4'}", f"--calibration={RECORDING / 'camera.yaml'}"]
    if value["loop"] == "true" and value["camera"] == "":
        given.append("--loop")
    return [
        Node(
            package="h2onet_ros",
            executable="camera_player",
            name="camera_player",
            output="screen",
            arguments=[*given, f"--frame-id={FRAME}"],
        )
    ]


def generate_launch_description():
    """What `ros2 launch` runs."""
    profile = OLD_NAME if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else NEW_NAME
    is_chosen = os.environ.get(NEW_NAME) or os.environ.get(OLD_NAME)
    passed_on = {name: LaunchConfiguration(name) for name in ("engine", "weights", "rviz")}
    # Without it, Fast DDS loses images between processes of one machine.
    room = SetEnvironmentVariable(profile, PathJoinSubstitution([SHARE, "config", "fastdds_shm.xml"]))
    return LaunchDescription(
        [
            *([] if is_chosen else [room]),
            argument("video", "", "Video file to play; without any source, the recording that comes along."),
            argument("bag", "", "rosbag2 folder, .mcap or .db3 file to play."),
            argument("camera", "", "Camera device to use, as /dev/video0 or 0."),
            argument("calibration", "", "camera_info file (YAML) of the camera."),
            argument("loop", "true", "Play a file again and again.", ["true", "false"]),
            argument("engine", "", "Engine that runs the network, e.g. onnxruntime; auto chooses."),
            argument("weights", "", "Folder of a weights bundle, or the name of one that comes along."),
            argument("rviz", "true", "Start RViz with the hands.", ["true", "false"]),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "hand.launch.py"])),
                launch_arguments={**passed_on, "frame": FRAME}.items(),
            ),
            OpaqueFunction(function=make_player),
        ]
    )
