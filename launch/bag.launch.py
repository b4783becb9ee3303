"""Plays a recording with `ros2 bag play` to hand_mesh_node, and records the hands where asked for.

ros2 launch h2onet_ros bag.launch.py bag:=my_recording image:=/camera/image_raw record:=hands
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("h2onet_ros")
PASSED_ON = ("image", "camera_info", "compressed", "engine", "weights", "rviz", "frame")
RECORDED = ("hands", "topology")


def argument(name, default, description, choices=None):
    """A launch argument that `ros2 launch --show-args` explains."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def make_processes(context):
    """`ros2 bag`, once the arguments are known."""
    value = {name: LaunchConfiguration(name).perform(context) for name in context.launch_configurations}
    # Paused for a moment: the first images would come before the node has loaded its network.
    play = ["ros2", "bag", "play", value["bag"], "--rate", value["rate"], "--delay", value["delay"]]
    if value["loop"] == "true":
        play.append("--loop")
    player = ExecuteProcess(cmd=play, output="screen")
    processes = [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[Shutdown()]))]
    if value["record"]:
        topics = [f"/hand_mesh_node/{name}" for name in RECORDED]
        processes.insert(
            0, ExecuteProcess(cmd=["ros2", "bag", "record", "-o", value["record"], *topics], output="screen")
        )
    return processes


def generate_launch_description():
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 folder or file to play."),
            argument("image", "image", "Topic of the images in the recording (sensor_msgs/Image)."),
            argument("camera_info", "camera_info", "Topic of their calibration (sensor_msgs/CameraInfo)."),
            argument("compressed", "", "true: the images are on <image>/compressed.", ["", "true", "false"]),
            argument("rate", "1.0", "Speed of playing."),
            argument("delay", "3.0", "Seconds to wait for the node before playing."),
            argument("loop", "false", "Play again and again.", ["true", "false"]),
            argument("record", "", "Folder to record hands and topology to; empty: do not record."),
            argument("engine", "", "Engine that runs the network, e.g. onnxruntime; auto chooses."),
            argument("weights", "", "Folder of a weights bundle, or the name of one that comes along."),
            argument("rviz", "true", "Start RViz with the hands.", ["true", "false"]),
            argument("frame", "camera", "The camera's optical frame, for RViz."),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "hand.launch.py"])),
                launch_arguments={name: LaunchConfiguration(name) for name in PASSED_ON}.items(),
            ),
            OpaqueFunction(function=make_processes),
        ]
    )
