"""The message types of recordings: the common ones of ROS 2, and h2onet_msgs from its .msg text."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from h2onet_ros.bag.errors import BagError

HAND_ARRAY = "h2onet_msgs/msg/HandArray"
MESH_TOPOLOGY = "h2onet_msgs/msg/MeshTopology"
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
MARKER_ARRAY = "visualization_msgs/msg/MarkerArray"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


def message_folder() -> Path:
    """The folder that holds `Hand.msg`, `HandArray.msg` and `MeshTopology.msg`.

    In a checkout it lies beside the package; installed, under `share/` of a sourced ROS workspace or of the
    Python environment. Raises `BagError` where it is in none of them.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = [Path(__file__).parents[2] / "h2onet_msgs" / "msg"]
    folders += [Path(prefix) / "share" / owner / "msg" for prefix in prefixes for owner in _OWNERS]
    for folder in folders:
        if (folder / "HandArray.msg").is_file():
            return folder
    raise BagError(
        "The message definitions of h2onet_msgs were not found; looked in "
        + ", ".join(str(folder) for folder in folders)
        + ". Install h2onet_msgs, or source the workspace it was built in."
    )


_OWNERS = ("h2onet_msgs", "h2onet_ros")


@cache
def _hand_types() -> dict:
    types: dict = {}
    for path in sorted(message_folder().glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(encoding="utf-8"), f"h2onet_msgs/msg/{path.stem}"))
    return types


def create_typestore() -> Typestore:
    """A store that knows the common interfaces of ROS 2 and h2onet_msgs; a new one at each call."""
    store = get_typestore(Stores.LATEST)
    store.register(_hand_types())
    return store
