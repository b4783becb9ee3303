"""Starts hand_mesh_node for one camera, and RViz where asked for.

    ros2 launch h2onet_ros hand.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info rviz:=true

What an argument leaves empty is taken from the parameter file.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

OUTPUTS = ("hands", "markers", "points", "overlay", "topology")


def argument(name, default, description, choices=None):
    """A launch argument that `ros2 launch --show-args` explains."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def make_nodes(context):
    """The nodes, once the arguments are known."""
    value = {name: LaunchConfiguration(name).perform(context) for name in context.launch_configurations}
    given = {name: value[name] for name in ("engine", "weights") if value[name]}
    if value["compressed"]:
        given["compressed"] = value["compressed"] == "true"
    hands = Node(
        package="h2onet_ros",
        executable="hand_mesh_node",
        name="hand_mesh_node",
        namespace=value["namespace"],
        output="screen",
        parameters=[value["parameters"], *([given] if given else [])],
        remappings=[("image", value["image"]), ("camera_info", value["camera_info"])],
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        namespace=value["namespace"],
        arguments=[
            *("-d", PathJoinSubstitution([FindPackageShare("h2onet_ros"), "config", "hand.rviz"])),
            *("-f", value["frame"]),
        ],
        # The layout names the topics of a node without namespace.
        remappings=[(f"/hand_mesh_node/{name}", f"hand_mesh_node/{name}") for name in OUTPUTS],
        condition=IfCondition(value["rviz"]),
    )
    return [hands, rviz]


def generate_launch_description():
    """What `ros2 launch` runs."""
    parameters = PathJoinSubstitution([FindPackageShare("h2onet_ros"), "config", "hand.yaml"])
    return LaunchDescription(
        [
            argument("image", "image", "Topic of the camera's images (sensor_msgs/Image)."),
            argument("camera_info", "camera_info", "Topic of its calibration (sensor_msgs/CameraInfo)."),
            argument(
                "compressed",
                "",
                "true: subscribe to <image>/compressed instead of <image>.",
                ["", "true", "false"],
            ),
            argument("engine", "", "Engine that runs the network, e.g. onnxruntime; auto chooses."),
            argument("weights", "", "Folder of a weights bundle."),
            argument("parameters", parameters, "Parameter file of the node."),
            argument("namespace", "", "Namespace of the node and its topics, e.g. the camera's name."),
            argument("rviz", "false", "true: start RViz with the hands.", ["true", "false"]),
            argument("frame", "camera", "The camera's optical frame, for RViz."),
            OpaqueFunction(function=make_nodes),
        ]
    )
