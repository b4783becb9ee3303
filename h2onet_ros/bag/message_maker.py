"""Messages made and serialised by rosbags, with the fields that are not given as ROS initialises them."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

from h2onet_ros.bag.units import SECOND


class RosbagsMessages:
    """A `hand_markers.MessageMaker` for recordings."""

    def __init__(self, typestore: Typestore) -> None:
        self._store = typestore
        self._types: dict[str, Any] = dict(typestore.types)

    def make(self, message_type: str, **fields: Any) -> Any:
        """A message with the given fields, the others zero, empty or false."""
        _, definitions = self._store.fielddefs[message_type]
        defaults = {name: self._default(kind) for name, kind in definitions if name not in fields}
        return self._types[message_type](**fields, **defaults)

    def header(self, stamp: int, frame_id: str) -> Any:
        """A `std_msgs/Header`; `stamp` in nanoseconds."""
        time = self.make(
            "builtin_interfaces/msg/Time", **dict(zip(("sec", "nanosec"), divmod(stamp, SECOND)))
        )
        return self.make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)

    def serialise(self, message: Any, message_type: str) -> bytes:
        return bytes(self._store.serialize_cdr(message, message_type))

    def _default(self, kind: Any) -> Any:
        node, what = kind
        if node == Nodetype.NAME:
            return self.make(what)
        if node == Nodetype.BASE:
            return _zero(what[0])
        (inner_node, inner), length = what
        count = length if node == Nodetype.ARRAY else 0
        if inner_node == Nodetype.NAME or inner[0] == "string":
            return [self._default((inner_node, inner)) for _ in range(count)]
        return np.zeros(count, _DTYPES.get(inner[0], inner[0]))


_DTYPES = {"octet": "uint8", "byte": "uint8", "char": "uint8"}


def _zero(kind: str) -> Any:
    if kind == "string":
        return ""
    if kind == "bool":
        return False
    return 0.0 if kind.startswith("float") else 0
