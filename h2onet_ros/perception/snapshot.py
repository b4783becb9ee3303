"""The state of a pipeline as bytes: so that work on a recording can be taken up where it was broken off.

What a pipeline remembers (tracks, past features, filters, searches under way) is spread over its parts, which
shall not have to know of this. So it is Python's own serialisation that walks through them, with two bounds:
networks and threads stay those of the pipeline it is loaded into, and loading makes nothing but arrays, plain
values and objects of the perception package: a file from elsewhere cannot call anything.
"""

from __future__ import annotations

import io
import pickle
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any

from h2onet_ros.engines.base import NetworkEngine
from h2onet_ros.perception.hand_check import HandCheck
from h2onet_ros.perception.palm import PalmDetector
from h2onet_ros.perception.pipeline import HandPipeline

_KEPT = (NetworkEngine, PalmDetector, HandCheck, ThreadPoolExecutor, type(threading.Lock()), threading.Event)
"""What is not state: the pipeline that is loaded into keeps its own."""
_PACKAGE = "h2onet_ros.perception."
_PLAIN = {
    ("builtins", "object"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("copyreg", "_reconstructor"),
    ("h2onet_ros.engines.base", "FrameFeatures"),
    (__name__, "_answered"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class SnapshotError(ValueError):
    """Bytes that are no state of such a pipeline."""


def save_state(pipeline: HandPipeline) -> bytes:
    """The state between two frames, work in the background awaited; the pipeline goes on as if not asked."""
    buffer = io.BytesIO()
    _Pickler(buffer).dump(vars(pipeline))
    return buffer.getvalue()


def load_state(pipeline: HandPipeline, data: bytes) -> None:
    """Put a pipeline of the same engine, weights and configuration into a saved state.

    Raises:
        SnapshotError: for bytes that are no such state; the pipeline stays as it was.
    """
    own = _Pickler(io.BytesIO())
    own.dump(vars(pipeline))
    try:
        state = _Unpickler(io.BytesIO(data), own.kept).load()
    except Exception as error:  # Damaged bytes stumble over anything.
        raise SnapshotError(f"this is no state of a pipeline: {error}") from error
    if not isinstance(state, dict) or state.keys() != vars(pipeline).keys():
        raise SnapshotError("this state is of another version of the pipeline")
    vars(pipeline).update(state)


class _Pickler(pickle.Pickler):
    """Attributes:
    kept: the objects that were left out, in the order they were met; their number stands for them.
    """

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=5)
        self.kept: list[Any] = []

    def persistent_id(self, thing: Any) -> str | None:
        if not isinstance(thing, _KEPT):
            return None
        for number, known in enumerate(self.kept):
            if known is thing:
                return f"{type(thing).__name__} {number}"
        self.kept.append(thing)
        return f"{type(thing).__name__} {len(self.kept) - 1}"

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, Future):
            return _answered, (thing.result(),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, kept: list[Any]) -> None:
        super().__init__(buffer)
        self._kept = kept

    def persistent_load(self, identity: str) -> Any:
        name, _, number = identity.rpartition(" ")
        thing = self._kept[int(number)]
        if type(thing).__name__ != name:
            raise SnapshotError(f"expected a {name} in the pipeline, it has a {type(thing).__name__}")
        return thing

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return getattr(import_module(module), name)
        if module.startswith(_PACKAGE) and module != __name__ and "." not in name:
            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and not issubclass(found, _KEPT):
                return found
        raise SnapshotError(f"it asks for {module}.{name}")


def _answered(answer: Any) -> Future:
    """Work in the background that is done."""
    future: Future = Future()
    future.set_result(answer)
    return future
