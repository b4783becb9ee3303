"""The node's parameters: declared with type, range and description, checked, read into a plain object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from h2onet_ros.engines import ENGINE_NAMES, PRECISION_NAMES
from h2onet_ros.perception.pipeline import PipelineConfig
from h2onet_ros.perception.smoothing import SmoothingConfig
from h2onet_ros.perception.tracker import TrackerConfig

LIVE, CONFIGURE, START = "live", "configure", "start"
"""When a change counts: at once, when the node is configured the next time, or only when it is started."""


class ParameterError(ValueError):
    """A parameter that the node cannot run with."""


def _parameter(
    default: Any,
    description: str,
    low: float | None = None,
    high: float | None = None,
    *,
    choices: tuple[str, ...] = (),
    when: str = LIVE,
) -> Any:
    metadata = {"description": description, "range": (low, high), "choices": choices, "when": when}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class NodeParameters:
    """What can be set, with its default. `docs/node.md` and `config/hand.yaml` list the same."""

    autostart: bool = _parameter(
        True, "Configure and activate the node when it starts; false leaves that to others.", when=START
    )
    weights: str = _parameter(
        "",
        "Folder of a weights bundle, or the name of one that comes along; empty: as fits the engine.",
        when=CONFIGURE,
    )
    engine: str = _parameter(
        "auto",
        "Engine that runs the network.",
        choices=("auto", *ENGINE_NAMES),
        when=CONFIGURE,
    )
    precision: str = _parameter(
        "auto",
        "Arithmetic of the engine; auto: its own default. Not every engine has each.",
        choices=("auto", *PRECISION_NAMES),
        when=CONFIGURE,
    )
    threads: int = _parameter(1, "Threads of the engine.", 1, 64, when=CONFIGURE)
    max_hands: int = _parameter(2, "Hands followed at the same time.", 1, 8)
    palm_threshold: float = _parameter(0.5, "Least score of a palm detection.", 0.05, 0.99)
    start_presence: float = _parameter(
        0.5, "Least probability that a newly found region shows a hand, for it to be followed.", 0, 1
    )
    min_presence: float = _parameter(
        0.3, "Probability of showing a hand below which a followed region counts as a miss.", 0, 1
    )
    smoothing: float = _parameter(
        1.0, "Strength of the smoothing over time; 0 publishes what the network says.", 0, 10
    )
    image_alignment: float = _parameter(
        0.6, "Share of the way that bones are turned from the mesh's towards the image points'.", 0, 1
    )
    hand_scale: float = _parameter(
        1.0, "Factor on the size of the network's hands; ~/calibrate_hand_scale sets it.", 0.3, 3
    )
    hand_length: float = _parameter(
        0.0,
        "Metres from the wrist's middle along the bones to the tip of the middle finger, of every hand; "
        "0: the network's own size, times hand_scale.",
        0,
        0.4,
    )
    compressed: bool = _parameter(
        False, "Subscribe to <image>/compressed (sensor_msgs/CompressedImage) instead of <image>."
    )
    depth: bool = _parameter(
        False, "Subscribe to depth: images registered to image, which put each wrist at its distance."
    )
    depth_tolerance_s: float = _parameter(
        0.02, "Largest difference between the stamps of an image and the depth image that serves it.", 0, 1
    )
    depth_wait_s: float = _parameter(
        0.03, "Seconds that an image waits for its depth image before it goes on without.", 0, 1
    )
    regions: str = _parameter(
        "detector",
        "Where new hands come from: the node's own palm detector, the topic regions "
        "(h2onet_msgs/HandRegionArray), or the topic detections (vision_msgs/Detection2DArray).",
        choices=("detector", "topic", "detections"),
    )
    region_age_s: float = _parameter(
        0.3, "Given regions count for the next image, unless their stamps differ by more than this.", 0, 10
    )
    rectified: bool = _parameter(
        False, "The images are undistorted (image_rect): use camera_info's P, without distortion."
    )
    assumed_field_of_view_deg: float = _parameter(
        60.0, "Degrees across the image's longer side, assumed of a camera without calibration.", 10, 170
    )
    camera_info_wait_s: float = _parameter(
        0.5, "Seconds to wait for camera_info after the first image before assuming a camera.", 0, 60
    )
    max_wait_s: float = _parameter(
        0.05,
        "Seconds after which a waiting image makes way for a newer one; 0: always the newest.",
        0,
        1,
    )
    input_reliability: str = _parameter(
        "auto",
        "Reliability of the subscriptions to the camera; auto: what its publishers offer.",
        choices=("auto", "reliable", "best_effort"),
    )
    input_depth: int = _parameter(10, "Messages kept by each subscription to the camera.", 1, 100)
    publish_vertices: bool = _parameter(True, "Send the meshes in ~/hands.")
    publish_markers: bool = _parameter(True, "Offer ~/markers for RViz.")
    publish_points: bool = _parameter(True, "Offer ~/points, the meshes' vertices as a point cloud.")
    publish_overlay: bool = _parameter(
        True, "Offer ~/overlay and ~/overlay/compressed, the image with the hands drawn into it."
    )
    publish_tf: str = _parameter(
        "wrist",
        "Frames to send to /tf, where tf2_msgs is installed: none, each wrist, or the joints too.",
        choices=("none", "wrist", "joints"),
    )
    tf_prefix: str = _parameter("", "What the names of these frames begin with.")
    jpeg_quality: int = _parameter(80, "Quality of ~/overlay/compressed.", 1, 100)
    snapshot_folder: str = _parameter(
        "", "Where ~/save_snapshot writes; empty: h2onet_snapshots in ROS's home folder (~/.ros)."
    )

    def __post_init__(self) -> None:
        for parameter in fields(self):
            choices = parameter.metadata["choices"]
            value = getattr(self, parameter.name)
            if choices and value not in choices:
                raise ParameterError(
                    f"parameter {parameter.name}: expected {', '.join(choices[:-1])} or {choices[-1]}, "
                    f"got {value!r}"
                )


def pipeline_config(parameters: NodeParameters) -> PipelineConfig:
    """The parameters that concern perception, as perception wants them.

    Raises:
        ParameterError: for values that are within their ranges but of no use to it.
    """
    smoothing = parameters.smoothing
    try:
        return PipelineConfig(
            max_hands=parameters.max_hands,
            tracker=TrackerConfig(
                min_presence=parameters.min_presence, start_presence=parameters.start_presence
            ),
            smoothing=SmoothingConfig(strength=smoothing) if smoothing else SmoothingConfig(enabled=False),
            palm_threshold=parameters.palm_threshold,
            image_alignment=parameters.image_alignment,
            hand_scale=parameters.hand_scale,
            hand_length=parameters.hand_length or None,
            threads=parameters.threads,
        )
    except ValueError as error:
        raise ParameterError(str(error)) from error


def declare_parameters(node: Node) -> NodeParameters:
    """Declare all parameters on the node and read them.

    Raises:
        ParameterError: for a value of the wrong type, outside its range or choices.
    """
    values = {}
    for parameter in fields(NodeParameters):
        try:
            values[parameter.name] = node.declare_parameter(
                parameter.name, parameter.default, _descriptor(parameter)
            ).value
        except ParameterException as error:
            low, high = parameter.metadata["range"]
            kind = type(parameter.default).__name__
            span = "" if low is None else f" from {low} to {high}"
            raise ParameterError(
                f"parameter {parameter.name}: expected a value of type {kind}{span}; {error}"
            ) from None
    return NodeParameters(**values)


def changed_parameters(
    old: NodeParameters, changes: Iterable[Parameter], is_configured: bool
) -> NodeParameters:
    """The parameters after a change that somebody asks for; those of other owners are passed over.

    Args:
        old: as they are.
        changes: checked already against type and range, as rclpy does before it asks the node.
        is_configured: whether the network is loaded.

    Raises:
        ParameterError: says why the change cannot be made.
    """
    by_name = {parameter.name: parameter for parameter in fields(NodeParameters)}
    new: dict[str, Any] = {}
    for change in changes:
        parameter = by_name.get(change.name)
        if parameter is None:
            continue
        if isinstance(change.value, float) and not _is_in_range(change.value, parameter.metadata):
            raise ParameterError(
                f"parameter {change.name}: expected a number from {parameter.metadata['range'][0]} to "
                f"{parameter.metadata['range'][1]}, got {change.value}"
            )
        if parameter.metadata["when"] == CONFIGURE and is_configured:
            raise ParameterError(
                f"parameter {change.name} is read when the node is configured: deactivate and clean up the "
                "node first (ros2 lifecycle set <node> deactivate, then cleanup), and configure it afterwards"
            )
        new[change.name] = change.value
    return replace(old, **new)


def _is_in_range(value: float, metadata: Mapping[str, Any]) -> bool:
    """rclpy lets NaN pass: no comparison with it is true."""
    low, high = metadata["range"]
    return low is None or low <= value <= high


def _descriptor(parameter: Any) -> ParameterDescriptor:
    metadata = parameter.metadata
    constraints = f"one of: {', '.join(metadata['choices'])}" if metadata["choices"] else ""
    descriptor = ParameterDescriptor(
        description=metadata["description"],
        additional_constraints=constraints,
        read_only=metadata["when"] == START,
    )
    low, high = metadata["range"]
    if low is not None and isinstance(parameter.default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif low is not None:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
        ]
    return descriptor
