"""Occlusion classes of one sample, by H2ONet's rule, from its mesh and its segmentation."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.datasets.files import read_segmentation
from train.datasets.hands import HandDataset
from train.datasets.layout import OCCLUSION_KEYS
from train.occlusion.raster import draw_parts
from train.synthetic.labels import VISIBLE_SHARE_OF_HAND, hidden_parts, visible_vertices


@dataclass(frozen=True)
class OcclusionLabel:
    """What was found for one sample.

    Attributes:
        occluded: `(7,)` bool, in the order of `OCCLUSION_KEYS`.
        visible: `(6,)` visible vertices of each part.
        visible_share: segmented pixels over drawn ones.
        drawn: `(H, W)` uint8, the part + 1 of every pixel of the drawn hand.
        kept: `(H, W)` bool, pixels that the segmentation says are visible hand.
    """

    occluded: np.ndarray
    visible: np.ndarray
    visible_share: float
    drawn: np.ndarray
    kept: np.ndarray

    @property
    def agreement(self) -> float:
        """Share of the segmented pixels where the hand was drawn; 1 if nothing is segmented."""
        return float((self.drawn[self.kept] > 0).mean()) if self.kept.any() else 1.0

    def write(self, path: Path) -> None:
        """Write the label file; it appears only when complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(json.dumps(dict(zip(OCCLUSION_KEYS, self.occluded.astype(int).tolist()))))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def label_sample(dataset: HandDataset, row: int, channel: int = 0) -> OcclusionLabel:
    """The occlusion classes of one row of the data set's index.

    A hand outside the picture is all occluded. On a mesh other than MANO's a part is occluded below the same
    *share* of its vertices that 30 are of MANO's.

    Args:
        dataset: a split with truth.
        row: of its index.
        channel: see `files.read_segmentation`.

    Raises:
        DataSetError: the segmentation cannot be used.
    """
    hand, size = dataset.hand, dataset.size(row)
    kept = read_segmentation(dataset.layout.segmentation(dataset.file(row)), size, channel)
    vertices = dataset.placed(row).astype(np.float64)
    camera = np.asarray(dataset.index["camera"][row], np.float64)
    drawn, _ = draw_parts(vertices, hand.faces, hand.face_part, camera, size)
    ahead = np.where(vertices[:, 2] > 0, vertices[:, 2], np.nan)
    # A vertex behind the camera has no pixel; comparisons with NaN leave it out.
    points = vertices[:, :2] / ahead[:, None] * camera[:2] + camera[2:]
    visible = visible_vertices(np.where(kept, drawn, 0), points, hand.vertex_part)
    share = float(kept.sum()) / max(int((drawn > 0).sum()), 1)
    parts = hidden_parts(visible, np.bincount(hand.vertex_part, minlength=6))
    gone = not drawn.any() or share < VISIBLE_SHARE_OF_HAND
    return OcclusionLabel(np.append(parts, gone), visible, share, drawn, kept)
