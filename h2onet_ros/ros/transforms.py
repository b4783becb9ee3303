"""Wrists and joints as frames on /tf. The one place that knows of tf2, which ROS's PyPI wheels do not hold.

`tf2_ros.TransformBroadcaster` would do no more than publish tf2_msgs/TFMessage on /tf.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from std_msgs.msg import Header

from h2onet_ros.hand.joints import JOINT_NAMES
from h2onet_ros.perception.types import Hand
from h2onet_ros.ros.messages import quaternion_from_rotation

TF_TOPIC = "/tf"
TF_QOS = QoSProfile(reliability=QoSReliabilityPolicy.RELIABLE, history=QoSHistoryPolicy.KEEP_LAST, depth=100)


def tf_message_type() -> type | None:
    """tf2_msgs/TFMessage, or None where it is not installed."""
    if importlib.util.find_spec("tf2_msgs") is None:
        return None
    kind: type = importlib.import_module("tf2_msgs.msg").TFMessage
    return kind


def wrist_frame(hand: Hand, prefix: str = "") -> str:
    """Name of a hand's frame."""
    return f"{prefix}hand_{hand.track_id}"


def hands_to_transforms(
    hands: Sequence[Hand], header: Header, prefix: str = "", with_joints: bool = False
) -> list[TransformStamped]:
    """Frames of the wrists in the camera's, and of the other joints in their wrist's.

    Args:
        hands: of one image.
        header: of that image.
        prefix: what the frames' names begin with.
        with_joints: whether the joints come too; each frame of a joint is turned as the wrist's.
    """
    transforms = []
    for hand in hands:
        name = wrist_frame(hand, prefix)
        transforms.append(
            TransformStamped(
                header=header,
                child_frame_id=name,
                transform=_transform(hand.position, quaternion_from_rotation(hand.rotation)),
            )
        )
        if not with_joints:
            continue
        inside = Header(stamp=header.stamp, frame_id=name)
        in_wrist = (hand.joints - hand.position) @ hand.rotation
        transforms += [
            TransformStamped(
                header=inside,
                child_frame_id=f"{name}/{joint}",
                transform=_transform(position, np.array([0.0, 0.0, 0.0, 1.0])),
            )
            for joint, position in zip(JOINT_NAMES[1:], in_wrist[1:], strict=True)
        ]
    return transforms


def _transform(position: Any, quaternion: Any) -> Transform:
    x, y, z = (float(value) for value in position)
    qx, qy, qz, qw = (float(value) for value in quaternion)
    return Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
