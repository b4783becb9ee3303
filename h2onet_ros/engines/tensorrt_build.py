"""Builds TensorRT engines from a bundle's networks, with TensorRT or TensorRT-RTX: one API, one code path.

Networks are strongly typed, which TensorRT 10.12 and later offer and TensorRT 11 demands: every layer
computes in the type that the ONNX file gives it. TensorRT-RTX builds without a GPU.
"""

from __future__ import annotations

import logging
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

from h2onet_ros.engines.base import EngineError

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""Python modules that offer the API, best first; the last is what PyPI's TensorRT-RTX wheels install."""

OLDEST = {"TensorRT": (10, 12), "TensorRT-RTX": (1, 0)}
MAX_HANDS = 8

_log = logging.getLogger(__name__)


def find_tensorrt() -> ModuleType:
    """The first TensorRT that is installed and can be loaded.

    Raises:
        EngineError: none is, or it is too old.
    """
    problems = []
    for name in MODULES:
        try:
            trt = import_module(name)
        # The latter two where its libraries are missing.
        except (ImportError, OSError, RuntimeError) as error:
            problems.append(str(error))
            continue
        _check_version(trt)
        return trt
    raise EngineError(
        f"TensorRT is not installed, or not whole ({'; '.join(problems)}); install tensorrt, or the "
        "extra 'tensorrt' for TensorRT-RTX"
    )


def product(trt: ModuleType) -> str:
    """ "TensorRT" or "TensorRT-RTX"."""
    return "TensorRT-RTX" if "rtx" in trt.__name__ else "TensorRT"


def check_gpu(trt: ModuleType, name: str, capability: tuple[int, int]) -> None:
    """Refuse a GPU that the library does not know. Only TensorRT-RTX lists those it knows.

    Raises:
        EngineError: it does not.
    """
    known = [x for x in dir(getattr(trt, "ComputeCapability", None)) if re.fullmatch(r"SM\d+", x)]
    wanted = "SM{}{}".format(*capability)
    if known and wanted not in known:
        raise EngineError(
            f"{product(trt)} {trt.__version__} does not support the GPU {name} (compute capability "
            f"{capability[0]}.{capability[1]}; it knows {', '.join(known)}); install tensorrt instead"
        )


def build_engine(
    trt: ModuleType,
    network: str | Path | bytes,
    max_hands: int = MAX_HANDS,
    timing: bytes = b"",
    title: str | None = None,
) -> tuple[bytes, bytes]:
    """Serialised engine of an ONNX network with batches of 1 to `max_hands` hands.

    Shows a progress bar where standard error is a terminal, else it logs the start and the end.

    Args:
        trt: of `find_tensorrt`.
        network: serialised ONNX, or the path of an ONNX file.
        timing: measurements of an earlier build on the same GPU; they save most of the time of the next.
        title: of the network, to be shown; its path if left out.

    Returns:
        The engine, and the measurements of this build (empty where the library takes none).

    Raises:
        EngineError: TensorRT cannot parse or build the network.
    """
    content = network if isinstance(network, bytes) else Path(network).read_bytes()
    if title is None:
        title = "the network" if isinstance(network, bytes) else str(network)
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(content):
        errors = "; ".join(str(parser.get_error(i).desc()) for i in range(parser.num_errors))
        raise EngineError(f"{product(trt)} {trt.__version__} cannot parse {title}: {errors}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for i in range(definition.num_inputs):
        tensor = definition.get_input(i)
        shape = tuple(tensor.shape)[1:]
        profile.set_shape(tensor.name, (1, *shape), (1, *shape), (max_hands, *shape))
    config.add_optimization_profile(profile)
    measures = product(trt) == "TensorRT"  # TensorRT-RTX takes no measurements
    if measures and not config.set_timing_cache(config.create_timing_cache(timing), False):
        _log.warning("measurements of an earlier build do not fit this GPU; measuring anew")
    with _Progress(trt, title) as progress:
        config.progress_monitor = progress.monitor
        engine = builder.build_serialized_network(definition, config)
    if engine is None:
        raise EngineError(
            f"{product(trt)} {trt.__version__} cannot build {title}; its messages are in the log"
        )
    measured = config.get_timing_cache() if measures else None
    return bytes(engine), bytes(measured.serialize()) if measured is not None else b""


def make_logger(trt: ModuleType) -> Any:
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


class _Progress:
    """A bar per phase of a build on a terminal. Ctrl-C ends the build at its next step."""

    def __init__(self, trt: ModuleType, title: str) -> None:
        self._title = title
        self._bars: dict[str, tqdm] = {}
        self._interrupt: BaseException | None = None
        self.monitor = _monitor(trt, self)

    def __enter__(self) -> _Progress:
        _log.info("building %s with TensorRT; the result is kept for the next start", self._title)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for phase in list(self._bars):
            self.finish(phase)
        if self._interrupt is not None:
            raise self._interrupt

    def start(self, phase: str, steps: int) -> None:
        text = f"{self._title}: {phase}"
        self._bars[phase] = tqdm(total=steps, desc=text, leave=False, disable=None, file=sys.stderr)

    def step(self, phase: str) -> bool:
        """Whether to go on."""
        try:
            if phase in self._bars:
                self._bars[phase].update()
        except KeyboardInterrupt as interrupt:
            # An exception must not pass through the library's frames.
            self._interrupt = interrupt
        return self._interrupt is None

    def finish(self, phase: str) -> None:
        if phase in self._bars:
            self._bars.pop(phase).close()


def _monitor(trt: ModuleType, progress: _Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


def _check_version(trt: ModuleType) -> None:
    oldest = OLDEST[product(trt)]
    found = tuple(int(part) for part in re.findall(r"\d+", trt.__version__)[:2])
    if found < oldest:
        raise EngineError(
            f"{product(trt)} {trt.__version__} is too old: strongly typed networks need "
            f"{'.'.join(map(str, oldest))} or later; update it"
        )
