"""Make `h2onet_ros/assets/palm_detection/palm_detection.onnx` from MediaPipe's palm network.

    pip download --no-deps mediapipe==0.10.21
    python -m train.detector.convert_palm mediapipe-0.10.21-*.whl

See `conversion.py`.
"""

from __future__ import annotations

import sys

from h2onet_ros.perception.palm import INPUT_SIZE
from train.detector.conversion import Recipe, run

PALM = Recipe(
    module="train.detector.convert_palm",
    member="mediapipe/modules/palm_detection/palm_detection_{variant}.tflite",
    description="MediaPipe palm detection ({variant}), Apache-2.0",
    asset="palm_detection/palm_detection.onnx",
    outputs=("boxes", "scores"),
    input_size=INPUT_SIZE,
    variant="full",
)

if __name__ == "__main__":
    sys.exit(run(PALM, __doc__))
