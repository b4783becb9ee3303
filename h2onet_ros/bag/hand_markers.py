"""Hands as RViz markers: mesh, skeleton, joints and a label for each, coloured by what is hidden.

The messages are made by whoever has the message types: rclpy in the node, rosbags for recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.serialised import Sentinels, SerialisedMessage
from h2onet_ros.bag.units import SECOND
from h2onet_ros.hand.joints import JOINT_NAMES, PART_NAMES, SKELETON
from h2onet_ros.perception.draw import part_colours
from h2onet_ros.perception.types import Hand

NAMESPACES = ("mesh", "skeleton", "joints", "label")
"""Namespaces of the markers; the marker's id is the hand's track id."""

LABEL_LENGTH = 24
BONE_WIDTH, JOINT_SIZE, LABEL_HEIGHT = 0.003, 0.008, 0.015
LABEL_GAP = 0.02
"""Metres between a hand's highest point (y points down) and its label."""
LIFETIME_S = 1

# visualization_msgs/msg/Marker
_LINE_LIST, _SPHERE_LIST, _TEXT_VIEW_FACING, _TRIANGLE_LIST = 5, 7, 9, 11
_DELETE = 2

_JOINT_PART = np.array(
    [PART_NAMES.index("palm" if name == "wrist" else name.rsplit("_", 1)[0]) for name in JOINT_NAMES]
)


class MessageMaker(Protocol):
    """Makes messages of ROS types such as "geometry_msgs/msg/Point"."""

    def make(self, message_type: str, **fields: Any) -> Any:
        """A message with the given fields, the others as ROS initialises them."""
        ...

    def serialise(self, message: Any, message_type: str) -> bytes: ...


def part_colors(hand: Hand) -> NDArray[np.float32]:
    """RGBA `(6, 4)`, 0 to 1, of thumb..little and palm: the overlay's colours. Unknown counts as seen."""
    return np.column_stack(
        [part_colours(np.nan_to_num(hand.occlusion)) / 255, np.ones(len(PART_NAMES), np.float32)]
    )


@dataclass
class _HandViews:
    """Writable views of one hand's part of the message."""

    stamps: list[NDArray[Any]]
    ids: list[NDArray[Any]]
    mesh_points: NDArray[np.float64]
    mesh_colors: NDArray[np.float32]
    bone_points: NDArray[np.float64]
    bone_colors: NDArray[np.float32]
    joint_points: NDArray[np.float64]
    joint_colors: NDArray[np.float32]
    label_position: NDArray[np.float64]
    label: NDArray[np.uint8]


@dataclass
class _Template:
    """A message for a number of hands and a number of hands to delete."""

    message: SerialisedMessage
    hands: list[_HandViews]
    deleted_stamps: list[NDArray[Any]]
    deleted_ids: list[list[NDArray[Any]]]


class HandMarkers:
    """Makes the MarkerArray of each frame, serialised, and deletes the markers of hands that are gone.

    Args:
        faces: `(F, 3)` of the right hand's mesh.
        face_part: `(F,)` part of each face.
        messages: makes and serialises them.
    """

    def __init__(
        self, faces: NDArray[np.integer], face_part: NDArray[np.integer], messages: MessageMaker
    ) -> None:
        self._faces = {"right": faces.astype(np.int64), "left": faces[:, ::-1].astype(np.int64)}
        self._face_part = face_part
        self._messages = messages
        self._shown: tuple[int, ...] = ()
        self._templates: dict[tuple[str, int, int], _Template] = {}

    def build(self, hands: Sequence[Hand], stamp: int, frame_id: str) -> bytes | None:
        """The serialised MarkerArray of one frame; None where there is nothing to show or to delete.

        Args:
            hands: the hands of the frame.
            stamp: the frame's stamp in nanoseconds.
            frame_id: the frame's camera frame.
        """
        ids = tuple(hand.track_id for hand in hands)
        gone = [track_id for track_id in self._shown if track_id not in ids]
        self._shown = ids
        if not ids and not gone:
            return None
        template = self._template(frame_id, len(ids), len(gone))
        time = divmod(stamp, SECOND)
        for views, hand in zip(template.hands, hands, strict=True):
            for view in views.stamps:
                view[:] = time
            self._fill(views, hand)
        for view in template.deleted_stamps:
            view[:] = time
        for id_views, track_id in zip(template.deleted_ids, gone, strict=True):
            for view in id_views:
                view[...] = track_id
        return template.message.to_bytes()

    def _fill(self, views: _HandViews, hand: Hand) -> None:
        for view in views.ids:
            view[...] = hand.track_id
        colors = part_colors(hand)
        views.mesh_points[:] = hand.vertices[self._faces[hand.handedness]]
        views.mesh_colors[:] = colors[self._face_part, None]
        views.bone_points[:] = hand.joints[SKELETON]
        views.bone_colors[:] = colors[_JOINT_PART[SKELETON[:, 1]], None] * [0.6, 0.6, 0.6, 1.0]
        views.joint_points[:] = hand.joints
        views.joint_colors[:] = colors[_JOINT_PART]
        left, top, near = hand.vertices.min(axis=0)
        right = hand.vertices[:, 0].max()
        views.label_position[:] = (left + right) / 2, top - LABEL_GAP, near
        # The label's length is fixed; centred, its padding does not show.
        label = f"{hand.handedness} {hand.track_id}  {hand.detection_score:.2f}"
        views.label[:] = np.frombuffer(label.center(LABEL_LENGTH)[:LABEL_LENGTH].encode(), np.uint8)

    def _template(self, frame_id: str, hands: int, deleted: int) -> _Template:
        key = (frame_id, hands, deleted)
        if key not in self._templates:
            # Few keys are ever in use: a camera has one frame, and hands come and go singly.
            if len(self._templates) >= 16:
                self._templates.clear()
            self._templates[key] = _make_template(
                self._messages, frame_id, hands, deleted, len(self._faces["right"])
            )
        return self._templates[key]


def _make_template(
    messages: MessageMaker, frame_id: str, hands: int, deleted: int, face_count: int
) -> _Template:
    sentinels = Sentinels()
    make = messages.make
    markers: list[Any] = []

    def marker(namespace: str, **fields: Any) -> Any:
        lifetime = make("builtin_interfaces/msg/Duration", sec=LIFETIME_S)
        new = make(
            "visualization_msgs/msg/Marker", ns=namespace, id=sentinels.int32(), lifetime=lifetime, **fields
        )
        new.header.frame_id = frame_id
        new.header.stamp.sec = sentinels.int32()
        markers.append(new)
        return new

    def vector(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Any:
        return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def listed(namespace: str, kind: int, size: Any, points: int) -> Any:
        first = make("geometry_msgs/msg/Point", x=sentinels.float64())
        color = make("std_msgs/msg/ColorRGBA", r=sentinels.float32())
        return marker(
            namespace,
            type=kind,
            scale=size,
            points=[first, *[make("geometry_msgs/msg/Point")] * (points - 1)],
            colors=[color, *[make("std_msgs/msg/ColorRGBA")] * (points - 1)],
        )

    groups = []
    for _ in range(hands):
        mesh = listed("mesh", _TRIANGLE_LIST, vector(1.0, 1.0, 1.0), 3 * face_count)
        bones = listed("skeleton", _LINE_LIST, vector(BONE_WIDTH), 2 * len(SKELETON))
        joints = listed("joints", _SPHERE_LIST, vector(*[JOINT_SIZE] * 3), len(JOINT_NAMES))
        label = marker(
            "label",
            type=_TEXT_VIEW_FACING,
            scale=vector(z=LABEL_HEIGHT),
            color=make("std_msgs/msg/ColorRGBA", r=1.0, g=1.0, b=1.0, a=1.0),
            text=sentinels.text(LABEL_LENGTH),
        )
        label.pose.position.x = sentinels.float64()
        groups.append((mesh, bones, joints, label))
    deletions = [[marker(name, action=_DELETE) for name in NAMESPACES] for _ in range(deleted)]

    array = make("visualization_msgs/msg/MarkerArray", markers=markers)
    message = SerialisedMessage(messages.serialise(array, "visualization_msgs/msg/MarkerArray"))

    def stamp(of: Any) -> NDArray[Any]:
        return message.view(of.header.stamp.sec, "<i4", (2,))

    def points(of: Any, *shape: int) -> NDArray[Any]:
        return message.view(of.points[0].x, "<f8", (*shape, 3))

    def colors(of: Any, *shape: int) -> NDArray[Any]:
        return message.view(of.colors[0].r, "<f4", (*shape, 4))

    views = [
        _HandViews(
            stamps=[stamp(one) for one in group],
            ids=[message.view(one.id, "<i4") for one in group],
            mesh_points=points(group[0], face_count, 3),
            mesh_colors=colors(group[0], face_count, 3),
            bone_points=points(group[1], len(SKELETON), 2),
            bone_colors=colors(group[1], len(SKELETON), 2),
            joint_points=points(group[2], len(JOINT_NAMES)),
            joint_colors=colors(group[2], len(JOINT_NAMES)),
            label_position=message.view(group[3].pose.position.x, "<f8", (3,)),
            label=message.view(group[3].text, "u1", (LABEL_LENGTH,)),
        )
        for group in groups
    ]
    return _Template(
        message,
        views,
        deleted_stamps=[stamp(one) for group in deletions for one in group],
        deleted_ids=[[message.view(one.id, "<i4") for one in group] for group in deletions],
    )
