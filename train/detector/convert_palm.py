"""Make `h2onet_ros/assets/palm_detection/palm_detection.onnx` from MediaPipe's palm network.

    pip download --no-deps mediapipe==0.10.21
    python -m train.detector.convert_palm mediapipe-0.10.21-*.whl

Reads the network out of the wheel without installing it, converts it, and compares the result with LiteRT on
random images. Refuses to write when the two disagree. Needs the `train` extra (`ai-edge-litert`, `onnx`).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from h2onet_ros.perception.palm import INPUT_SIZE
from train.detector.tflite_to_onnx import convert

MEMBER = "mediapipe/modules/palm_detection/palm_detection_{variant}.tflite"
OUTPUT = Path(__file__).parents[2] / "h2onet_ros" / "assets" / "palm_detection" / "palm_detection.onnx"
TOLERANCE = 1e-3  # of raw outputs whose spread is tens of pixels


def largest_difference(
    tflite: bytes, model: onnx.ModelProto, size: int, outputs: Sequence[int], samples: int = 8, seed: int = 0
) -> float:
    """Largest absolute difference of any output between LiteRT and ONNX Runtime, on random images.

    Args:
        tflite: the original file.
        model: what it was converted to.
        size: height and width of the input, pixels.
        outputs: which of the original's outputs the converted one has, in its order.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite, num_threads=2)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    details = interpreter.get_output_details()
    output_indices = [details[number]["index"] for number in outputs]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(samples):
        coarse = rng.random((1, size // 8, size // 8, 3), dtype=np.float32)
        image = coarse.repeat(8, 1).repeat(8, 2)
        interpreter.set_tensor(input_index, image)
        interpreter.invoke()
        ours = session.run(None, {"image": image.transpose(0, 3, 1, 2)})
        for index, output in zip(output_indices, ours, strict=True):
            worst = max(worst, float(np.abs(interpreter.get_tensor(index) - output).max()))
    return worst


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, help="mediapipe-0.10.21 wheel")
    parser.add_argument("--variant", choices=("full", "lite"), default="full")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    with zipfile.ZipFile(options.wheel) as archive:
        tflite = archive.read(MEMBER.format(variant=options.variant))
    model = convert(tflite, ["boxes", "scores"])
    model.producer_name = "h2onet_ros train.detector.convert_palm"
    model.doc_string = f"MediaPipe palm detection ({options.variant}), Apache-2.0"
    difference = largest_difference(tflite, model, INPUT_SIZE, (0, 1))
    print(f"source sha256     {hashlib.sha256(tflite).hexdigest()}")
    print(f"largest difference {difference:.2e} between LiteRT and ONNX Runtime on raw outputs")
    if not difference < TOLERANCE:
        print(f"expected less than {TOLERANCE:g}: nothing written", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, options.output)
    print(f"wrote {options.output} ({options.output.stat().st_size / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
