"""Make `h2onet_ros/assets/hand_check/hand_check.onnx` from MediaPipe's hand landmark network.

    pip download --no-deps mediapipe==0.10.21
    python -m train.detector.convert_hand_check mediapipe-0.10.21-*.whl

Keeps two of its outputs, whether there is a hand and whether it is a right one, and drops the landmarks.
Compares the result with LiteRT on random images and refuses to write when the two disagree.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from pathlib import Path

import onnx

from train.detector.convert_palm import largest_difference
from train.detector.tflite_to_onnx import convert

MEMBER = "mediapipe/modules/hand_landmark/hand_landmark_{variant}.tflite"
OUTPUT = Path(__file__).parents[2] / "h2onet_ros" / "assets" / "hand_check" / "hand_check.onnx"
PRESENCE, RIGHT = 1, 2
TOLERANCE = 1e-3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help="mediapipe-0.10.21 wheel")
    parser.add_argument("--variant", choices=("full", "lite"), default="lite")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    with zipfile.ZipFile(options.wheel) as archive:
        tflite = archive.read(MEMBER.format(variant=options.variant))
    model = convert(tflite, [None, "presence", "right", None], batch="regions")
    model.producer_name = "h2onet_ros train.detector.convert_hand_check"
    model.doc_string = f"MediaPipe hand landmarks ({options.variant}), presence and side alone, Apache-2.0"
    difference = largest_difference(tflite, model, 224, (PRESENCE, RIGHT))
    print(f"source sha256     {hashlib.sha256(tflite).hexdigest()}")
    print(f"largest difference {difference:.2e} between LiteRT and ONNX Runtime")
    if not difference < TOLERANCE:
        print(f"expected less than {TOLERANCE:g}: nothing written", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, options.output)
    print(f"wrote {options.output} ({options.output.stat().st_size / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
