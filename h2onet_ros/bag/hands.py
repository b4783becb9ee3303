"""Hands of a pipeline -> serialised messages of a recording, without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.typesys.store import Typestore

from h2onet_ros.bag.message_maker import RosbagsMessages
from h2onet_ros.bag.message_types import HAND_ARRAY, MESH_TOPOLOGY
from h2onet_ros.hand.joints import JOINT_NAMES, OCCLUSION_NAMES, PART_NAMES, SKELETON
from h2onet_ros.hand.model import HandModel
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.perception.hand_message import LEFT, RIGHT, TIMING_FIELDS, quaternion_from_rotation
from h2onet_ros.perception.types import FrameResult, Hand


class HandSerialiser:
    """Makes the messages that the node would publish, byte by byte as rosbags writes them."""

    def __init__(self, typestore: Typestore) -> None:
        self._store = typestore
        self._types: dict[str, Any] = dict(typestore.types)
        self._header = RosbagsMessages(typestore).header

    def hands(self, result: FrameResult, image_size: tuple[int, int]) -> bytes:
        """A serialised `HandArray`; latency and skipped images are zero, as nothing is live here.

        Args:
            result: what the pipeline found in an image.
            image_size: width and height of the image in pixels.
        """
        times = {field: float(result.timings.get(stage, 0.0)) for stage, field in TIMING_FIELDS.items()}
        message = self._types[HAND_ARRAY](
            header=self._header(result.stamp, result.frame_id),
            image_width=image_size[0],
            image_height=image_size[1],
            hands=[self._hand(hand) for hand in result.hands],
            skipped_images=0,
            **times,
            latency=0.0,
        )
        return bytes(self._store.serialize_cdr(message, HAND_ARRAY))

    def topology(self, topology: HandTopology | HandModel, weights: str, stamp: int) -> bytes:
        """A serialised `MeshTopology`; `stamp` in nanoseconds."""
        message = self._types[MESH_TOPOLOGY](
            header=self._header(stamp, ""),
            weights=weights,
            vertex_count=len(topology.template),
            faces=topology.faces.astype(np.uint32).ravel(),
            vertex_parts=topology.vertex_part.astype(np.uint8),
            face_parts=topology.face_part.astype(np.uint8),
            part_names=list(PART_NAMES),
            occlusion_names=list(OCCLUSION_NAMES),
            joint_names=list(JOINT_NAMES),
            skeleton=SKELETON.astype(np.uint32).ravel(),
        )
        return bytes(self._store.serialize_cdr(message, MESH_TOPOLOGY))

    def _hand(self, hand: Hand) -> Any:
        point = self._types["geometry_msgs/msg/Point"]
        pose = self._types["geometry_msgs/msg/Pose"](
            position=point(*hand.position.tolist()),
            orientation=self._types["geometry_msgs/msg/Quaternion"](
                *quaternion_from_rotation(hand.rotation).tolist()
            ),
        )
        return self._types["h2onet_msgs/msg/Hand"](
            track_id=hand.track_id,
            handedness=LEFT if hand.handedness == "left" else RIGHT,
            handedness_score=float(hand.handedness_score),
            detection_score=float(hand.detection_score),
            region_x=float(hand.region.x),
            region_y=float(hand.region.y),
            region_size=float(hand.region.size),
            region_angle=float(hand.region.angle),
            wrist=pose,
            joints=[point(*joint) for joint in hand.joints.tolist()],
            vertices=np.asarray(hand.vertices, np.float32).ravel(),
            occlusion=np.asarray(hand.occlusion, np.float32),
            image_points=np.asarray(hand.image_points, np.float32).ravel(),
            reprojection_error=float(hand.reprojection_error),
        )
