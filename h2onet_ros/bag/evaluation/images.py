"""The images of a recording in order, decoded ahead of the network by other threads."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from h2onet_ros.bag.calibration import fit_camera
from h2onet_ros.bag.cdr import header_stamp
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.message_types import COMPRESSED_IMAGE
from h2onet_ros.bag.reader import Message
from h2onet_ros.bag.sources import BagSource, Picture
from h2onet_ros.bag.units import SECOND
from h2onet_ros.perception.camera import Camera, CameraError
from h2onet_ros.perception.camera_info import camera_from_info, is_calibrated
from h2onet_ros.perception.image import ImageError, RgbImage, compressed_to_rgb, image_to_rgb
from h2onet_ros.perception.types import Frame

_AHEAD = 8
"""Images decoded before the network wants them; more would only take memory."""


@dataclass(frozen=True, eq=False)
class RecordedImage:
    """One image of the recording.

    Attributes:
        number: among all images of the topic, from 0.
        time: nanoseconds since the first image.
        message, camera_info: as recorded.
        frame: None where the image cannot be read; `fault` tells why.
    """

    number: int
    time: int
    message: Message
    camera_info: Message | None
    frame: Frame | None
    fault: str = ""


class RecordedImages:
    """The images that an evaluation wants.

    Attributes:
        expected: how many there are, as far as the recording tells.
        sizes: images of each size (width, height) so far.
        assumed_cameras: images so far whose camera had to be assumed.
        damage: why the images ended before the recording's end; empty where they did not.
    """

    def __init__(self, source: BagSource, settings: EvaluationSettings, calibration: Camera | None) -> None:
        self._source = source
        self._settings = settings
        self._cameras = _Cameras(source, settings, calibration)
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.assumed_cameras = 0
        self.damage = ""
        count = max((source.frame_count or 0) - settings.start * source.frame_rate, 0)
        if settings.seconds:
            count = min(count, settings.seconds * source.frame_rate)
        self.expected = round(count / settings.every)

    def __iter__(self) -> Iterator[RecordedImage]:
        workers = max(1, min(4, (os.cpu_count() or 2) - 1))
        waiting: deque[tuple[int, Picture, Future]] = deque()
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            pictures = self._pictures()
            while True:
                try:
                    number, picture = next(pictures)
                except StopIteration:
                    break
                except BagError as error:
                    self.damage = str(error)
                    break
                waiting.append((number, picture, pool.submit(self._decode, picture)))
                if len(waiting) > _AHEAD:
                    yield self._counted(self._finish(*waiting.popleft()))
            while waiting:
                yield self._counted(self._finish(*waiting.popleft()))

    def only(self, numbers: set[int]) -> Iterator[RecordedImage]:
        """Those of the images that have the given numbers, read again."""
        for number, picture in enumerate(self._source.pictures()):
            if number > max(numbers, default=-1):
                return
            if number in numbers:
                decoded: Future = Future()
                try:
                    decoded.set_result(self._decode(picture))
                except (BagError, ImageError, ValueError) as error:
                    decoded.set_exception(error)
                yield self._finish(number, picture, decoded)

    def _pictures(self) -> Iterator[tuple[int, Picture]]:
        begin = self._settings.start * SECOND
        end = begin + self._settings.seconds * SECOND if self._settings.seconds else float("inf")
        for number, picture in enumerate(self._source.pictures()):
            if picture.time >= end:
                return
            if picture.time >= begin and number % self._settings.every == 0:
                yield number, picture

    def _counted(self, image: RecordedImage) -> RecordedImage:
        if image.frame is not None:
            camera = image.frame.camera
            self.sizes[camera.width, camera.height] += 1
            self.assumed_cameras += camera.is_assumed
        return image

    def _decode(self, picture: Picture) -> tuple[RgbImage, int, str]:
        """Pixels, stamp and frame of an image."""
        assert picture.image
        stamp = header_stamp(picture.image.data) or picture.image.time
        message = self._source.deserialize(picture.image)
        is_compressed = picture.image.message_type == COMPRESSED_IMAGE
        rgb = compressed_to_rgb(message) if is_compressed else image_to_rgb(message)
        return rgb, stamp, message.header.frame_id

    def _finish(self, number: int, picture: Picture, decoded: Future) -> RecordedImage:
        assert picture.image
        frame, fault = None, ""
        try:
            rgb, stamp, frame_id = decoded.result()
            height, width = rgb.shape[:2]
            frame = Frame(rgb, stamp, self._cameras.camera(picture.camera_info, width, height), frame_id)
        except (BagError, CameraError, ImageError, ValueError) as error:
            fault = str(error)
        return RecordedImage(number, picture.time, picture.image, picture.camera_info, frame, fault)


class _Cameras:
    """The camera of each image: a calibration that was given, the recorded one, or an assumed one."""

    def __init__(self, source: BagSource, settings: EvaluationSettings, given: Camera | None) -> None:
        self._source = source
        self._rectified = settings.rectified
        self._field_of_view = float(np.radians(settings.assumed_field_of_view_deg))
        self._given = given
        self._made_from: Any = None
        self._camera: Camera | None = None

    def camera(self, info: Message | None, width: int, height: int) -> Camera:
        # All but the stamp, which alone changes from message to message as a rule.
        made_from = (info and info.data[12:], width, height)
        if self._camera is None or self._made_from != made_from:
            self._camera, self._made_from = self._make(info, width, height), made_from
        return self._camera

    def _make(self, info: Message | None, width: int, height: int) -> Camera:
        if self._given is not None:
            return fit_camera(self._given, width, height)
        message = None if info is None else self._source.deserialize(info)
        if message is not None and is_calibrated(message, self._rectified):
            return camera_from_info(message, width, height, self._rectified)
        return Camera.assumed(width, height, self._field_of_view)
