"""Starts hand_mesh_node for one camera or several, and RViz where asked for.

    ros2 launch h2onet_ros hand.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info rviz:=true
    ros2 launch h2onet_ros hand.launch.py cameras:=left,right image:=image_raw

What an argument leaves empty is taken from the parameter file.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare

OUTPUTS = ("hands", "markers", "points", "overlay", "topology")


def argument(name, default, description, choices=None):
    """A launch argument that `ros2 launch --show-args` explains."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def make_nodes(context):
    """The nodes, once the arguments are known."""
    value = {name: LaunchConfiguration(name).perform(context) for name in context.launch_configurations}
    cameras = [name.strip("/ ") for name in value["cameras"].split(",") if name.strip("/ ")]
    namespaces = [f"{value['namespace'].rstrip('/')}/{name}" for name in cameras] or [value["namespace"]]
    nodes = []
    for namespace in namespaces:
        nodes += [hand_node(value, namespace), rviz(value, namespace)]
    return nodes


def hand_node(value, namespace):
    """The node of one camera. Topics without a leading slash lie in its namespace."""
    given = {name: value[name] for name in ("engine", "precision", "weights") if value[name]}
    given |= {name: value[name] == "true" for name in ("compressed", "depth", "autostart") if value[name]}
    topics = {"image": value["image"], "camera_info": value["camera_info"], "depth": value["depth_image"]}
    return LifecycleNode(
        package="h2onet_ros",
        executable="hand_mesh_node",
        name="hand_mesh_node",
        namespace=namespace,
        output="screen",
        parameters=[value["parameters"], *([given] if given else [])],
        remappings=list(topics.items()),
    )


def rviz(value, namespace):
    """RViz with the layout that comes along, which names the topics of a node without namespace."""
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        namespace=namespace,
        arguments=[
            *("-d", PathJoinSubstitution([FindPackageShare("h2onet_ros"), "config", "hand.rviz"])),
            *("-f", value["frame"]),
        ],
        remappings=[(f"/hand_mesh_node/{name}", f"hand_mesh_node/{name}") for name in OUTPUTS],
        condition=IfCondition(value["rviz"]),
    )


def generate_launch_description():
    """What `ros2 launch` runs."""
    parameters = PathJoinSubstitution([FindPackageShare("h2onet_ros"), "config", "hand.yaml"])
    switch = ["", "true", "false"]
    return LaunchDescription(
        [
            argument("image", "image", "Topic of the camera's images (sensor_msgs/Image)."),
            argument("camera_info", "camera_info", "Topic of its calibration (sensor_msgs/CameraInfo)."),
            argument("compressed", "", "true: subscribe to <image>/compressed instead of <image>.", switch),
            argument("depth", "", "true: use depth images too.", switch),
            argument(
                "depth_image", "depth", "Topic of depth images registered to image (sensor_msgs/Image)."
            ),
            argument("engine", "", "Engine that runs the network, e.g. onnxruntime; auto chooses."),
            argument(
                "precision", "", "Arithmetic of the engine, e.g. float32; auto is the engine's own default."
            ),
            argument("weights", "", "Folder of a weights bundle, or the name of one that comes along."),
            argument("parameters", parameters, "Parameter file of the node."),
            argument(
                "autostart",
                "",
                "false: wait for a lifecycle manager, or ros2 lifecycle set, to configure and activate it.",
                switch,
            ),
            argument("namespace", "", "Namespace of the node and its topics, e.g. the robot's name."),
            argument(
                "cameras",
                "",
                "Namespaces of several cameras with commas between; each gets a node in its namespace.",
            ),
            argument("rviz", "false", "true: start RViz with the hands.", ["true", "false"]),
            argument("frame", "camera", "The camera's optical frame, for RViz."),
            OpaqueFunction(function=make_nodes),
        ]
    )
