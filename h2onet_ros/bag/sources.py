"""What a camera player plays: a video file, the images of a recording, or a camera device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.cdr import header_stamp
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.message_types import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from h2onet_ros.bag.reader import BagReader, Message, Topic
from h2onet_ros.bag.units import SECOND

LONGEST_GAP = 5 * SECOND
"""Stamps of a recording that jump by more than this (nanoseconds), or backwards, do not set its pace."""


class SourceError(BagError):
    """A video, recording or camera that gives no images."""


@dataclass(frozen=True)
class Picture:
    """One image to publish.

    Attributes:
        time: nanoseconds since the first one, at the source's own pace.
        bgr: `(H, W, 3)` uint8, or None where `image` is given.
        image: the recorded message, raw or compressed image.
        camera_info: the recorded camera info that belongs to it, if there is one.
    """

    time: int
    bgr: NDArray[np.uint8] | None = None
    image: Message | None = None
    camera_info: Message | None = None


class Source(Protocol):
    """Where images come from.

    Attributes:
        description: in words.
        frame_rate: images a second, as far as it is known.
        frame_count: how many images there are, None for a camera.
        size: width and height of the images in pixels, None where only the messages know.
        is_live: the images come at their own time and need no pacing.
        is_compressed: the images are recorded messages of the compressed kind.
    """

    description: str
    frame_rate: float
    frame_count: int | None
    size: tuple[int, int] | None
    is_live: bool
    is_compressed: bool

    def pictures(self) -> Iterator[Picture]:
        """The images from the first on; a file's can be asked for again."""
        ...

    def close(self) -> None: ...


class VideoSource:
    """A video file. Raises `SourceError` for one that is not there or does not decode."""

    is_live = False
    is_compressed = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            what = "a folder is" if self._path.is_dir() else "nothing is"
            raise SourceError(
                f"Expected a video file at {self._path}, {what} there; give the path of a video."
            )
        capture = self._capture()
        try:
            is_read, first = capture.read()
            if not is_read:
                raise SourceError(self._complaint())
            rate = capture.get(cv2.CAP_PROP_FPS)
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        finally:
            capture.release()
        self.frame_rate = rate if np.isfinite(rate) and 1 <= rate <= 1000 else 30.0
        self.frame_count = int(count) if np.isfinite(count) and count > 0 else None
        self.size = (first.shape[1], first.shape[0])
        self.description = (
            f"video {self._path.name} ({self.size[0]} x {self.size[1]}, {self.frame_rate:g} frames/s"
            + (f", {self.frame_count} frames)" if self.frame_count else ")")
        )

    def pictures(self) -> Iterator[Picture]:
        capture = self._capture()
        try:
            index = 0
            while True:
                is_read, bgr = capture.read()
                if not is_read:
                    return
                yield Picture(round(index / self.frame_rate * SECOND), bgr=np.asarray(bgr, np.uint8))
                index += 1
        finally:
            capture.release()

    def close(self) -> None:
        pass

    def _capture(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(self._complaint())
        return capture

    def _complaint(self) -> str:
        return (
            f"Expected a video that can be decoded (mp4, avi, mkv, webm, ...), got {self._path} with "
            f"{self._path.stat().st_size} bytes without a readable image; convert it, for instance to mp4."
        )


class CameraSource:
    """A camera device, as "/dev/video0" or "0". Raises `SourceError` where it gives no image."""

    is_live = True
    is_compressed = False
    frame_count = None

    def __init__(
        self, device: str, size: tuple[int, int] | None = None, frame_rate: float | None = None
    ) -> None:
        device = f"/dev/video{device}" if device.isdigit() else device
        number = device.removeprefix("/dev/video")
        self._device = device
        if device.startswith("/dev/") and not Path(device).exists():
            raise SourceError(f"Expected a camera at {device}, no such device is there. {_cameras()}")
        self._capture = cv2.VideoCapture(int(number) if number.isdigit() else device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"Expected a camera at {device}, it cannot be opened: it is no camera, it is in use, or "
                f"you may not use it. {_cameras()}"
            )
        # Cameras reach their full rate at larger sizes only as motion JPEG.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        if size:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if frame_rate:
            self._capture.set(cv2.CAP_PROP_FPS, frame_rate)
        is_read, first = self._capture.read()
        if not is_read:
            self._capture.release()
            raise SourceError(
                f"Expected images from the camera {device}, none came; is another program using it?"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = rate if np.isfinite(rate) and 1 <= rate <= 1000 else 30.0
        self.size = (first.shape[1], first.shape[0])
        self.description = f"camera {device} ({self.size[0]} x {self.size[1]}, {self.frame_rate:g} frames/s)"

    def pictures(self) -> Iterator[Picture]:
        start = cv2.getTickCount()
        while True:
            is_read, bgr = self._capture.read()
            if not is_read:
                raise SourceError(f"The camera {self._device} stopped giving images; is it still plugged in?")
            elapsed = (cv2.getTickCount() - start) / cv2.getTickFrequency()
            yield Picture(round(elapsed * SECOND), bgr=np.asarray(bgr, np.uint8))

    def close(self) -> None:
        self._capture.release()


class BagSource:
    """The images of a recording with their camera info.

    Args:
        path: rosbag2 folder or file.
        topic: the image topic; without it the one with most messages.

    Attributes:
        bag: the recording.
        topic: the image topic.
        info_topic: name of its camera info, None without one.

    Raises:
        SourceError: for a recording without images.
        BagError: for what is no recording, or a topic that is not there or holds no images.
    """

    is_live = False
    size = None

    def __init__(self, path: str | os.PathLike[str], topic: str | None = None) -> None:
        self.bag = BagReader(path)
        self.warnings = self.bag.warnings
        try:
            self.topic = self._choose(topic)
        except BaseException:
            self.bag.close()
            raise
        self.info_topic = _camera_info_topic(self.topic.name, self.bag)
        self.frame_count = self.topic.message_count
        self.is_compressed = self.topic.message_type == COMPRESSED_IMAGE
        times = []
        with suppress(BagError):  # Damage is told when the images are wanted.
            for picture, _ in zip(self.pictures(), range(100)):
                times.append(picture.time)
        # Over two images: where each was recorded twice, steps are short and long in turn.
        apart = min(2, max(len(times) - 1, 1))
        step = np.median(np.subtract(times[apart:], times[:-apart])) / apart if len(times) > 1 else 0.0
        self.frame_rate = float(SECOND / step) if step > 0 else 30.0
        self.description = (
            f"recording {self.bag.path.name}, topic {self.topic.name} ({self.frame_count} images, "
            f"{self.frame_rate:.3g} a second{'' if self.info_topic else ', no camera_info'})"
        )

    def pictures(self) -> Iterator[Picture]:
        topics = [self.topic.name] + ([self.info_topic] if self.info_topic else [])
        # The images before the first camera info have the same camera.
        info = next(self.bag.messages([self.info_topic]), None) if self.info_topic else None
        clock = _Clock()
        # An image waits for the next message: its camera info may come right behind it.
        waiting: Message | None = None
        for message in self.bag.messages(topics):
            is_info = message.topic == self.info_topic
            if is_info and (waiting is None or _same_stamp(message, waiting)):
                info = message
            if waiting is not None:
                yield Picture(clock.advance(waiting), image=waiting, camera_info=info)
            if is_info:
                info = message
            waiting = None if is_info else message
        if waiting is not None:
            yield Picture(clock.advance(waiting), image=waiting, camera_info=info)

    def deserialize(self, message: Message) -> Any:
        """See `BagReader.deserialize`."""
        return self.bag.deserialize(message)

    def close(self) -> None:
        self.bag.close()

    def _choose(self, topic: str | None) -> Topic:
        if topic is not None:
            return self.bag.require_topic(topic, "images", IMAGE, COMPRESSED_IMAGE)
        images = self.bag.image_topics()
        if not images:
            raise SourceError(
                f"Expected a recording with images ({IMAGE} or {COMPRESSED_IMAGE}), {self.bag.path} has "
                f"{self.bag.describe_topics()}; record the camera's topic too."
            )
        return images[0]


def _same_stamp(a: Message, b: Message) -> bool:
    try:
        return header_stamp(a.data) == header_stamp(b.data)
    except ValueError:
        return False


class _Clock:
    """Turns the stamps of images into nanoseconds since the first."""

    def __init__(self) -> None:
        self._elapsed = 0
        self._last: tuple[int, int] | None = None

    def advance(self, message: Message) -> int:
        try:
            stamp = header_stamp(message.data)
        except ValueError:
            stamp = message.time
        if self._last is not None:
            step = stamp - self._last[0]
            if not 0 < step <= LONGEST_GAP:
                # Unset stamps, or another clock: the time of recording tells.
                step = min(max(message.time - self._last[1], 0), LONGEST_GAP)
            self._elapsed += step
        self._last = (stamp, message.time)
        return self._elapsed


def _camera_info_topic(image_topic: str, bag: BagReader) -> str | None:
    """The camera info beside an image topic (image_transport's convention), or else of its frame."""
    infos = [
        topic.name
        for topic in bag.topics.values()
        if topic.message_type == CAMERA_INFO and topic.message_count
    ]
    parts = image_topic.split("/")
    beside = ["/".join([*parts[:-depth], "camera_info"]) for depth in (1, 2) if len(parts) > depth]
    for name in beside:
        if name in infos:
            return name
    frame = bag.first_frame(image_topic) if infos else None
    of_frame = [name for name in infos if bag.first_frame(name) == frame]
    return of_frame[0] if len(of_frame) == 1 else None


def _cameras() -> str:
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    there = f"There are {', '.join(devices)}" if devices else "There is no /dev/video* at all: plug one in"
    return f"{there}, or play a video file instead."
