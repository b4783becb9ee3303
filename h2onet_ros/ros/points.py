"""The hands' vertices as a point cloud."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from h2onet_ros.perception.types import Hand

POINT_TYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("track_id", "<u4"), ("part", "<u4")])
_KINDS = {"<f4": PointField.FLOAT32, "<u4": PointField.UINT32}
_FIELDS = [
    PointField(name=name, offset=POINT_TYPE.fields[name][1], datatype=_KINDS[POINT_TYPE[name].str], count=1)
    for name in POINT_TYPE.names
]


def hands_to_points(hands: Sequence[Hand], vertex_part: np.ndarray, header: Header) -> PointCloud2:
    """All vertices of all hands as one unorganised cloud, with the hand and the part each belongs to.

    Args:
        hands: the hands of one frame.
        vertex_part: `(V,)` index into `hand.joints.PART_NAMES`.
        header: stamp and frame of the image.
    """
    count = len(vertex_part)
    cloud = np.zeros((len(hands), count), POINT_TYPE)
    for row, hand in zip(cloud, hands, strict=True):
        row["x"], row["y"], row["z"] = hand.vertices.T
        row["track_id"] = hand.track_id
        row["part"] = vertex_part
    message = PointCloud2(
        header=header,
        height=1,
        width=cloud.size,
        fields=_FIELDS,
        is_bigendian=False,
        point_step=POINT_TYPE.itemsize,
        row_step=POINT_TYPE.itemsize * cloud.size,
        is_dense=True,
    )
    message.data = array("B", cloud.tobytes())
    return message
