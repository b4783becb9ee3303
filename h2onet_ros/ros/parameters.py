"""The node's parameters: declared with type, range and description, read once into a plain object."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from h2onet_ros.engines import ENGINE_NAMES
from h2onet_ros.perception.pipeline import PipelineConfig
from h2onet_ros.perception.smoothing import SmoothingConfig
from h2onet_ros.perception.tracker import TrackerConfig


class ParameterError(ValueError):
    """A parameter that the node cannot run with."""


def _parameter(default: Any, description: str, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"description": description, "range": (low, high)})


@dataclass(frozen=True)
class NodeParameters:
    """What can be set, with its default. `docs/node.md` and `config/hand.yaml` list the same."""

    weights: str = _parameter("", "Folder of the weights bundle; empty for the one that comes along.")
    engine: str = _parameter("auto", f"Engine that runs the network: auto, {', '.join(ENGINE_NAMES)}.")
    threads: int = _parameter(1, "Threads of the engine.", 1, 64)
    max_hands: int = _parameter(2, "Hands followed at the same time.", 1, 8)
    palm_threshold: float = _parameter(0.5, "Least score of a palm detection.", 0.05, 1)
    start_presence: float = _parameter(
        0.5, "Least probability that a newly found region shows a hand, for it to be followed.", 0, 1
    )
    min_presence: float = _parameter(
        0.3, "Probability of showing a hand below which a followed region counts as a miss.", 0, 1
    )
    smoothing: float = _parameter(
        1.0, "Strength of the smoothing over time; 0 publishes what the network says.", 0, 10
    )
    compressed: bool = _parameter(
        False, "Subscribe to <image>/compressed (sensor_msgs/CompressedImage) instead of <image>."
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
    publish_vertices: bool = _parameter(True, "Send the meshes in ~/hands.")
    publish_markers: bool = _parameter(True, "Offer ~/markers for RViz.")
    publish_points: bool = _parameter(True, "Offer ~/points, the meshes' vertices as a point cloud.")
    publish_overlay: bool = _parameter(True, "Offer ~/overlay, the image with the hands drawn into it.")


def pipeline_config(parameters: NodeParameters) -> PipelineConfig:
    """The parameters that concern perception, as perception wants them."""
    return PipelineConfig(
        max_hands=parameters.max_hands,
        tracker=TrackerConfig(min_presence=parameters.min_presence, start_presence=parameters.start_presence),
        smoothing=(
            SmoothingConfig(strength=parameters.smoothing)
            if parameters.smoothing > 0
            else SmoothingConfig(enabled=False)
        ),
        palm_threshold=parameters.palm_threshold,
        threads=parameters.threads,
    )


def declare_parameters(node: Node) -> NodeParameters:
    """Declare all parameters on the node and read them.

    Raises:
        ParameterError: for a value of the wrong type or outside its range.
    """
    values = {}
    for parameter in fields(NodeParameters):
        low, high = parameter.metadata["range"]
        descriptor = ParameterDescriptor(description=parameter.metadata["description"], read_only=True)
        if low is not None and isinstance(parameter.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        elif low is not None:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            ]
        try:
            values[parameter.name] = node.declare_parameter(
                parameter.name, parameter.default, descriptor
            ).value
        except ParameterException as error:
            kind = type(parameter.default).__name__
            span = "" if low is None else f" from {low} to {high}"
            raise ParameterError(
                f"parameter {parameter.name}: expected a value of type {kind}{span}; {error}"
            ) from None
    return NodeParameters(**values)
