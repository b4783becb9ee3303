"""Make `h2onet_ros/assets/hand_check/hand_check.onnx` from MediaPipe's hand landmark network.

    pip download --no-deps mediapipe==0.10.21
    python -m train.detector.convert_hand_check mediapipe-0.10.21-*.whl

Keeps two of its outputs, whether there is a hand and whether it is a right one, and drops the landmarks. See
`conversion.py`.
"""

from __future__ import annotations

import sys

from h2onet_ros.perception.hand_check import INPUT_SIZE
from train.detector.conversion import Recipe, run

HAND_CHECK = Recipe(
    module="train.detector.convert_hand_check",
    member="mediapipe/modules/hand_landmark/hand_landmark_{variant}.tflite",
    description="MediaPipe hand landmarks ({variant}), presence and side alone, Apache-2.0",
    asset="hand_check/hand_check.onnx",
    outputs=(None, "presence", "right", None),
    input_size=INPUT_SIZE,
    variant="lite",
    batch="regions",
)

if __name__ == "__main__":
    sys.exit(run(HAND_CHECK, __doc__))
