"""DexYCB and HO3D as sources of frames: which samples, which past, and labels as of a right hand."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from h2onet_ros.hand.mano import ManoFile, ManoFileError, load_mano
from h2onet_ros.hand.model import PosedHand, rotation_matrices
from train.datasets.base import DataSetError, Frame
from train.datasets.checked import read_checked
from train.datasets.files import read_image, read_occlusion
from train.datasets.history import History, jittered
from train.datasets.index import load_index
from train.datasets.layout import Layout, find_layout
from train.datasets.regions import box_region, joints_region, mirrored, whole_image

VALIDATION_STEP = 20
"""Of HO3D's sorted training samples every 20th, beginning with the first, is kept for validation."""

MAX_JOINT_ERROR = 0.010
"""Metres between annotated joints and those of the posed MANO hand, mean over a hand, that still pass."""

_PROBES = 48
_ATTEMPTS = 50
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """A sample that is left out, and why."""

    name: str
    reason: str


class HandDataset:
    """One split of DexYCB or HO3D; an `OrderedSource`. Opened by `open_dataset`.

    Attributes:
        layout: where its files lie.
        name: for messages, for example `dexycb train`.
        hand: the MANO hand whose vertices the frames have.
        problems: samples left out.
        index: arrays of all annotations, see `annotations.read_annotations`.
        rows: `(n,)` rows of the index that are used, in the data set's order.
    """

    def __init__(
        self,
        layout: Layout,
        index: dict[str, np.ndarray],
        mano: ManoFile,
        occlusion: bool = True,
        on_error: Literal["stop", "skip"] = "stop",
        left_out: dict[str, str] | None = None,
        reopening: tuple | None = None,
    ) -> None:
        self.layout, self.name = layout, f"{layout.name} {layout.split}"
        self.mano, self.hand = mano, mano.hand
        self.index, self._on_error = index, on_error
        self._occlusion = occlusion and layout.has_truth
        self._warned: set[str] = set()
        self._reopening = reopening
        reasons = np.char.decode(np.asarray(index["problem"]), "utf-8")
        names = np.char.decode(np.asarray(index["name"]), "utf-8")
        if left_out:
            reasons = np.array([reason or left_out.get(name, "") for name, reason in zip(names, reasons)])
        self.names = names
        members = _members(layout, names)
        self.problems = [Problem(str(names[i]), str(reasons[i])) for i in members if reasons[i]]
        usable = reasons == ""
        self.rows = members[usable[members]]
        if not len(self.rows):
            raise DataSetError(
                f"{self.name}: none of its {len(members)} samples can be used; the first is "
                + (f"{self.problems[0].name}: {self.problems[0].reason}." if self.problems else "missing.")
            )
        # A training frame's past must not show a picture that is kept for validation.
        pool = usable & np.isin(np.arange(len(usable)), members) if layout.split == "train" else usable
        self._history = History(np.asarray(index["sequence"]), np.asarray(index["number"]), pool)

    def __reduce__(self) -> tuple:
        """Other processes open the data set themselves: its index is a mapped file, not to be copied."""
        if self._reopening is None:
            raise TypeError("only a data set made by open_dataset can travel to another process")
        return open_dataset, self._reopening

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, rng: np.random.Generator, frames: int) -> list[Frame]:
        """A random sample with its past at randomly moved distances.

        Raises:
            DataSetError: one of its files cannot be used, and the data set was not opened to skip such.
        """
        for _ in range(_ATTEMPTS):
            row = int(self.rows[rng.integers(len(self.rows))])
            try:
                return [self.frame(r) for r in self._triple(row, frames, jittered(self.layout, rng))]
            except DataSetError as error:
                if self._on_error == "stop":
                    raise DataSetError(
                        f"{self.name}, sample {self.names[row]}: {error}. "
                        "`python -m train.check_data` lists all such samples and has them left out."
                    ) from error
                if str(error) not in self._warned:
                    self._warned.add(str(error))
                    _log.warning("%s: skipped sample %s: %s", self.name, self.names[row], error)
        raise DataSetError(
            f"{self.name}: {_ATTEMPTS} samples one after the other could not be used, the last of them "
            f"{self.names[row]}; is the data set complete? `python -m train.check_data` tells."
        )

    def sample(self, index: int, frames: int) -> list[Frame]:
        """Sample `index` of the data set's order, its past at the published distances.

        Raises:
            IndexError: no such sample.
            DataSetError: one of its files cannot be used.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        row = int(self.rows[index])
        return [self.frame(r) for r in self._triple(row, frames, (self.layout.short, self.layout.long))]

    def sequence(self, index: int) -> str:
        """The recording that sample `index` belongs to."""
        known = self.index["sequences"]
        return bytes(known[self.index["sequence"][self.rows[index]]]).decode()

    def _triple(self, row: int, frames: int, back: tuple[int, int]) -> list[int]:
        if frames == 1:
            return [row]
        index = self.index
        past = self._history.past(row, int(index["sequence"][row]), int(index["number"][row]), *back)
        return [row, *past]

    def file(self, row: int) -> str:
        """Name of the picture of one row of the index, from which `layout` tells where all its files lie."""
        return bytes(self.index["file_name"][row]).decode()

    def size(self, row: int) -> tuple[int, int]:
        """Width and height of the picture of one row of the index."""
        width, height = (int(side) for side in self.index["size"][row])
        return width, height

    def frame(self, row: int) -> Frame:
        """The picture of one row of the index, a left hand's mirrored.

        Raises:
            DataSetError: a file of it cannot be used.
        """
        index, layout = self.index, self.layout
        width, height = self.size(row)
        file = self.file(row)
        image = read_image(layout.image(file), (width, height))
        left = bool(index["left"][row])
        region = self.region(row)
        points = np.array(index["points"][row], np.float64)
        fx, fy, cx, cy = (float(v) for v in index["camera"][row])
        joints, wrist = np.array(index["joints"][row]), np.array(index["wrist"][row])
        if left:
            image = np.ascontiguousarray(image[:, ::-1])
            region = mirrored(region, width)
            points[:, 0] = width - 1 - points[:, 0]
            cx = width - 1 - cx
            joints[:, 0] *= -1
            wrist[0] *= -1
        if layout.has_truth:
            rotation, hand, error = self.posed(row)
            if error > MAX_JOINT_ERROR:
                raise DataSetError(
                    f"the posed MANO hand lies {error * 1000:.0f} mm from the annotated joints"
                )
            vertices = hand.vertices
        else:
            rotation, vertices = np.eye(3, dtype=np.float32), self.hand.template
        labels = read_occlusion(layout.occlusion(file)) if self._occlusion else np.zeros(6, np.float32)
        known = float(layout.has_truth)
        return Frame(
            image=image,
            points=points,
            camera=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            vertices=vertices,
            rotation=rotation,
            occlusion=labels,
            mesh_weight=known,
            occlusion_weight=float(self._occlusion),
            point_weight=known,
            name=str(self.names[row]),
            mirrored=left,
            region=region,
            joints=joints if layout.has_truth else None,
            wrist=wrist,
        )

    def region(self, row: int) -> Any:
        """The published square about the hand, in the picture as it is stored."""
        index, size = self.index, self.size(row)
        if self.layout.has_truth:
            region = joints_region(np.array(index["points"][row], np.float64), size)
        else:
            region = box_region(index["box"][row], size)
        return region or whole_image(size)

    def posed(self, row: int) -> tuple[np.ndarray, PosedHand, float]:
        """Rotation `(3, 3)`, the hand without it, and metres between its joints and the annotated ones.

        A left hand is mirrored. The distance is the mean over the joints, wrists together.
        """
        pose = np.array(self.index["pose"][row], np.float64)
        annotated = np.array(self.index["joints"][row], np.float64)
        if self.index["left"][row]:
            pose[:, 1:] *= -1
            annotated[:, 0] *= -1
        rotation = rotation_matrices(pose[0]).astype(np.float32)
        pose[0] = 0
        hand = self.hand.pose(self.mano.full_pose(pose.reshape(48)), self.index["shape"][row])
        joints = (hand.joints - hand.joints[0]) @ rotation.T
        error = np.linalg.norm(joints - (annotated - annotated[0]), axis=1).mean()
        return rotation, hand, float(error)

    def placed(self, row: int) -> np.ndarray:
        """Vertices `(V, 3)` metres in the axes of the camera of the picture as it is stored."""
        rotation, hand, _ = self.posed(row)
        vertices = (hand.vertices - hand.joints[0]) @ rotation.T
        if self.index["left"][row]:
            vertices[:, 0] *= -1
        return vertices + self.index["wrist"][row]

    def check_mano(self) -> None:
        """Raises DataSetError if the MANO file does not explain the annotated joints."""
        if not self.layout.has_truth:
            return
        probes = self.rows[np.linspace(0, len(self.rows) - 1, min(_PROBES, len(self.rows))).astype(int)]
        error = float(np.median([self.posed(int(row))[2] for row in probes]))
        if error > MAX_JOINT_ERROR:
            raise DataSetError(
                f"{self.name}: the posed MANO hand lies {error * 1000:.0f} mm from the annotated joints "
                f"(median of {len(probes)} samples, expected at most {MAX_JOINT_ERROR * 1000:.0f}): not "
                "the MANO_RIGHT.pkl that the annotations were made with, or these are not HandOccNet's."
            )

    def check_occlusion(self) -> None:
        """Raises DataSetError if occlusion labels are wanted and the first or the last sample has none."""
        if self._occlusion:
            for row in (self.rows[0], self.rows[-1]):
                read_occlusion(self.layout.occlusion(self.file(int(row))))


def open_dataset(
    name: str,
    root: str | Path,
    split: str,
    mano: ManoFile | str | Path,
    setup: str = "s0",
    occlusion: bool = True,
    on_error: Literal["stop", "skip"] = "stop",
    cache: str | Path | None = None,
    progress: bool = False,
    checked: bool = True,
) -> HandDataset:
    """Open a split of a published data set.

    Args:
        name: `dexycb`, `ho3d_v2` or `ho3d_v3`.
        root: the folder that holds `annotations`.
        split: `train`, `val`, `test` of DexYCB; `train`, `val`, `evaluation` of HO3D.
        mano: `MANO_RIGHT.pkl`, or its path.
        setup: `s0` to `s3` of DexYCB.
        occlusion: read occlusion labels, which must be there then; else their weight is 0.
        on_error: what `draw` does where a picture or label is missing or damaged: stop, or log it and draw
            another sample.
        cache: folder for the index; see `index.load_index`.
        progress: show a bar while the index is made.
        checked: leave out what `python -m train.check_data` found.

    Raises:
        DataSetError: annotations, MANO file or labels are missing or do not fit together.
    """
    if on_error not in ("stop", "skip"):
        raise DataSetError(f"on_error must be 'stop' or 'skip', got {on_error!r}.")
    reopening = (name, root, split, mano, setup, occlusion, on_error, cache, False, checked)
    layout = find_layout(name, root, split, setup)
    try:
        model = mano if isinstance(mano, ManoFile) else load_mano(mano)
    except (OSError, ManoFileError) as error:
        raise DataSetError(
            f"No MANO hand: {error}. MANO_RIGHT.pkl is at mano.is.tue.mpg.de, after accepting its licence."
        ) from error
    dataset = HandDataset(
        layout,
        load_index(layout, cache, progress),
        model,
        occlusion,
        on_error,
        read_checked(layout, cache) if checked else None,
        reopening,
    )
    dataset.check_mano()
    dataset.check_occlusion()
    if dataset.problems:
        first = dataset.problems[0]
        if checked and not layout.has_truth:
            raise DataSetError(
                f"{dataset.name}: {len(dataset.problems)} samples cannot be used, the first is {first.name}: "
                f"{first.reason}. A submission needs all of them; repair the data and run "
                "`python -m train.check_data` again."
            )
        _log.warning(
            "%s: %d of %d samples are left out, the first is %s: %s; `python -m train.check_data` lists them",
            dataset.name,
            len(dataset.problems),
            len(dataset.problems) + len(dataset),
            first.name,
            first.reason,
        )
    return dataset


def _members(layout: Layout, names: np.ndarray) -> np.ndarray:
    """Rows that belong to the split, in its order."""
    if layout.order is None:
        return np.arange(len(names))
    if layout.split == "evaluation":
        return _listed(layout, names)
    ordered = np.argsort(names, kind="stable")
    kept = np.arange(len(ordered)) % VALIDATION_STEP == 0
    return ordered[kept if layout.split == "val" else ~kept]


def _listed(layout: Layout, names: np.ndarray) -> np.ndarray:
    """Rows in the order of the data set's own list, which a submission must have."""
    assert layout.order is not None
    try:
        listed = [line.strip() for line in layout.order.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise DataSetError(f"{layout.order} is needed for the order of the samples: {error}") from error
    where = {str(name): row for row, name in enumerate(names)}
    missing = [name for name in listed if name not in where]
    if missing:
        raise DataSetError(
            f"{layout.annotations} lacks {len(missing)} of the {len(listed)} samples of {layout.order.name}, "
            f"the first is {missing[0]}; annotations and list belong to different versions of the data set."
        )
    return np.array([where[name] for name in listed])
