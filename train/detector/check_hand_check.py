"""How often the hand check is right: photographs as they are and mirrored, and corners that show no hand.

    python -m train.detector.check_hand_check --real real_hands.zip [--count 80]

Regions are made as the tracker makes them, turned by a few degrees. The sides that photographs are known to
show come from MediaPipe's full landmark network, whose lighter one is the check; the mirror image of a
photograph shows the other side, and a check that only repeats its bias is wrong on one of the two.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from h2onet_ros.perception.crop import crop_affine, to_network, upright_region, warp
from h2onet_ros.perception.hand_check import INPUT_SIZE, HandCheck
from h2onet_ros.perception.types import Region
from train.real_crops import RealCrops, RealCropsError

TURN = 0.1
"""Standard deviation, radians, of how far the tracker's regions stand from upright."""


def check_hands(check: HandCheck, crops: RealCrops, rows: np.ndarray, rng: np.random.Generator) -> tuple:
    """Shares `(present, side right)` of some photographs and their mirror images."""
    present, correct = [], []
    for row in rows:
        region, image = upright_region(crops.joints2d[row]), crops.image(row)
        for mirrored in (False, True):
            affine = crop_affine(region, INPUT_SIZE, rng.normal(0, TURN), mirrored)
            presence, right = check(to_network([warp(image, affine, INPUT_SIZE)]))
            present.append(presence[0] > 0.5)
            # `RealCrops` mirrors left hands: every picture shows a right one.
            correct.append((right[0] > 0.5) != mirrored)
    return float(np.mean(present)), float(np.mean(correct))


def check_corners(check: HandCheck, crops: RealCrops, rows: np.ndarray, rng: np.random.Generator) -> int:
    """How many corners of photographs, beside the hand in their middle, pass for a hand."""
    passed = 0
    for row in rows:
        x, y = rng.uniform(0, 20, 2)
        affine = crop_affine(Region(float(x), float(y), 60.0), INPUT_SIZE)
        passed += int(check(to_network([warp(crops.image(row), affine, INPUT_SIZE)]))[0][0] > 0.5)
    return passed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True, help="folder or zip file of real crops")
    parser.add_argument("--count", type=int, default=80, help="photographs of each set")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    check = HandCheck()
    try:
        used, held_out = RealCrops.load(options.real).split()
    except RealCropsError as error:
        print(f"check_hand_check: {error}", file=sys.stderr)
        return 1
    for name, crops in (("used for training", used), ("held out", held_out)):
        rows = rng.permutation(len(crops))[: options.count]
        present, correct = check_hands(check, crops, rows, rng)
        print(
            f"{name}: {2 * len(rows)} crops, side right in {correct:.1%}, presence above 0.5 in {present:.1%}"
        )
    rows = rng.permutation(len(used))[: options.count]
    print(f"corners that pass for a hand: {check_corners(check, used, rows, rng)} of {len(rows)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
