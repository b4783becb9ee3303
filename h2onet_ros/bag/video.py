"""Writing a video whose images come at their own time and may fail to come."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.errors import BagError, DiskFullError
from h2onet_ros.bag.units import SECOND

RESERVE = 4 << 20
"""Bytes that are left free: an mp4 file is readable only with the index that is written at its end."""
LONGEST_STILL = 2.0
"""Seconds for which an image at most stands still where others are missing."""
QUEUE_LENGTH = 30


class VideoWriter:
    """Writes images to an mp4 file in a thread of its own, each at the place in time that its stamp says.

    `write` does not wait: images that come faster than they can be encoded are dropped and counted. With
    `waits` it does, and none is dropped.

    Attributes:
        path: the file; it appears with the first image.
        images: how many were written.
        dropped: how many were not, for want of time.
    """

    def __init__(self, path: str | os.PathLike[str], frame_rate: float, waits: bool = False) -> None:
        """Raises `DiskFullError` where there is no room to begin with."""
        self.path = Path(path)
        self.images = 0
        self.dropped = 0
        self._frame_rate = frame_rate
        self._waits = waits
        self._failure: BagError | None = None
        self._queue: Queue[tuple[NDArray[np.uint8], int] | None] = Queue(QUEUE_LENGTH)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._require_room()
        self._thread = Thread(target=self._run, name="video", daemon=True)
        self._thread.start()

    def write(self, bgr: NDArray[np.uint8], stamp: int) -> None:
        """Append an image `(H, W, 3)` with its stamp in nanoseconds; later ones must have the same size.

        Raises:
            DiskFullError: where there is no room; what was written before can be played once it is closed.
            BagError: where the file cannot be written, or the images change their size.
        """
        if self._failure:
            raise self._failure
        while True:
            try:
                self._queue.put((bgr, stamp), block=self._waits, timeout=1.0)
                return
            except Full:
                if not self._waits:
                    self.dropped += 1
                    return
                # The thread that takes from the queue may have failed meanwhile.
                if self._failure:
                    raise self._failure from None

    def close(self) -> None:
        """Write what waits and finish the file; raises as `write` does. Nothing happens the second time."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except BagError:
            if error is None:
                raise

    def _run(self) -> None:
        encoder: _Encoder | None = None
        try:
            while (item := self._queue.get()) is not None:
                bgr, stamp = item
                if encoder is None:
                    encoder = _Encoder(self.path, self._frame_rate, bgr.shape, stamp)
                self._require_room()
                encoder.write(bgr, stamp)
                self.images += 1
        except BagError as error:
            self._failure = error
        finally:
            if encoder is not None:
                encoder.release()
        # Nobody takes from the queue any more; `close` must not wait for room in it.
        while self._failure and not self._queue.empty():
            self._queue.get_nowait()

    def _require_room(self) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if free < RESERVE:
            raise DiskFullError(
                f"No room left for the video {self.path}: {free / 1e6:.1f} MB are free, "
                f"{RESERVE / 1e6:.1f} MB are needed to finish it. Its first {self.images} images are kept. "
                "Free some space, or write elsewhere."
            )


class _Encoder:
    """OpenCV's writer with a clock: fills gaps with the image before."""

    def __init__(self, path: Path, frame_rate: float, shape: tuple[int, ...], stamp: int) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self._shape = shape
        self._start = stamp
        self._next = 0
        self._last: NDArray[np.uint8] | None = None
        # MPEG-4 part 2: what OpenCV's wheels encode fast, without any other library.
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), codec, frame_rate, (shape[1], shape[0]))
        if not self._writer.isOpened():
            raise BagError(
                f"Cannot write the video {path} ({shape[1]} x {shape[0]}); is the folder writable?"
            )

    def write(self, bgr: NDArray[np.uint8], stamp: int) -> None:
        if bgr.shape != self._shape:
            raise BagError(
                f"Expected images of {self._shape[1]} x {self._shape[0]} for the video {self._path}, got "
                f"{bgr.shape[1]} x {bgr.shape[0]}: the camera changed its size. Record each size by itself."
            )
        due = round((stamp - self._start) / SECOND * self._frame_rate)
        if self._last is not None:
            for _ in range(min(due - self._next, round(LONGEST_STILL * self._frame_rate))):
                self._writer.write(self._last)
        self._writer.write(bgr)
        self._next = max(due, self._next) + 1
        self._last = bgr

    def release(self) -> None:
        self._writer.release()
