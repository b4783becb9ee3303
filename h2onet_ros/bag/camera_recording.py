"""Writing what one camera saw as a recording: images, camera info; where known, depth and hands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys.store import Typestore

from h2onet_ros.bag.calibration import Calibration
from h2onet_ros.bag.evaluation.settings import TRUTH_TOPIC
from h2onet_ros.bag.hands import HandSerialiser
from h2onet_ros.bag.image_folder import ImageFolderSource, untouched
from h2onet_ros.bag.image_messages import ImageSerialiser
from h2onet_ros.bag.message_types import CAMERA_INFO, COMPRESSED_IMAGE, HAND_ARRAY, IMAGE, MESH_TOPOLOGY
from h2onet_ros.bag.sources import VideoSource
from h2onet_ros.hand.model import HandModel
from h2onet_ros.perception.types import FrameResult

ImageForm = Literal["raw", "jpeg", "png"]
TRUTH_TOPOLOGY_TOPIC = "/ground_truth/topology"
DEPTH_NAME = "aligned_depth_to_color/image_raw"
"""Beside the camera's other topics; depth registered to the image (REP 118), as depth cameras name it."""


@dataclass(frozen=True, eq=False)
class Moment:
    """What there is to record of one moment.

    Attributes:
        time: nanoseconds since the first image.
        bgr: `(H, W, 3)` uint8.
        file: the picture's file, where it has one of its own.
        depth: `(H, W)` metres registered to the image, 0 where unknown.
        truth: the hands that are there; its stamp is not used.
    """

    time: int
    bgr: NDArray[np.uint8]
    file: Path | None = None
    depth: NDArray[np.float32] | None = None
    truth: FrameResult | None = None


class Footage(Protocol):
    """Where moments come from.

    Attributes:
        description: in words.
        frame_rate: images a second.
        frame_count: how many there are, None where nobody knows.
        size: width and height in pixels.
        mesh: the model of the hands that are known, or None where none are.
        has_depth: whether the moments have depth.
        problems: what could not be read so far, one sentence each.
    """

    description: str
    frame_rate: float
    frame_count: int | None
    size: tuple[int, int]
    mesh: HandModel | None
    has_depth: bool

    @property
    def problems(self) -> list[str]: ...

    def moments(self) -> Iterator[Moment]: ...


class SourceFootage:
    """A video or a folder of pictures, at its own pace or at another one.

    Args:
        source: a file's images.
        frame_rate: images a second, in place of the source's.
    """

    mesh: HandModel | None = None
    has_depth = False

    def __init__(self, source: VideoSource | ImageFolderSource, frame_rate: float | None = None) -> None:
        self._source = source
        self._pace = source.frame_rate / frame_rate if frame_rate else 1.0
        self.description = source.description
        self.frame_rate = frame_rate or source.frame_rate
        self.frame_count: int | None = source.frame_count
        self.size: tuple[int, int] = source.size

    @property
    def problems(self) -> list[str]:
        return self._source.problems if isinstance(self._source, ImageFolderSource) else []

    def moments(self) -> Iterator[Moment]:
        if isinstance(self._source, ImageFolderSource):
            for file, picture in self._source.numbered():
                assert picture.bgr is not None
                yield Moment(round(picture.time * self._pace), picture.bgr, file)
            return
        for picture in self._source.pictures():
            assert picture.bgr is not None
            yield Moment(round(picture.time * self._pace), picture.bgr)


class Writer(Protocol):
    """`writer.BagWriter` and `folder_writer.FolderWriter`."""

    message_count: int

    def add_topic(self, topic: str, message_type: str, latched: bool = False) -> None: ...

    def write(self, topic: str, time_ns: int, data: bytes | memoryview) -> None: ...


class CameraRecording:
    """Writes moments to a recording, in order.

    Args:
        writer: the recording; topics are added here.
        typestore: knows the message types.
        calibration: of the camera, for images of the size that comes.
        frame_id: the camera's optical frame.
        topic: the raw image's; compressed ones go to `<topic>/compressed`, the others beside it.
        form: how images are stored.
        quality: of JPEG, 1 to 100.
        mesh: the model of the known hands, or None.
        has_depth: whether there is a topic of depth images.

    Attributes:
        topics: names of the topics of images, camera info, and what else is written.
    """

    def __init__(
        self,
        writer: Writer,
        typestore: Typestore,
        calibration: Calibration,
        frame_id: str = "camera_optical_frame",
        topic: str = "/camera/image_raw",
        form: ImageForm = "jpeg",
        quality: int = 95,
        mesh: HandModel | None = None,
        has_depth: bool = False,
    ) -> None:
        self._writer = writer
        self._calibration = calibration
        self._frame_id = frame_id
        self._form: ImageForm = form
        self._quality = quality
        self._images = ImageSerialiser(typestore, frame_id)
        self._hands = HandSerialiser(typestore)
        self._mesh = mesh
        folder = topic.rpartition("/")[0]
        self._image_topic = topic if form == "raw" else f"{topic}/compressed"
        self._info_topic = f"{folder}/camera_info"
        self._depth_topic = f"{folder}/{DEPTH_NAME}"
        self.topics = [self._image_topic, self._info_topic]
        writer.add_topic(self._image_topic, IMAGE if form == "raw" else COMPRESSED_IMAGE)
        writer.add_topic(self._info_topic, CAMERA_INFO)
        if has_depth:
            writer.add_topic(self._depth_topic, IMAGE)
            self.topics.append(self._depth_topic)
        if mesh is not None:
            writer.add_topic(TRUTH_TOPOLOGY_TOPIC, MESH_TOPOLOGY, latched=True)
            writer.add_topic(TRUTH_TOPIC, HAND_ARRAY)
            self.topics.append(TRUTH_TOPIC)
        self._has_begun = False

    def write(self, moment: Moment, stamp: int) -> None:
        """Write a moment with its stamp in nanoseconds.

        Raises:
            DiskFullError, BagError: as the writer does.
        """
        write = self._writer.write
        if self._mesh is not None and not self._has_begun:
            topology = self._hands.topology(self._mesh, "ground truth", stamp)
            write(TRUTH_TOPOLOGY_TOPIC, stamp, topology)
        self._has_begun = True
        write(self._info_topic, stamp, self._images.camera_info(self._calibration, stamp))
        write(self._image_topic, stamp, self._image(moment, stamp))
        if moment.depth is not None:
            write(self._depth_topic, stamp, self._images.depth(moment.depth, stamp))
        if moment.truth is not None:
            size = (moment.bgr.shape[1], moment.bgr.shape[0])
            result = FrameResult(stamp, self._frame_id, moment.truth.hands, {})
            write(TRUTH_TOPIC, stamp, self._hands.hands(result, size))

    def _image(self, moment: Moment, stamp: int) -> bytes:
        if self._form == "raw":
            return self._images.image(moment.bgr, stamp)
        endings = {"jpeg": (".jpg", ".jpeg"), "png": (".png",)}[self._form]
        if moment.file is not None and moment.file.suffix.lower() in endings:
            content = untouched(moment.file, moment.bgr)
            if content is not None:
                return self._images.encoded(content, stamp, self._form)
        return self._images.compressed(moment.bgr, stamp, self._form, self._quality)
