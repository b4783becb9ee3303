"""Builds TensorRT engines from a bundle's networks, with TensorRT or TensorRT-RTX: one API, one code path.

TensorRT-RTX builds without a GPU. Networks are strongly typed, which TensorRT 10.12 and later offer and
TensorRT
11 demands: every layer computes in the type the ONNX file gives it.
"""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from h2onet_ros.engines.base import EngineError

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""Python modules that offer the API, best first; the last is what PyPI's TensorRT-RTX wheels install."""

MAX_HANDS = 8

_log = logging.getLogger(__name__)


def find_tensorrt() -> ModuleType:
    """The first TensorRT that is installed.

    Raises:
        EngineError: none is.
    """
    problems = []
    for name in MODULES:
        try:
            return import_module(name)
        except ImportError as error:
            problems.append(str(error))
    raise EngineError(
        f"TensorRT is not installed ({'; '.join(problems)}); install tensorrt, or the extra 'tensorrt' "
        "for TensorRT-RTX"
    )


def build_engine(trt: ModuleType, network_path: Path, max_hands: int = MAX_HANDS) -> bytes:
    """Serialised engine of an ONNX network with batches of 1 to `max_hands` hands.

    Args:
        trt: of `find_tensorrt`.
        network_path: `encode.onnx` or `fuse.onnx` of a bundle.

    Raises:
        EngineError: TensorRT cannot parse or build the network.
    """
    logger = _logger(trt)
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(network_path)):
        errors = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f"TensorRT {trt.__version__} cannot parse {network_path}: {errors}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, (1, *shape), (1, *shape), (max_hands, *shape))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(
            f"TensorRT {trt.__version__} cannot build {network_path}; its messages are in the log"
        )
    return bytes(engine)


def _logger(trt: ModuleType) -> Any:
    """TensorRT's messages in Python's log."""
    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
    }

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            _log.log(levels.get(severity, logging.DEBUG), "TensorRT: %s", message)

    return Logger()
