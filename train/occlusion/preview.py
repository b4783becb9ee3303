"""Pictures to judge occlusion labels by."""

from __future__ import annotations

import cv2
import numpy as np

from train.datasets.files import read_image
from train.datasets.hands import HandDataset
from train.datasets.layout import OCCLUSION_KEYS
from train.occlusion.label import OcclusionLabel

_COLOURS = np.array(
    [(0, 0, 0), (230, 60, 60), (240, 160, 40), (90, 200, 60), (60, 180, 220), (120, 90, 230), (200, 90, 180)],
    np.uint8,
)


def draw_preview(dataset: HandDataset, row: int, label: OcclusionLabel) -> np.ndarray:
    """The picture, the drawn parts, and what the segmentation leaves of them, beside each other, RGB.

    Below stand the number of visible vertices of each part and the share of the hand that is visible; what
    counts as occluded is red.
    """
    size = dataset.size(row)
    image = read_image(dataset.layout.image(dataset.file(row)), size)
    rows, columns = np.nonzero((label.drawn > 0) | label.kept)
    if len(rows):
        margin = 20
        top, bottom = max(rows.min() - margin, 0), rows.max() + margin
        left, right = max(columns.min() - margin, 0), columns.max() + margin
    else:
        top, left, bottom, right = 0, 0, size[1], size[0]
    part = (slice(top, bottom), slice(left, right))
    drawn = np.where(label.drawn[..., None] > 0, _COLOURS[label.drawn], image // 2)
    seen = np.where(label.kept[..., None], _COLOURS[label.drawn], image // 2)
    # Segmented pixels where no hand was drawn are white: there should be few.
    seen[label.kept & (label.drawn == 0)] = 255
    scale = 360 / max(bottom - top, right - left)
    tiles = [
        cv2.resize(
            np.ascontiguousarray(tile[part]), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST
        )
        for tile in (image, drawn, seen)
    ]
    picture = np.hstack(tiles)
    picture = cv2.copyMakeBorder(
        picture, 0, 62, 0, max(0, 760 - picture.shape[1]), cv2.BORDER_CONSTANT, value=(20, 20, 20)
    )
    base = picture.shape[0] - 44
    _write(picture, dataset.names[row], (6, base), (220, 220, 220))
    x = 6
    for name, occluded, count in zip(
        OCCLUSION_KEYS, label.occluded, [*label.visible.tolist(), f"{label.visible_share:.2f}"]
    ):
        colour = (255, 80, 80) if occluded else (220, 220, 220)
        x += _write(picture, f"{name} {count}", (x, base + 26), colour) + 10
    return picture


def _write(picture: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> int:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
