"""`h2onet_msgs/HandArray` -> `FrameResult`.

The messages are known by their fields, so that those of rclpy and of rosbags serve alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.types import FrameResult, Hand, Region

LEFT, RIGHT = 0, 1
"""Values of `h2onet_msgs/Hand.handedness`."""

NANOSECONDS = 1_000_000_000

TIMING_FIELDS = {
    "detect": "detection_time",
    "crop": "crop_time",
    "encode": "encode_time",
    "fuse": "fusion_time",
    "place": "placement_time",
    "total": "processing_time",
}
"""`FrameResult.timings` and the fields of `HandArray` that hold them."""


def stamp_from_message(time: Any) -> int:
    """The stamp in nanoseconds of a ROS time."""
    return int(time.sec * NANOSECONDS + time.nanosec)


def quaternion_from_rotation(rotation: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit quaternion `(4,)` x, y, z, w with w >= 0 of a rotation matrix `(3, 3)`.

    The eigenvector form of Bar-Itzhack (2000): also the nearest rotation of a slightly skewed matrix.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = np.asarray(rotation, np.float64)
    symmetric = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    quaternion = np.linalg.eigh(symmetric)[1][:, -1]
    return quaternion if quaternion[3] >= 0 else -quaternion


def rotation_from_quaternion(quaternion: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Rotation matrix `(3, 3)` of a unit quaternion x, y, z, w."""
    x, y, z, w = (float(value) for value in quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def hand_from_message(message: Any) -> Hand:
    """The hand of one message; `vertices` is `(0, 3)` where the message has none.

    Raises:
        ValueError: for a message whose fields are not those of a hand.
    """
    wrist, turn = message.wrist.position, message.wrist.orientation
    if message.handedness not in (LEFT, RIGHT):
        raise ValueError(f"Hand.handedness: expected 0 (left) or 1 (right), got {message.handedness}")
    if len(message.vertices) % 3:
        raise ValueError(f"Hand.vertices: expected three numbers a vertex, got {len(message.vertices)}")
    return Hand(
        track_id=message.track_id,
        handedness="left" if message.handedness == LEFT else "right",
        handedness_score=message.handedness_score,
        detection_score=message.detection_score,
        region=Region(message.region_x, message.region_y, message.region_size, message.region_angle),
        position=np.array([wrist.x, wrist.y, wrist.z], np.float32),
        rotation=rotation_from_quaternion((turn.x, turn.y, turn.z, turn.w)).astype(np.float32),
        joints=np.array([(point.x, point.y, point.z) for point in message.joints], np.float32),
        vertices=np.array(message.vertices, np.float32).reshape(-1, 3),
        occlusion=np.array(message.occlusion, np.float32),
        image_points=np.array(message.image_points, np.float32).reshape(21, 2),
        reprojection_error=message.reprojection_error,
    )


def hands_from_message(message: Any) -> FrameResult:
    """The frame's result as it was before it became a `h2onet_msgs/HandArray`."""
    return FrameResult(
        stamp=stamp_from_message(message.header.stamp),
        frame_id=message.header.frame_id,
        hands=tuple(hand_from_message(hand) for hand in message.hands),
        timings={stage: float(getattr(message, field)) for stage, field in TIMING_FIELDS.items()},
    )
