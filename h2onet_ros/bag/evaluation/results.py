"""The recording of what an evaluation found: hands, markers, frames, and the camera if wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rosbags.typesys.store import Typestore

from h2onet_ros.bag.cdr import header_stamp
from h2onet_ros.bag.hand_markers import HandMarkers
from h2onet_ros.bag.hands import HandSerialiser
from h2onet_ros.bag.message_maker import RosbagsMessages
from h2onet_ros.bag.message_types import CAMERA_INFO, HAND_ARRAY, MARKER_ARRAY, MESH_TOPOLOGY
from h2onet_ros.bag.reader import BagReader, Message
from h2onet_ros.bag.writer import BagWriter
from h2onet_ros.engines.bundle import WeightsBundle
from h2onet_ros.perception.hand_message import (
    hands_from_message,
    quaternion_from_rotation,
    rotation_from_quaternion,
)
from h2onet_ros.perception.types import FrameResult, Hand

HANDS_TOPIC, TOPOLOGY_TOPIC = "/hand_mesh_node/hands", "/hand_mesh_node/topology"
MARKERS_TOPIC, TF_TOPIC = "/hand_mesh_node/markers", "/tf"
"""The node's names, so that what displays the node's hands displays these."""

_FLUSH_SIZE, _FLUSH_SECONDS = 8 << 20, 10.0
TF_MESSAGE = "tf2_msgs/msg/TFMessage"


class ResultsBag:
    """Writes `hands.mcap`.

    Args:
        path: the file.
        typestore: knows all types that are written.
        bundle: the weights, whose mesh the hands have.
        image_topic: name and type of the images to copy, or None.
        info_topic: name of their camera info, if there is one.
    """

    def __init__(
        self,
        path: Path,
        typestore: Typestore,
        bundle: WeightsBundle,
        image_topic: tuple[str, str] | None = None,
        info_topic: str | None = None,
    ) -> None:
        self._serialiser = HandSerialiser(typestore)
        self._messages = RosbagsMessages(typestore)
        mesh = bundle.topology
        self._bundle = bundle
        self._markers = HandMarkers(mesh.faces, mesh.face_part, self._messages)
        self._with_images = image_topic is not None
        self._last_info: Message | None = None
        self._is_empty = True
        # Markers repeat each vertex for each of its faces: they shrink to a fifth.
        self._bag = BagWriter(path, typestore, "lz4", flush_size=_FLUSH_SIZE, flush_seconds=_FLUSH_SECONDS)
        self._bag.add_topic(TOPOLOGY_TOPIC, MESH_TOPOLOGY, latched=True)
        self._bag.add_topic(HANDS_TOPIC, HAND_ARRAY)
        self._bag.add_topic(MARKERS_TOPIC, MARKER_ARRAY)
        self._bag.add_topic(TF_TOPIC, TF_MESSAGE)
        if image_topic:
            self._bag.add_topic(*image_topic)
            if info_topic:
                self._bag.add_topic(info_topic, CAMERA_INFO)

    def add(
        self, image: Message, camera_info: Message | None, size: tuple[int, int], result: FrameResult
    ) -> None:
        """Append what was found in an image of `size` (width, height), at the time it was recorded.

        Raises:
            BagError: where it cannot be written; DiskFullError for want of room.
        """
        time = image.time
        if self._is_empty:
            name = self._bundle.info.name
            topology = self._serialiser.topology(self._bundle.topology, name, result.stamp)
            self._bag.write(TOPOLOGY_TOPIC, time, topology)
            self._is_empty = False
        if self._with_images:
            if camera_info is not None and camera_info is not self._last_info:
                self._bag.write(camera_info.topic, time, camera_info.data)
                self._last_info = camera_info
            self._bag.write(image.topic, time, image.data)
        self._bag.write(HANDS_TOPIC, time, self._serialiser.hands(result, size))
        markers = self._markers.build(result.hands, result.stamp, result.frame_id)
        if markers is not None:
            self._bag.write(MARKERS_TOPIC, time, markers)
        if result.hands:
            self._bag.write(TF_TOPIC, time, self._transforms(result))

    def flush(self) -> None:
        self._bag.flush()

    def close(self) -> None:
        self._bag.close()

    def _transforms(self, result: FrameResult) -> bytes:
        """Frames `hand_<track id>` at the wrists, in the camera's, as the node broadcasts them."""
        make = self._messages.make

        def transform(hand: Hand) -> object:
            x, y, z = hand.position.tolist()
            qx, qy, qz, qw = quaternion_from_rotation(hand.rotation).tolist()
            return make(
                "geometry_msgs/msg/TransformStamped",
                header=self._messages.header(result.stamp, result.frame_id),
                child_frame_id=f"hand_{hand.track_id}",
                transform=make(
                    "geometry_msgs/msg/Transform",
                    translation=make("geometry_msgs/msg/Vector3", x=x, y=y, z=z),
                    rotation=make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
                ),
            )

        message = make(TF_MESSAGE, transforms=[transform(hand) for hand in result.hands])
        return self._messages.serialise(message, TF_MESSAGE)


def read_results(path: Path, stamps: Sequence[int] | None = None) -> Iterator[FrameResult]:
    """The hands of a results bag, image by image; of the given stamps (ns) only, or of all.

    Raises:
        BagError: for a bag that is none or is damaged.
    """
    wanted = None if stamps is None else set(stamps)
    with BagReader(path) as bag:
        for message in bag.messages([HANDS_TOPIC]):
            if wanted is None or header_stamp(message.data) in wanted:
                content = bag.deserialize(message)
                result = hands_from_message(content)
                yield replace(result, hands=tuple(map(_precisely, result.hands, content.hands)))


def _precisely(hand: Hand, message: Any) -> Hand:
    """The hand with a rotation so precise that it is written again as it was read."""
    turn = message.wrist.orientation
    rotation = rotation_from_quaternion((turn.x, turn.y, turn.z, turn.w))
    return replace(hand, rotation=rotation)  # type: ignore[arg-type]
