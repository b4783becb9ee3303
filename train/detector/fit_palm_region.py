"""Measure where a hand lies relative to its palm: the two constants of `h2onet_ros.perception.palm`.

    python -m train.detector.fit_palm_region path/to/real_hands.zip --leave-out dwivedi

Detects palms in labelled crops pasted at random into larger images, and prints the mean shift of the hand's
box towards the knuckles and the size of the region, both in palm sizes, fitted without the sources left out,
and how well the regions agree with the true ones for both groups.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from h2onet_ros.perception.crop import upright_region
from h2onet_ros.perception.palm import PalmDetection, PalmDetector
from h2onet_ros.perception.types import Region


def detect_pasted(
    detector: PalmDetector, image: np.ndarray, joints: np.ndarray, rng: np.random.Generator
) -> tuple[PalmDetection, np.ndarray] | None:
    """The palm of the hand in a crop that was pasted at random into a larger image, and its joints there."""
    side = len(image)
    canvas_side = int(side / rng.uniform(0.35, 1.0))
    canvas = np.empty((canvas_side, canvas_side, 3), np.uint8)
    canvas[:] = image.reshape(-1, 3).mean(0)
    x, y = rng.integers(0, canvas_side - side + 1, 2)
    canvas[y : y + side, x : x + side] = image
    joints = joints + np.array([x, y])
    extent = np.ptp(joints, axis=0).max()
    for palm in detector.detect(canvas):
        if np.linalg.norm(palm.points[0] - joints[0]) < 0.35 * extent:
            return palm, joints
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, help="zip of crops with labels.npz: image, joints2d")
    parser.add_argument(
        "--leave-out", nargs="*", default=["dwivedi"], help="sources to judge by, not to fit to"
    )
    parser.add_argument("--samples", type=int, default=3500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    detector = PalmDetector()
    palms, joints, left_out = [], [], []
    with zipfile.ZipFile(options.archive) as archive:
        labels = np.load(io.BytesIO(archive.read("labels.npz")), allow_pickle=False)
        chosen = rng.permutation(len(labels["image"]))[: options.samples]
        for index in tqdm(chosen, unit="hand"):
            name = str(labels["image"][index])
            bgr = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            if bgr is None:
                raise ValueError(f"{options.archive}: {name} is not an image")
            image = np.ascontiguousarray(bgr[..., ::-1])
            found = detect_pasted(detector, image, labels["joints2d"][index], rng)
            if found:
                palms.append(found[0])
                joints.append(found[1])
                left_out.append(name.split("/")[0] in options.leave_out)
    print(f"detected {len(palms)} of {len(chosen)}")
    report(palms, np.array(joints), np.array(left_out))


def report(palms: list[PalmDetection], joints: np.ndarray, left_out: np.ndarray) -> None:
    """Print the fit over palms and joints `(N, 21, 2)`, and how good it is where `left_out` `(N,)` or not."""
    truths = [upright_region(hand) for hand in joints]
    centre, size = np.array([(r.x, r.y) for r in truths]), np.array([r.size for r in truths])
    boxes = np.stack([palm.box for palm in palms])
    palm_centre, palm_size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2] - boxes[:, 0]
    angle = np.array([palm.region.angle for palm in palms])
    direction = np.stack([np.sin(angle), -np.cos(angle)], 1)
    fitted = ~left_out
    shift = (((centre - palm_centre) * direction).sum(1) / palm_size)[fitted].mean()
    ratio = np.exp(np.log(size / palm_size)[fitted].mean())
    print(f"shift {shift:.3f}   size {ratio:.3f}")
    guess = palm_centre + direction * shift * palm_size[:, None]
    regions = [Region(x, y, s) for (x, y), s in zip(guess, ratio * palm_size)]
    overlap = np.array([a.iou(b) for a, b in zip(regions, truths)])
    for name, group in (("fitted", fitted), ("left out", left_out)):
        if group.any():
            print(f"{name:9} intersection over union: mean {overlap[group].mean():.3f}, ", end="")
            print(f"5th percentile {np.percentile(overlap[group], 5):.3f}  ({group.sum()} hands)")


if __name__ == "__main__":
    main()
