"""Images of a recording worth looking at, with the hands that were found, and the true ones, drawn in."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.evaluation.accuracy import true_points
from h2onet_ros.bag.evaluation.images import RecordedImages
from h2onet_ros.bag.evaluation.plots import Table
from h2onet_ros.bag.evaluation.results import read_results
from h2onet_ros.bag.evaluation.truth import Truth
from h2onet_ros.hand.joints import FINGER_NAMES, SKELETON
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.types import Frame, FrameResult, Hand

COUNT = 9
_WIDTH = 640
_TRUTH_COLOUR = (60, 220, 90)


class Mesh(Protocol):
    """What drawing needs of a hand's mesh: `faces (F, 3)` and `face_part (F,)`."""

    @property
    def faces(self) -> NDArray[Any]: ...

    @property
    def face_part(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class KeyFrame:
    """An image for the report: what it shows, when (seconds), and a JPEG as base64 text."""

    caption: str
    time: float
    jpeg: str


def choose(table: Table, count: int = COUNT) -> dict[int, str]:
    """Numbers of images, in order, with the reason for each."""
    chosen: dict[int, str] = {}

    def take(rows: NDArray[np.bool_], worth: NDArray[Any], reason: str, at_most: int = 1) -> None:
        for row in np.argsort(-np.where(rows, worth, -np.inf), kind="stable")[:at_most]:
            if rows[row] and len(chosen) < count:
                chosen.setdefault(int(table["image"][row]), reason)

    found = table["track_id"] >= 0
    first = found & (np.cumsum(found) == 1)
    take(first, found.astype(float), "first hand")
    if "match" in table:
        error = np.nan_to_num(table["mpjpe"], nan=-1.0)
        take(error >= 0, error, "largest error")
        take(error >= 0, -error, "smallest error")
        take(table["match"] == "missed", table["truth_hidden_fingers"] * -1.0, "missed hand")
        take(table["match"] == "false", np.nan_to_num(table["detection_score"]), "false hand")
    hidden = sum(np.nan_to_num(table[f"occlusion_{name}"]) for name in FINGER_NAMES)
    assert isinstance(hidden, np.ndarray)
    take(found & (hidden > 0), hidden, "most fingers said to be hidden")
    misfit = np.nan_to_num(table["reprojection_error"] / np.maximum(table["region_size"], 1.0))
    take(found, misfit, "largest reprojection error")
    images = np.unique(table["image"])
    for place in np.linspace(0, len(images) - 1, count + 2)[1:-1]:
        if len(chosen) < count:
            chosen.setdefault(int(images[round(place)]), "in between")
    return dict(sorted(chosen.items()))


def key_frames(
    chosen: dict[int, str], images: RecordedImages, results: Path, truth: Truth | None, mesh: Mesh
) -> list[KeyFrame]:
    """The chosen images, drawn; those that cannot be read again are left out."""
    frames = {}
    for image in images.only(set(chosen)):
        if image.frame is not None:
            frames[image.frame.stamp] = (image.number, image.time, image.frame)
    drawn = []
    for result in read_results(results, list(frames)):
        if result.stamp not in frames:  # A stamp that occurs twice.
            continue
        number, time, frame = frames.pop(result.stamp)
        true = truth.at(frame.stamp, frame.frame_id, frame.camera) if truth else None
        picture = _draw(frame, result, true or (), mesh)
        drawn.append(KeyFrame(chosen[number], time * 1e-9, _jpeg(picture)))
        if not frames:
            break
    return drawn


def _draw(frame: Frame, result: FrameResult, true: tuple[Hand, ...], mesh: Mesh) -> NDArray[np.uint8]:
    picture = draw_overlay(frame.rgb, result.hands, frame.camera, mesh.faces, mesh.face_part)
    for hand in true:
        points = true_points(hand, frame.camera)
        if not np.isfinite(points).all():
            continue
        ends = np.clip(points, -8000, 8000).round().astype(int)
        for start, end in SKELETON:
            cv2.line(picture, tuple(ends[start]), tuple(ends[end]), _TRUTH_COLOUR, 1, cv2.LINE_AA)
    return picture


def _jpeg(rgb: NDArray[np.uint8]) -> str:
    height, width = rgb.shape[:2]
    if width > _WIDTH:
        rgb = np.asarray(
            cv2.resize(rgb, (_WIDTH, round(height * _WIDTH / width)), interpolation=cv2.INTER_AREA), np.uint8
        )
    data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return base64.b64encode(data.tobytes()).decode()
