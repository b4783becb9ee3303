"""Ground truth of a recording: a `HandArray` topic, of the recording or another one, or arrays in a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.cdr import header_stamp
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.accuracy import true_points
from h2onet_ros.bag.evaluation.along import Along
from h2onet_ros.bag.evaluation.settings import TRUTH_TOPIC, EvaluationSettings
from h2onet_ros.bag.message_types import HAND_ARRAY
from h2onet_ros.bag.reader import BagReader
from h2onet_ros.bag.units import SECOND
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.hand_message import hands_from_message
from h2onet_ros.perception.types import FrameResult, Hand, Region

_WRONG_PROJECTION = 0.25
"""Joints that project this far from where they are in the image, in hand sizes, are another camera's."""

Answers = Iterator[tuple[int, Callable[[], FrameResult]]]
"""Stamps, each with a function that gives the true hands: those of left-out images are never made."""


class Truth:
    """True hands by the stamps of the images, read along with them; its size does not grow.

    Attributes:
        source: where it comes from, in words.
    """

    def __init__(
        self, source: str, answers: Answers, tolerance: int, any_frame: bool, reader: BagReader | None
    ) -> None:
        """See `open_truth`; stamps of `answers` are those of the images, `tolerance` in nanoseconds."""
        self.source = source
        self._reader = reader
        self._answers = Along(answers, tolerance)
        self._any_frame = any_frame
        self._images: list[int] = []
        self._used = 0
        self._other_frames: dict[str, int] = {}
        self._image_frame = ""
        self._unreadable = 0
        self._first_fault = ""
        self._checked = self._inconsistent = 0

    def at(self, stamp: int, frame_id: str, camera: Camera) -> tuple[Hand, ...] | None:
        """The true hands of the image with that stamp (ns) and frame; None where the truth has none."""
        self._images = [self._images[0] if self._images else stamp, stamp]
        self._image_frame = frame_id
        answer = self._answers.at(stamp)
        if answer is None:
            return None
        try:
            result = answer()
        except (BagError, ValueError) as error:
            self._first_fault = self._first_fault or str(error)
            self._unreadable += 1
            return None
        frame = result.frame_id
        if frame.strip("/") and frame.strip("/") != frame_id.strip("/") and not self._any_frame:
            self._other_frames[frame] = self._other_frames.get(frame, 0) + 1
            return None
        self._used += 1
        for hand in result.hands:
            self._check(hand, camera)
        return result.hands

    def problems(self) -> list[str]:
        """What speaks against the truth, a sentence each; to be asked at the end."""
        found = list(self._reader.warnings) if self._reader else []
        if self._unreadable:
            found.append(
                f"{self._unreadable} messages of the truth ({self.source}) could not be read and were left "
                f"out; the first one's fault: {self._first_fault}"
            )
        for frame, count in self._other_frames.items():
            found.append(
                f"The truth ({self.source}) is in the frame {frame!r}, the images are in "
                f"{self._image_frame!r}: {count} of its messages were not used. Transform it to the camera's "
                "optical frame; if only the names differ, give --truth-any-frame."
            )
        if not (self._used or self._unreadable or self._other_frames) and self._images:
            found.append(self._no_match())
        if self._checked and self._inconsistent > self._checked / 2:
            found.append(
                f"The truth ({self.source}) does not fit the camera: {self._inconsistent} of {self._checked} "
                "true hands do not project to where the truth says they are in the image, or lie outside "
                "of it. Errors are given, but check the truth's frame and the camera's calibration."
            )
        return found

    def close(self) -> None:
        if self._reader:
            self._reader.close()

    def _no_match(self) -> str:
        first, last = self._images
        if self._answers.stamps is None:
            return f"The truth ({self.source}) has no messages; give another one with --truth."
        begin, end = self._answers.stamps
        shift = (first - begin) / SECOND
        return (
            f"No image has truth ({self.source}): images have the stamps {first / SECOND:.3f} to "
            f"{last / SECOND:.3f} s, the truth starts at {begin / SECOND:.3f} s (read up to "
            f"{end / SECOND:.3f} s), and stamps must be within {self._answers.tolerance / SECOND:.4f} s of "
            f"each other. If both start together, give --truth-offset {shift:.6f}."
        )

    def _check(self, hand: Hand, camera: Camera) -> None:
        points, projected = true_points(hand, camera), camera.project(hand.joints)
        size = float(np.ptp(points, axis=0).max())
        if not np.isfinite(hand.joints).all():
            return
        self._checked += 1
        is_outside = (
            not np.isfinite(projected).all()
            or not ((projected > -size) & (projected < np.array([camera.width, camera.height]) + size))
            .all(-1)
            .any()
        )
        off = np.linalg.norm(points - projected, axis=-1).mean()
        self._inconsistent += bool(is_outside or off > _WRONG_PROJECTION * max(size, 1.0))


def open_truth(
    bag: str | os.PathLike[str], topics: dict[str, str], settings: EvaluationSettings, tolerance: int
) -> Truth | None:
    """The truth that the settings ask for; None where there is none to be had and none was asked for.

    Args:
        bag: the recording that is evaluated.
        topics: its topics and their types.
        settings: `truth`, `truth_offset` and `truth_any_frame` count.
        tolerance: how far truth and image may be apart, nanoseconds.

    Raises:
        BagError: for a topic or file that is not there or holds no hands.
    """
    wanted = settings.truth
    if wanted == "none" or (wanted is None and topics.get(TRUTH_TOPIC) != HAND_ARRAY):
        return None
    offset = round(settings.truth_offset * SECOND)
    reader: BagReader | None
    if wanted is not None and Path(wanted).suffix == ".npz" and Path(wanted).is_file():
        source, answers, reader = Path(wanted).name, _from_arrays(Path(wanted)), None
    else:
        is_file = wanted is not None and wanted not in topics and Path(wanted).exists()
        reader = BagReader(wanted if is_file and wanted is not None else bag)
        try:
            topic = _hand_topic(reader) if is_file else _required_topic(reader, wanted or TRUTH_TOPIC)
        except BaseException:
            reader.close()
            raise
        source = f"{topic} of {reader.path.name}" if is_file else f"topic {topic}"
        answers = _from_topic(reader, topic)
    shifted = ((stamp + offset, make) for stamp, make in answers)
    return Truth(source, shifted, tolerance, settings.truth_any_frame, reader)


def _from_topic(reader: BagReader, topic: str) -> Answers:
    for message in reader.messages([topic]):
        try:
            stamp = header_stamp(message.data)
        except ValueError:
            stamp = message.time
        yield stamp, lambda message=message: hands_from_message(reader.deserialize(message))  # type: ignore[misc]


def _hand_topic(reader: BagReader) -> str:
    """The topic of hands in a recording of truth: the usual one, or the only one."""
    names = [
        topic.name
        for topic in reader.topics.values()
        if topic.message_type == HAND_ARRAY and topic.message_count
    ]
    if TRUTH_TOPIC in names:
        return TRUTH_TOPIC
    if len(names) != 1:
        raise BagError(
            f"Expected one topic of hands ({HAND_ARRAY}) as truth in {reader.path}, it has "
            f"{reader.describe_topics()}. Name that topic {TRUTH_TOPIC}, or give a recording with it alone."
        )
    return names[0]


def _required_topic(reader: BagReader, name: str) -> str:
    try:
        return reader.require_topic(name, "true hands", HAND_ARRAY).name
    except BagError as error:
        raise BagError(f"{error} Truth is a topic of the recording or a file (recording or .npz).") from error


_LAYOUT = (
    "Expected arrays `stamp` (T,) in nanoseconds and `joints` (T, H, 21, 3) in metres (NaN: no such hand), "
    "and, if known, `handedness` (H,) of 'left' and 'right', `points` (T, H, 21, 2) in pixels, `vertices` "
    "(T, H, V, 3), `occlusion` (T, H, 6)."
)


def _from_arrays(path: Path) -> Answers:
    """True hands of an .npz file; the number of the hand (second axis) is its identity."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in _SHAPES}
    except (OSError, ValueError) as error:
        raise BagError(f"Cannot read the truth {path}: {error}. {_LAYOUT}") from error
    missing = [name for name in ("stamp", "joints") if name not in arrays]
    if missing:
        raise BagError(f"The truth {path} lacks {', '.join(missing)}. {_LAYOUT}")
    sizes: dict[int | str, int] = {
        "T": len(arrays["stamp"]),
        "H": arrays["joints"].shape[1] if arrays["joints"].ndim > 1 else -1,
    }
    for name, array in arrays.items():
        expected = [sizes.get(length, length) for length in _SHAPES[name]]
        fits = len(expected) == array.ndim and all(
            length in ("V", size) for length, size in zip(expected, array.shape, strict=True)
        )
        if not fits:
            raise BagError(f"The array {name} of the truth {path} has the shape {array.shape}. {_LAYOUT}")
    order = np.argsort(arrays["stamp"], kind="stable")
    return ((int(arrays["stamp"][t]), lambda t=t: _frame(arrays, t)) for t in order)  # type: ignore[misc]


_SHAPES: dict[str, tuple[int | str, ...]] = {
    "stamp": ("T",),
    "joints": ("T", "H", 21, 3),
    "handedness": ("H",),
    "points": ("T", "H", 21, 2),
    "vertices": ("T", "H", "V", 3),
    "occlusion": ("T", "H", 6),
}


def _frame(arrays: dict[str, NDArray], t: int) -> FrameResult:
    hands = []
    for h, joints in enumerate(np.asarray(arrays["joints"][t], np.float32)):
        if not np.isfinite(joints).all():
            continue

        def known(name: str, default: NDArray, h: int = h) -> NDArray[np.float32]:
            return np.asarray(arrays[name][t, h] if name in arrays else default, np.float32)

        is_left = "handedness" in arrays and str(arrays["handedness"][h]) == "left"
        hands.append(
            Hand(
                track_id=h + 1,
                handedness="left" if is_left else "right",
                handedness_score=1.0,
                detection_score=1.0,
                region=Region(0.0, 0.0, 1.0),
                position=joints[0],
                rotation=np.eye(3, dtype=np.float32),
                joints=joints,
                vertices=known("vertices", np.zeros((0, 3))),
                occlusion=known("occlusion", np.full(6, np.nan)),
                image_points=known("points", np.full((21, 2), np.nan)),
                reprojection_error=0.0,
            )
        )
    return FrameResult(int(arrays["stamp"][t]), "", tuple(hands), {})
