"""Loading of published data sets, and occlusion labels: pictures a second of one core's time.

    python -m benchmark.datasets

Miniature DexYCB (JPEG) and HO3D (PNG) trees of 640 x 480 pictures are written to a temporary folder. Rates
count processor time, so that other work on the machine matters little; elapsed time stands beside them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from train import label_occlusion
from train.augment import CropJitter, Photography, PhotoJitter, random_rotation
from train.data import make_crop
from train.datasets import HandDataset, open_dataset
from train.reference_crop import ReferenceAugmentation, ReferenceJitter

sys.path.insert(0, str(Path(__file__).parents[1] / "test" / "train"))

SECONDS = 4.0


def measure(title: str, wanted: float | None, step: Callable[[], int]) -> None:
    """Print how many pictures a second `step` gets done; it returns how many it did."""
    step()
    count, start, begin = 0, time.perf_counter(), time.process_time()
    while time.process_time() - begin < SECONDS:
        count += step()
    spent, elapsed = time.process_time() - begin, time.perf_counter() - start
    goal = "" if wanted is None else f"   (wanted: {wanted:.0f})"
    print(f"{title:58} {count / spent:7.0f} /core-s {count / elapsed:7.0f} /s elapsed{goal}")


def published(dataset: HandDataset, frames: int, rng: np.random.Generator) -> int:
    """One sample as H2ONet's training crops it."""
    augmentation = ReferenceAugmentation.draw(ReferenceJitter(), rng)
    return len([augmentation.crop(frame) for frame in dataset.draw(rng, frames)])


def upright(dataset: HandDataset, frames: int, rng: np.random.Generator) -> int:
    """One sample as the training of the open weights crops it."""
    jitter = CropJitter()
    photography, rotation = Photography(PhotoJitter(), rng), random_rotation(jitter, rng)
    return len([photography(make_crop(f, rotation, jitter, rng)[0]) for f in dataset.draw(rng, frames)])


def main() -> None:
    import miniature

    cv2.setNumThreads(0)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        trees = {
            "dexycb": miniature.write_dexycb(Path(folder) / "dexycb"),
            "ho3d_v2": miniature.write_ho3d(Path(folder) / "ho3d"),
        }
        sizes = [path.stat().st_size for path in trees["dexycb"].root.rglob("*.jpg")]
        print(f"JPEG files of {np.mean(sizes) / 1000:.0f} kB")
        for name, tree in trees.items():
            kind = "JPEG" if name == "dexycb" else "PNG"
            dataset = open_dataset(name, tree.root, "train", tree.mano, occlusion=False)
            row = iter(int(r) for _ in range(10**6) for r in dataset.rows)
            measure(
                f"{name} occlusion labels",
                15,
                lambda d=dataset, r=row: bool(label_occlusion.label_row(d, next(r)).name),  # type: ignore[misc]
            )
            dataset = open_dataset(name, tree.root, "train", tree.mano)
            for crop in (published, upright):
                for frames in (1, 3):
                    measure(
                        f"{name} ({kind}) {crop.__name__} crops, {frames} frame{'s' * (frames > 1)} a sample",
                        60 if name == "dexycb" else None,
                        lambda d=dataset, c=crop, f=frames: c(d, f, rng),  # type: ignore[misc]
                    )


if __name__ == "__main__":
    main()
