"""The node's markers: `bag.hand_markers` with rclpy's messages."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rclpy.serialization import serialize_message

from h2onet_ros.bag import hand_markers
from h2onet_ros.ros.messages import Topology


class _RclpyMessages:
    def make(self, message_type: str, **fields: Any) -> Any:
        package, _, name = message_type.split("/")
        return getattr(import_module(f"{package}.msg"), name)(**fields)

    def serialise(self, message: Any, message_type: str) -> bytes:
        return bytes(serialize_message(message))


class HandMarkers(hand_markers.HandMarkers):
    """Makes the serialised MarkerArray of each frame.

    Args:
        topology: faces and parts of the mesh.
    """

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology.faces, topology.face_part, _RclpyMessages())
