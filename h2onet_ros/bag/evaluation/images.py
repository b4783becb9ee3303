"""The images of a recording in order, decoded ahead of the network by other threads."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from h2onet_ros.bag.calibration import fit_camera
from h2onet_ros.bag.cdr import header_stamp
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.depth import DepthImages
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.message_types import COMPRESSED_IMAGE
from h2onet_ros.bag.reader import Message
from h2onet_ros.bag.sources import BagSource, Picture
from h2onet_ros.bag.units import SECOND
from h2onet_ros.perception.camera import Camera, CameraError
from h2onet_ros.perception.camera_info import camera_from_info, is_calibrated
from h2onet_ros.perception.depth import depth_from_message
from h2onet_ros.perception.image import ImageError, RgbImage, compressed_to_rgb, image_to_rgb
from h2onet_ros.perception.types import FloatArray, Frame

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
        depth_fault: why the frame lacks the depth that there is.
    """

    number: int
    time: int
    message: Message
    camera_info: Message | None
    frame: Frame | None
    fault: str = ""
    depth_fault: str = ""


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Pixels, stamp (nanoseconds) and frame of an image, and its depth or what is wrong with that."""

    rgb: RgbImage
    stamp: int
    frame_id: str
    depth: FloatArray | None
    depth_fault: str


class RecordedImages:
    """The images that an evaluation wants.

    Args:
        source: the recording.
        settings: which ones, and what camera is assumed.
        calibration: the camera, in place of the recorded one.
        depth: theirs, if it is wanted.

    Attributes:
        expected: how many there are, as far as the recording tells.
        unreadable: images so far that could not be read.
    """

    def __init__(
        self,
        source: BagSource,
        settings: EvaluationSettings,
        calibration: Camera | None,
        depth: DepthImages | None = None,
    ) -> None:
        self._source = source
        self._settings = settings
        self._depth = depth
        self._cameras = _Cameras(source, settings, calibration)
        self.unreadable = 0
        self._first_fault = ""
        self._unreadable_depths = 0
        self._first_depth_fault = ""
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._assumed_cameras = 0
        self._damage = ""
        count = max((source.frame_count or 0) - settings.start * source.frame_rate, 0)
        if settings.seconds:
            count = min(count, settings.seconds * source.frame_rate)
        self.expected = round(count / settings.every)

    def __iter__(self) -> Iterator[RecordedImage]:
        workers = max(1, min(4, (os.cpu_count() or 2) - 1))
        waiting: deque[tuple[int, Picture, Callable[[], _Decoded]]] = deque()
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            pictures = self._pictures()
            while True:
                try:
                    number, picture = next(pictures)
                except StopIteration:
                    break
                except BagError as error:
                    self._damage = str(error)
                    break
                decoding = pool.submit(self._decode, picture, self._depth_of(picture))
                waiting.append((number, picture, decoding.result))
                if len(waiting) > _AHEAD:
                    yield from self._counted(self._finish(*waiting.popleft()))
            while waiting:
                yield from self._counted(self._finish(*waiting.popleft()))

    def only(self, numbers: set[int]) -> Iterator[RecordedImage]:
        """Those of the images that have the given numbers, read again."""
        for number, picture in enumerate(self._source.pictures()):
            if number > max(numbers, default=-1):
                return
            if number in numbers:
                yield self._finish(number, picture, partial(self._decode, picture, None))

    def _pictures(self) -> Iterator[tuple[int, Picture]]:
        begin = self._settings.start * SECOND
        end = begin + self._settings.seconds * SECOND if self._settings.seconds else float("inf")
        for number, picture in enumerate(self._source.pictures()):
            if picture.time >= end:
                return
            if picture.time >= begin and number % self._settings.every == 0:
                yield number, picture

    def problems(self) -> list[str]:
        """What was lost of the images that were taken so far, a sentence each."""
        found = [self._damage] if self._damage else []
        if self.unreadable:
            found.append(
                f"{self.unreadable} images could not be read and were left out; the first one's fault: "
                f"{self._first_fault}"
            )
        if self._unreadable_depths:
            found.append(
                f"{self._unreadable_depths} depth images could not be used, and their images were processed "
                f"without; the first one's fault: {self._first_depth_fault}"
            )
        return found + (self._depth.problems() if self._depth else [])

    def notes(self) -> list[str]:
        """What a reader of figures should know of them, though nothing went wrong."""
        notes = [self._depth.note()] if self._depth else []
        if self._assumed_cameras:
            notes.append(
                f"{self._assumed_cameras} images have no calibrated camera_info: a field of view of "
                f"{self._settings.assumed_field_of_view_deg:g} degrees is assumed, so distances are a guess. "
                "Give a calibration with --calibration."
            )
        if len(self._sizes) > 1:
            sizes = ", ".join(f"{count} of {w} x {h}" for (w, h), count in self._sizes.items())
            notes.append(f"The images change their size: {sizes}. Hands are found anew after each change.")
        return notes

    def _counted(self, image: RecordedImage) -> Iterator[RecordedImage]:
        yield image
        # Whoever stops at an image never comes here: it was not taken.
        if image.frame is None:
            self.unreadable += 1
            self._first_fault = self._first_fault or image.fault
            return
        camera = image.frame.camera
        self._sizes[camera.width, camera.height] += 1
        self._assumed_cameras += camera.is_assumed
        self._unreadable_depths += bool(image.depth_fault)
        self._first_depth_fault = self._first_depth_fault or image.depth_fault

    def _depth_of(self, picture: Picture) -> Message | None:
        assert picture.image
        if self._depth is None:
            return None
        try:
            return self._depth.at(_stamp(picture.image))
        except ValueError:  # Decoding the image will say so.
            return None

    def _decode(self, picture: Picture, depth_message: Message | None) -> _Decoded:
        assert picture.image
        stamp = _stamp(picture.image)
        message = self._source.deserialize(picture.image)
        is_compressed = picture.image.message_type == COMPRESSED_IMAGE
        rgb = compressed_to_rgb(message) if is_compressed else image_to_rgb(message)
        depth, fault = None, ""
        if depth_message is not None:
            try:
                depth = depth_from_message(self._source.deserialize(depth_message))
            except (BagError, ImageError) as error:
                fault = str(error)
        return _Decoded(rgb, stamp, message.header.frame_id, depth, fault)

    def _finish(self, number: int, picture: Picture, decode: Callable[[], _Decoded]) -> RecordedImage:
        assert picture.image
        frame, fault, depth_fault = None, "", ""
        try:
            decoded = decode()
            depth_fault = decoded.depth_fault
            height, width = decoded.rgb.shape[:2]
            camera = self._cameras.camera(picture.camera_info, width, height)
            frame = Frame(decoded.rgb, decoded.stamp, camera, decoded.frame_id)
            if decoded.depth is not None:
                try:
                    frame = replace(frame, depth=decoded.depth)
                except ValueError as error:  # Of another camera, or not registered; the image counts without.
                    depth_fault = str(error)
        except (BagError, CameraError, ImageError, ValueError) as error:
            fault = str(error)
        return RecordedImage(
            number, picture.time, picture.image, picture.camera_info, frame, fault, depth_fault
        )


def _stamp(image: Message) -> int:
    """The stamp of an image in nanoseconds, the time of recording where nobody set it; or a ValueError."""
    return header_stamp(image.data) or image.time


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
