"""The encoding network in 8 bit integers: post-training quantisation, calibrated on crops.

Fusion stays as it is. In encoding, the layers whose results are coordinates, metres or probabilities, and
sampling at the image points, stay in floating point, as in half precision.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from h2onet_ros.engines.base import EngineError
from h2onet_ros.engines.bundle import WeightsBundle, int8_files
from h2onet_ros.engines.typed_onnx import exact_nodes, simplified

TARGETS = ("openvino", "onnxruntime", "tensorrt")
"""Engines that run 8 bit networks; each likes its own flavour."""


def quantised(bundle: WeightsBundle, target: str, crops: np.ndarray) -> dict[str, bytes]:
    """Files to add to the bundle, name to content.

    Args:
        bundle: weights in floating point.
        target: one of `TARGETS`. OpenVINO's network is made by NNCF. ONNX Runtime's has unsigned activations,
            which processors multiply faster; TensorRT's is symmetric, as it demands.
        crops: (N, 3, 128, 128) float32 in 0..1, such as will be seen; a hundred or more.

    Raises:
        EngineError: a package is missing.
    """
    if target not in TARGETS:
        raise EngineError(f"8 bit networks are made for {', '.join(TARGETS)}, not {target!r}")
    names = int8_files(target)
    if target == "openvino":
        return dict(zip(names, _by_nncf(bundle.encode_path, crops), strict=True))
    return {names[0]: _by_onnxruntime(bundle.encode_path, crops, symmetric=target == "tensorrt")}


def _by_nncf(network: Path, crops: np.ndarray) -> tuple[bytes, bytes]:
    """OpenVINO's two files, structure and weights."""
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise EngineError(
            f"8 bit networks for OpenVINO need nncf ({error}); install the extra 'int8'"
        ) from error
    logging.getLogger("nncf").setLevel(logging.WARNING)
    model = simplified(network)
    exact = [node.name for node in exact_nodes(model) if node.op_type in ("Conv", "Gemm", "MatMul")]
    core = openvino.Core()
    with tempfile.TemporaryDirectory(prefix="h2onet_") as folder:
        path = Path(folder) / "encode.onnx"
        onnx.save(model, path)
        made = nncf.quantize(
            core.read_model(str(path)),
            nncf.Dataset([crop[None] for crop in crops]),
            subset_size=len(crops),
            # OpenVINO 2026.4's processor plugin cannot load some fully connected layers in integers.
            ignored_scope=nncf.IgnoredScope(
                patterns=[f"^{re.escape(name)}" for name in exact], types=["MatMul"], validate=False
            ),
        )
        openvino.save_model(made, str(Path(folder) / "int8.xml"), compress_to_fp16=True)
        return (Path(folder) / "int8.xml").read_bytes(), (Path(folder) / "int8.bin").read_bytes()


def _by_onnxruntime(network: Path, crops: np.ndarray, symmetric: bool) -> bytes:
    """ONNX with quantising and dequantising nodes."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._crops: Iterator[np.ndarray] = iter(crops)

        def get_next(self) -> dict[str, np.ndarray] | None:
            crop = next(self._crops, None)
            return None if crop is None else {"crops": crop[None]}

    model = simplified(network)
    types = quantization.QuantType
    with tempfile.TemporaryDirectory(prefix="h2onet_") as folder:
        path, made = Path(folder) / "encode.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, path)
        logging.disable(logging.WARNING)  # it asks for the preparation that `simplified` was
        try:
            quantization.quantize_static(
                str(path),
                str(made),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Gemm", "MatMul"],
                nodes_to_exclude=[node.name for node in exact_nodes(model)],
                per_channel=True,
                activation_type=types.QInt8 if symmetric else types.QUInt8,
                weight_type=types.QInt8,
                extra_options={
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    "QuantizeBias": not symmetric,  # TensorRT takes biases in floating point only
                },
            )
        finally:
            logging.disable(logging.NOTSET)
        return made.read_bytes()
