"""Hands as arrays <-> hands as ROS messages. The messages' fields are documented in `h2onet_msgs/msg`."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from numpy.typing import NDArray
from std_msgs.msg import Header

from h2onet_msgs.msg import Hand as HandMessage
from h2onet_msgs.msg import HandArray, MeshTopology
from h2onet_ros.hand.joints import JOINT_NAMES, OCCLUSION_NAMES, PART_NAMES, SKELETON
from h2onet_ros.perception.hand_message import (
    NANOSECONDS,
    TIMING_FIELDS,
    hand_from_message,
    hands_from_message,
    quaternion_from_rotation,
    rotation_from_quaternion,
    stamp_from_message,
)
from h2onet_ros.perception.types import FrameResult, Hand

__all__ = [
    "NANOSECONDS",
    "TIMING_FIELDS",
    "Topology",
    "hand_from_message",
    "hand_to_message",
    "hands_from_message",
    "hands_to_message",
    "quaternion_from_rotation",
    "rotation_from_quaternion",
    "stamp_from_message",
    "stamp_to_message",
    "topology_from_message",
    "topology_to_message",
]


def stamp_to_message(stamp: int) -> Time:
    """The ROS time of a stamp in nanoseconds."""
    seconds, nanoseconds = divmod(stamp, NANOSECONDS)
    return Time(sec=seconds, nanosec=nanoseconds)


def hand_to_message(hand: Hand, with_vertices: bool = True) -> HandMessage:
    """The message of one hand; `with_vertices=False` leaves the mesh out."""
    x, y, z = hand.position.tolist()
    qx, qy, qz, qw = quaternion_from_rotation(hand.rotation).tolist()
    message = HandMessage(
        track_id=hand.track_id,
        handedness=HandMessage.LEFT if hand.handedness == "left" else HandMessage.RIGHT,
        handedness_score=float(hand.handedness_score),
        detection_score=float(hand.detection_score),
        region_x=float(hand.region.x),
        region_y=float(hand.region.y),
        region_size=float(hand.region.size),
        region_angle=float(hand.region.angle),
        wrist=Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw)),
        joints=[Point(x=x, y=y, z=z) for x, y, z in hand.joints.tolist()],
        occlusion=np.asarray(hand.occlusion, np.float32),
        image_points=np.asarray(hand.image_points, np.float32).ravel(),
        reprojection_error=float(hand.reprojection_error),
    )
    if with_vertices:
        message.vertices = array("f", np.asarray(hand.vertices, np.float32).tobytes())
    return message


def hands_to_message(
    result: FrameResult,
    image_size: tuple[int, int],
    skipped_images: int = 0,
    with_vertices: bool = True,
) -> HandArray:
    """The message of one frame's hands, without `latency`, which is known only when it is published.

    Args:
        result: what the pipeline found.
        image_size: width and height of the image in pixels.
        skipped_images: images passed over since the last message.
        with_vertices: whether the meshes go along.
    """
    message = HandArray(
        header=Header(stamp=stamp_to_message(result.stamp), frame_id=result.frame_id),
        image_width=image_size[0],
        image_height=image_size[1],
        hands=[hand_to_message(hand, with_vertices) for hand in result.hands],
        skipped_images=skipped_images,
    )
    for stage, field in TIMING_FIELDS.items():
        setattr(message, field, float(result.timings.get(stage, 0.0)))
    return message


@dataclass(frozen=True, eq=False)
class Topology:
    """What a mesh needs besides its vertices.

    Attributes:
        weights: name of the weights bundle.
        faces: `(F, 3)` int32 vertex indices, counter-clockwise from outside on a right hand.
        vertex_part: `(V,)` uint8 index into `hand.joints.PART_NAMES`.
        face_part: `(F,)` uint8, likewise.
    """

    weights: str
    faces: NDArray[np.int32]
    vertex_part: NDArray[np.uint8]
    face_part: NDArray[np.uint8]


def topology_to_message(topology: Topology, stamp: int) -> MeshTopology:
    """The latched message that describes the mesh; `stamp` in nanoseconds."""
    return MeshTopology(
        header=Header(stamp=stamp_to_message(stamp)),
        weights=topology.weights,
        vertex_count=len(topology.vertex_part),
        faces=array("I", np.asarray(topology.faces, np.uint32).tobytes()),
        vertex_parts=array("B", np.asarray(topology.vertex_part, np.uint8).tobytes()),
        face_parts=array("B", np.asarray(topology.face_part, np.uint8).tobytes()),
        part_names=list(PART_NAMES),
        occlusion_names=list(OCCLUSION_NAMES),
        joint_names=list(JOINT_NAMES),
        skeleton=array("I", SKELETON.astype(np.uint32).tobytes()),
    )


def topology_from_message(message: MeshTopology) -> Topology:
    """The topology as it was before `topology_to_message`.

    Raises:
        ValueError: if the message contradicts itself.
    """
    faces = np.array(message.faces, np.int64)
    vertex_part = np.array(message.vertex_parts, np.uint8)
    face_part = np.array(message.face_parts, np.uint8)
    if len(faces) != 3 * len(face_part) or len(vertex_part) != message.vertex_count:
        raise ValueError(
            f"MeshTopology: expected {message.vertex_count} vertex parts and three indices for each of the "
            f"{len(face_part)} face parts, got {len(vertex_part)} and {len(faces)}"
        )
    if len(faces) and faces.max() >= message.vertex_count:
        raise ValueError(
            f"MeshTopology.faces: expected indices below {message.vertex_count}, got {faces.max()}"
        )
    return Topology(message.weights, faces.reshape(-1, 3).astype(np.int32), vertex_part, face_part)
