"""Make the occlusion labels that multi-frame training needs: which fingers of a picture are hidden.

    python -m train.label_occlusion dexycb DEX_YCB --mano MANO_RIGHT.pkl
    python -m train.label_occlusion ho3d_v2 HO3D --mano MANO_RIGHT.pkl --preview pictures

Of every annotated picture the hand's mesh is drawn, one colour a part; of the drawing only those pixels
stay that the segmentation says show the hand. A part with fewer than 30 visible vertices is occluded; the
whole hand is, if the segmented pixels are less than 0.40 of the drawn ones. The labels go beside the
pictures, as `occ_v2_NNNNNN.json` (DexYCB) or `occ_v2/NNNN.json` (HO3D), each 0 or 1 (occluded): thumb,
index, middle, ring, little, palm, global.

Pictures that have labels are passed over, so the same command goes on where it was stopped (Ctrl-C is safe
at any time). Nothing is drawn on a screen, and no graphics card is needed.

Exit code: 0 all labelled; 1 some could not be labelled, they are named; 2 nothing could be done; 130
stopped.
"""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from train.datasets.base import DataSetError
from train.datasets.command import Opening, add_arguments, ended_like_ctrl_c, map_rows, openings
from train.datasets.files import read_occlusion
from train.datasets.hands import HandDataset
from train.datasets.layout import OCCLUSION_KEYS
from train.occlusion.label import label_sample
from train.occlusion.preview import draw_preview

CHANNELS = {"blue": 0, "green": 1, "red": 2}
MIN_AGREEMENT = 0.5
"""Median share of the segmented pixels that the drawn hand must cover for the data to belong together."""

_PROBES = 24


@dataclass(frozen=True)
class Outcome:
    """Of one picture: its classes `(7,)`, or why there are none."""

    name: str
    occluded: np.ndarray | None
    reason: str = ""


def label_row(
    dataset: HandDataset, row: int, channel: int = 0, preview: Path | None = None, every: int = 1
) -> Outcome:
    """Label one row of the index and write its file; one in `every` rows gets a picture in `preview`."""
    name = str(dataset.names[row])
    try:
        label = label_sample(dataset, row, channel)
        if preview is not None and row % every == 0:
            picture = draw_preview(dataset, row, label)
            path = preview / f"{name.replace('/', '_')}.png"
            if not cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1])):
                raise DataSetError(f"{path} cannot be written")
        label.write(dataset.layout.occlusion(dataset.file(row)))
    except DataSetError as error:
        return Outcome(name, None, str(error))
    return Outcome(name, label.occluded)


def check_agreement(dataset: HandDataset, channel: int) -> None:
    """Raises DataSetError if drawn hands and segmentations do not lie upon each other."""
    found = []
    for row in dataset.rows[np.linspace(0, len(dataset) - 1, min(_PROBES, len(dataset))).astype(int)]:
        try:
            label = label_sample(dataset, int(row), channel)
        except DataSetError:
            continue
        if label.kept.any():
            found.append(label.agreement)
    if not found:
        raise DataSetError(
            f"{dataset.name}: none of {_PROBES} pictures from all over the data set has a segmentation that "
            "shows a hand; are the segmentations downloaded, and is --hand-channel right?"
        )
    if np.median(found) < MIN_AGREEMENT:
        raise DataSetError(
            f"{dataset.name}: the drawn hand covers only {np.median(found):.0%} of the segmented pixels "
            f"(expected over {MIN_AGREEMENT:.0%}); segmentations and annotations do not belong together, or "
            "--hand-channel is wrong."
        )


def unlabelled(dataset: HandDataset, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` without a readable label file."""
    open_rows: list[int] = []
    for row in tqdm(rows, desc="looking for labels", unit=" pictures", leave=False):
        try:
            read_occlusion(dataset.layout.occlusion(dataset.file(row)))
        except DataSetError:
            open_rows.append(int(row))
    return np.array(open_rows, int)


def label_split(
    opening: Opening,
    workers: int = 1,
    channel: int = 0,
    overwrite: bool = False,
    preview: Path | None = None,
    every: int = 1,
) -> tuple[list[Outcome], int]:
    """Label what has no labels in a split; returns what became of each picture, and how many had labels.

    Raises:
        DataSetError: the split cannot be opened, or segmentations and annotations do not belong together.
    """
    dataset = opening.open(progress=True)
    if not dataset.layout.has_truth:
        raise DataSetError(f"{dataset.name} has no annotated hands, so there is nothing to label.")
    check_agreement(dataset, channel)
    rows = dataset.rows if overwrite else unlabelled(dataset, dataset.rows)
    if preview is not None:
        preview.mkdir(parents=True, exist_ok=True)
    work = functools.partial(label_row, channel=channel, preview=preview, every=every)
    outcomes = []
    with tqdm(
        total=len(dataset.rows),
        initial=len(dataset.rows) - len(rows),
        desc=dataset.name,
        unit=" pictures",
        smoothing=0.1,
    ) as bar:
        for outcome in map_rows(opening, dataset, work, rows, workers):
            outcomes.append(outcome)
            bar.update()
    return outcomes, len(dataset.rows) - len(rows)


def summary(name: str, outcomes: list[Outcome], before: int = 0) -> str:
    """A few lines on a split: how many were labelled now and `before`, what is occluded, what failed."""
    labels = [outcome.occluded for outcome in outcomes if outcome.occluded is not None]
    failed = [outcome for outcome in outcomes if outcome.occluded is None]
    text = f"{name}: {len(labels)} pictures labelled" + (f", {before} had labels" if before else "")
    if labels:
        shares = np.mean(labels, axis=0)
        text += ", occluded: " + ", ".join(f"{key} {share:.0%}" for key, share in zip(OCCLUSION_KEYS, shares))
    if failed:
        text += f"\n{len(failed)} could not be labelled:"
    return "\n".join([text, *(f"  {outcome.name}: {outcome.reason}" for outcome in failed)])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="label again what has labels")
    parser.add_argument("--preview", type=Path, help="folder for pictures to judge the labels by")
    parser.add_argument("--preview-every", type=int, default=50, help="one of so many labelled (50)")
    parser.add_argument(
        "--hand-channel", choices=CHANNELS, default="blue", help="colour of the hand in HO3D's segmentations"
    )
    arguments = parser.parse_args()
    failed = 0
    try:
        with ended_like_ctrl_c():
            for opening in openings(arguments):
                if opening.split == "evaluation" and not arguments.split:
                    continue  # has no truth
                outcomes, before = label_split(
                    opening,
                    arguments.workers,
                    CHANNELS[arguments.hand_channel],
                    arguments.overwrite,
                    arguments.preview,
                    max(arguments.preview_every, 1),
                )
                print(summary(f"{opening.name} {opening.split}", outcomes, before), flush=True)
                failed += sum(outcome.occluded is None for outcome in outcomes)
    except KeyboardInterrupt:
        print("Stopped; labels made so far are kept, the same command goes on.", file=sys.stderr)
        return 130
    except (DataSetError, OSError) as error:
        print(f"label_occlusion: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
