"""The images in which two runs differ most, drawn with the hands of each."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.calibration import load_camera
from h2onet_ros.bag.comparison.pairing import Pairing, joints, pair_by_place
from h2onet_ros.bag.comparison.runs import Run
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.images import RecordedImages
from h2onet_ros.bag.evaluation.key_frames import KeyFrame, key_frames
from h2onet_ros.bag.evaluation.results import TOPOLOGY_TOPIC
from h2onet_ros.bag.evaluation.truth import open_truth
from h2onet_ros.bag.reader import BagReader
from h2onet_ros.bag.sources import BagSource
from h2onet_ros.bag.units import SECOND

_APART = 0.5
"""Seconds between images that are shown, so that not all of them show the same."""
_HAND = 0.19
"""Length of a hand, metres."""
_TOLERANCE = 0.01
"""Seconds between an image and its truth."""


@dataclass(frozen=True)
class SideBySide:
    """One image as each run saw it, and why it is shown."""

    time: float
    reason: str
    a: KeyFrame
    b: KeyFrame


@dataclass(frozen=True)
class _Mesh:
    faces: NDArray[np.int64]
    face_part: NDArray[np.int64]


def differences(a: Run, b: Run, pairing: Pairing) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Where the runs differ, image by image.

    Returns:
        `(N,)` the mean distance of the joints in space, metres, of the hand in which it is largest; and
        `(N,)` how many hands only one of the runs found.
    """
    count = len(pairing.stamps)
    lonely = np.zeros(count, np.int64)
    # False hands count too, so truth does not say what belongs together.
    rows_a, rows_b = pair_by_place(a.table, b.table, pairing.image_a, pairing.image_b)
    for table, image, paired in (
        (a.table, pairing.image_a, rows_a),
        (b.table, pairing.image_b, rows_b),
    ):
        rows = (image >= 0) & (table["track_id"] >= 0)
        rows[paired] = False
        lonely += np.bincount(image[rows], minlength=count)
    distance = np.linalg.norm(joints(a.table, rows_a) - joints(b.table, rows_b), axis=-1).mean(-1)
    apart = np.zeros(count)
    np.maximum.at(apart, pairing.image_a[rows_a], distance)
    return apart, lonely


def choose(a: Run, b: Run, pairing: Pairing, count: int) -> dict[int, str]:
    """Indices into `pairing.stamps` of the images to show, with the reason for each.

    A hand that only one of the runs found counts more than any distance.
    """
    apart, lonely = differences(a, b, pairing)
    worth = lonely + np.minimum(apart / _HAND, 0.99)
    chosen: list[int] = []
    for image in np.argsort(-worth, kind="stable"):
        if len(chosen) == count or worth[image] <= 0:
            break
        if all(abs(pairing.times[image] - pairing.times[other]) >= _APART for other in chosen):
            chosen.append(int(image))
    return {
        image: f"{lonely[image]} hands in one of them only"
        if lonely[image]
        else f"joints {1000 * apart[image]:.0f} mm apart"
        for image in sorted(chosen)
    }


def draw(a: Run, b: Run, pairing: Pairing, chosen: dict[int, str], bag: Path) -> list[SideBySide]:
    """Read and draw the chosen images.

    Raises:
        BagError: for a recording that is gone or cannot be read.
    """
    drawn_a, drawn_b = (
        {frame.time: frame for frame in _frames(run, _numbers(run, image, chosen), bag)}
        for run, image in ((a, pairing.image_a), (b, pairing.image_b))
    )
    pairs = []
    for time in sorted(drawn_a.keys() & drawn_b.keys()):
        nearest = min(chosen, key=lambda image: abs(pairing.times[image] - time))
        pairs.append(SideBySide(time, chosen[nearest], drawn_a[time], drawn_b[time]))
    return pairs


def _numbers(run: Run, image: NDArray[np.int64], chosen: dict[int, str]) -> dict[int, str]:
    rows = np.flatnonzero(np.isin(image, list(chosen)))
    return {int(run.table["image"][row]): run.name for row in rows}


def _frames(run: Run, numbers: dict[int, str], bag: Path) -> list[KeyFrame]:
    settings, results = run.settings, run.folder / "hands.mcap"
    with ExitStack() as stack:
        source = BagSource(bag, run.run["evaluation"]["topic"])
        stack.callback(source.close)
        topics = {topic.name: topic.message_type for topic in source.bag.topics.values()}
        truth = open_truth(bag, topics, settings, round(_TOLERANCE * SECOND)) if run.has_truth else None
        if truth:
            stack.callback(truth.close)
        calibration = load_camera(settings.calibration) if settings.calibration else None
        images = RecordedImages(source, settings, calibration)
        return key_frames(numbers, images, results, truth, _mesh(results))


def _mesh(results: Path) -> _Mesh:
    """The mesh of a results bag: the weights themselves may be gone."""
    with BagReader(results) as reader:
        message = next(reader.messages([TOPOLOGY_TOPIC]), None)
        if message is None:
            raise BagError(f"{results} has no message on {TOPOLOGY_TOPIC}; evaluate the recording again.")
        topology = reader.deserialize(message)
    return _Mesh(
        np.reshape(topology.faces, (-1, 3)).astype(np.int64), np.asarray(topology.face_parts, np.int64)
    )
