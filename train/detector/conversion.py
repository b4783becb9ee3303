"""Converts one of MediaPipe's networks out of its wheel into one of the package's assets, and checks it.

The wheel is read without being installed; the result is compared with LiteRT on random images and not written
where the two disagree. Needs the `assets` extra (`ai-edge-litert`, `onnx`).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from train.detector.tflite_to_onnx import convert

ASSETS = Path(__file__).parents[2] / "h2onet_ros" / "assets"
TOLERANCE = 1e-3
"""Of raw outputs; those of the palm network spread over tens of pixels."""


@dataclass(frozen=True)
class Recipe:
    """What becomes of a network.

    Attributes:
        module: of the converting program.
        member: the network in the wheel, with `{variant}`.
        description: for the ONNX file's documentation, with `{variant}`.
        asset: the file to write, relative to the assets.
        outputs: new names of the network's outputs; None drops one.
        input_size: height and width of the input, pixels.
        variant: by default.
        batch: name of the batch dimension, None: always 1.
    """

    module: str
    member: str
    description: str
    asset: str
    outputs: tuple[str | None, ...]
    input_size: int
    variant: str
    batch: str | None = None


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


def run(recipe: Recipe, documentation: str | None, arguments: Sequence[str] | None = None) -> int:
    """The converting program of a recipe, with its exit code."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {recipe.module}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("wheel", type=Path, help="mediapipe-0.10.21 wheel")
    parser.add_argument("--variant", choices=("full", "lite"), default=recipe.variant)
    parser.add_argument("--output", type=Path, default=ASSETS / recipe.asset)
    options = parser.parse_args(arguments)
    with zipfile.ZipFile(options.wheel) as archive:
        tflite = archive.read(recipe.member.format(variant=options.variant))
    model = convert(tflite, list(recipe.outputs), batch=recipe.batch)
    model.producer_name = f"h2onet_ros {recipe.module}"
    model.doc_string = recipe.description.format(variant=options.variant)
    kept = [number for number, name in enumerate(recipe.outputs) if name is not None]
    difference = largest_difference(tflite, model, recipe.input_size, kept)
    print(f"source sha256     {hashlib.sha256(tflite).hexdigest()}")
    print(f"largest difference {difference:.2e} between LiteRT and ONNX Runtime on raw outputs")
    if not difference < TOLERANCE:
        print(f"expected less than {TOLERANCE:g}: nothing written", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, options.output)
    print(f"wrote {options.output} ({options.output.stat().st_size / 1e6:.2f} MB)")
    return 0
