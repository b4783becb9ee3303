"""Walk through a data set and name every sample that cannot be used.

    python -m train.check_data dexycb DEX_YCB --mano MANO_RIGHT.pkl
    python -m train.check_data ho3d_v2 HO3D --mano MANO_RIGHT.pkl --split train --labels

Looked for, in every sample: annotations that are missing, empty, of the wrong shape or not finite; a hand
without extent, behind the camera or outside the image; image points that are not where the joints project;
two annotations of one image; pictures that are missing, empty, cut short, damaged or of another size; a
posed MANO hand that is not where the joints are. With --labels and --segmentation these files too.

What is found wrong with pictures and hands is written beside the index, and training and evaluation leave
those samples out from then on. Run the command again after repairing the data: the list is made anew.

Exit code: 0 all is well; 1 some samples cannot be used, they are named; 2 the data set cannot be opened;
130 stopped.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from train.datasets.base import DataSetError
from train.datasets.checked import write_checked
from train.datasets.command import Opening, add_arguments, ended_like_ctrl_c, map_rows, openings
from train.datasets.files import read_image, read_occlusion, read_segmentation
from train.datasets.hands import MAX_JOINT_ERROR, HandDataset, Problem

ANNOTATION, PICTURE, MESH, LABEL, SEGMENTATION = "annotation", "picture", "mesh", "label", "segmentation"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a sample: which part of it, and the problem."""

    kind: str
    problem: Problem


@dataclass(frozen=True)
class Report:
    """What became of a split: how many samples were looked at, and what was found, by name."""

    name: str
    samples: int
    findings: list[Finding]

    def text(self) -> str:
        """A line for every finding, and a summary."""
        kinds = Counter(finding.kind for finding in self.findings)
        bad = len({finding.problem.name for finding in self.findings})
        lines = [f"  {f.problem.name}: {f.kind}: {f.problem.reason}" for f in self.findings]
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        total = f"{self.name}: {self.samples} samples, " + (
            f"{bad} cannot be used ({counts})" if bad else "all good"
        )
        return "\n".join([*lines, total])


def examine(
    dataset: HandDataset, row: int, labels: bool = False, segmentation: bool = False
) -> list[Finding]:
    """Look at the files of one row of the index, and at its mesh."""
    layout, name, file, size = dataset.layout, str(dataset.names[row]), dataset.file(row), dataset.size(row)
    steps: list[tuple[str, Callable[[], object]]] = [(PICTURE, lambda: read_image(layout.image(file), size))]
    if layout.has_truth:
        steps.append((MESH, lambda: check_mesh(dataset, row)))
        if labels:
            steps.append((LABEL, lambda: read_occlusion(layout.occlusion(file))))
        if segmentation:
            steps.append((SEGMENTATION, lambda: read_segmentation(layout.segmentation(file), size)))
    findings = []
    for kind, step in steps:
        try:
            step()
        except DataSetError as error:
            findings.append(Finding(kind, Problem(name, str(error))))
    return findings


def check_mesh(dataset: HandDataset, row: int) -> None:
    """Raises DataSetError if the posed hand is not where the annotated joints are."""
    error = dataset.posed(row)[2]
    if error > MAX_JOINT_ERROR:
        raise DataSetError(f"the posed MANO hand lies {error * 1000:.0f} mm from the annotated joints")


def check_split(
    opening: Opening, workers: int = 1, labels: bool = False, segmentation: bool = False
) -> Report:
    """Look at every sample of a split, and note what cannot be used for training and evaluation.

    Raises:
        DataSetError: the split cannot be opened.
    """
    dataset = opening.open(progress=True)
    findings = [Finding(ANNOTATION, problem) for problem in dataset.problems]
    work = functools.partial(examine, labels=labels, segmentation=segmentation)
    with tqdm(total=len(dataset), desc=dataset.name, unit=" samples", smoothing=0.1) as bar:
        for found in map_rows(opening, dataset, work, dataset.rows, workers):
            findings += found
            bar.update()
            bar.set_postfix_str(f"{len(findings)} found")
    # Labels can be made anew, and not every training needs them; segmentations are for making labels only.
    left_out = {f.problem.name: f.problem.reason for f in findings if f.kind in (PICTURE, MESH)}
    write_checked(dataset.layout, left_out, opening.cache)
    findings.sort(key=lambda finding: finding.problem.name)
    return Report(dataset.name, len(dataset) + len(dataset.problems), findings)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--labels", action="store_true", help="also check the occlusion labels")
    parser.add_argument("--segmentation", action="store_true", help="also check the hand segmentations")
    arguments = parser.parse_args()
    reports = []
    try:
        with ended_like_ctrl_c():
            for opening in openings(arguments, checked=False):
                report = check_split(opening, arguments.workers, arguments.labels, arguments.segmentation)
                print(report.text(), flush=True)
                reports.append(report)
    except KeyboardInterrupt:
        print("Stopped; nothing was noted of the split that was not finished.", file=sys.stderr)
        return 130
    except (DataSetError, OSError) as error:
        print(f"check_data: {error}", file=sys.stderr)
        return 2
    return 1 if any(report.findings for report in reports) else 0


if __name__ == "__main__":
    raise SystemExit(main())
