"""The little of CUDA that running an engine takes, through the driver's own library: nothing to install.

Memory, one stream, copies and graphs of the CUDA driver API. All objects belong to the device's primary
context, which TensorRT and other users of the runtime API share.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2onet_ros.engines.base import EngineError

LIBRARY = "libcuda.so.1"
DRIVER_VERSION = Path("/proc/driver/nvidia/version")

NO_DEVICE = 100
STREAM_NON_BLOCKING = 1
CAPTURE_THREAD_LOCAL = 1
HOST_PORTABLE = 1
ATTRIBUTE_MAJOR, ATTRIBUTE_MINOR = 75, 76

_SIGNATURES: dict[str, tuple[type, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (c_void_p,),
    "cuDeviceGetCount": (c_void_p,),
    "cuDeviceGet": (c_void_p, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (c_void_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (c_void_p, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (c_void_p, c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (c_void_p, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuStreamCreate": (c_void_p, c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, c_void_p),
    "cuGraphInstantiateWithFlags": (c_void_p, c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}


class CudaError(EngineError):
    """There is no CUDA device here, or the driver reports a failure."""


@dataclass(frozen=True)
class DeviceFacts:
    """What engines are built for.

    Attributes:
        name: of the GPU.
        capability: compute capability, (major, minor).
        driver: version of the CUDA driver, with the kernel module's where the system tells it.
    """

    name: str
    capability: tuple[int, int]
    driver: str


def find_gpu(device: int = 0) -> DeviceFacts:
    """The GPU that an engine would run on.

    Raises:
        CudaError: there is none.
    """
    cuda = Cuda(device)
    try:
        return cuda.facts
    finally:
        cuda.close()


class Cuda:
    """One GPU's primary context, and a stream in it. `close` gives them back.

    Args:
        device: ordinal of the GPU.

    Raises:
        CudaError: no driver, no such GPU, or it cannot be used.
    """

    def __init__(self, device: int = 0) -> None:
        self._library = _load()
        self._call("cuInit", 0)
        count = c_int()
        self._call("cuDeviceGetCount", byref(count))
        if device >= count.value:
            raise CudaError(f"there is no CUDA device {device}; the driver knows {count.value}")
        handle, context, stream = c_int(), c_void_p(), c_void_p()
        self._call("cuDeviceGet", byref(handle), device)
        self._device = handle.value
        self.facts = self._facts()
        self._call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        self._context = context
        self.make_current()
        self._call("cuStreamCreate", byref(stream), STREAM_NON_BLOCKING)
        self._stream = stream

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        return self._stream.value or 0

    def make_current(self) -> None:
        """Use this GPU in the calling thread, as every other method here needs."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the GPU."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), size)
        return address.value

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", address)

    def allocate_host(self, size: int) -> np.ndarray:
        """`size` bytes of page-locked memory, uint8; to be given to `free_host` when nothing views them."""
        address = c_void_p()
        self._call("cuMemHostAlloc", byref(address), size, HOST_PORTABLE)
        assert address.value is not None
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address.value))

    def free_host(self, memory: np.ndarray) -> None:
        self._call("cuMemFreeHost", memory.ctypes.data)

    def to_device(self, address: int, memory: np.ndarray) -> None:
        """Queue a copy of page-locked memory to the GPU."""
        self._call("cuMemcpyHtoDAsync_v2", address, memory.ctypes.data, memory.nbytes, self._stream)

    def to_host(self, memory: np.ndarray, address: int) -> None:
        """Queue a copy from the GPU into page-locked memory."""
        self._call("cuMemcpyDtoHAsync_v2", memory.ctypes.data, address, memory.nbytes, self._stream)

    def synchronise(self) -> None:
        """Wait for all that was queued."""
        self._call("cuStreamSynchronize", self._stream)

    @contextmanager
    def capture(self) -> Iterator[CudaGraph]:
        """What is queued within becomes a graph, which is not run yet.

        Raises:
            CudaError: what was queued cannot be captured; the stream is usable again.
        """
        result = CudaGraph(self)
        self._call("cuStreamBeginCapture_v2", self._stream, CAPTURE_THREAD_LOCAL)
        graph = c_void_p()
        try:
            yield result
        except BaseException:
            # Ends the capture whatever it holds; the first failure is the one to tell.
            self._library.cuStreamEndCapture(self._stream, byref(graph))
            if graph:
                self._library.cuGraphDestroy(graph)
            raise
        self._call("cuStreamEndCapture", self._stream, byref(graph))
        try:
            executable = c_void_p()
            self._call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)
        result.executable = executable

    def launch(self, executable: c_void_p) -> None:
        self._call("cuGraphLaunch", executable, self._stream)

    def destroy_graph(self, executable: c_void_p) -> None:
        self._call("cuGraphExecDestroy", executable)

    def close(self) -> None:
        """Give back the stream and the context; the object is of no use afterwards."""
        if self._stream:
            self.make_current()
            self._call("cuStreamDestroy_v2", self._stream)
            self._stream = c_void_p()
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _facts(self) -> DeviceFacts:
        name = ctypes.create_string_buffer(128)
        self._call("cuDeviceGetName", name, len(name), self._device)
        capability = []
        for attribute in (ATTRIBUTE_MAJOR, ATTRIBUTE_MINOR):
            value = c_int()
            self._call("cuDeviceGetAttribute", byref(value), attribute, self._device)
            capability.append(value.value)
        version = c_int()
        self._call("cuDriverGetVersion", byref(version))
        driver = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
        if DRIVER_VERSION.is_file():
            driver += f", {DRIVER_VERSION.read_text(errors='replace').splitlines()[0]}"
        return DeviceFacts(name.value.decode(errors="replace"), (capability[0], capability[1]), driver)

    def _call(self, name: str, *arguments: object) -> None:
        result = getattr(self._library, name)(*arguments)
        if result == NO_DEVICE:
            raise CudaError("no CUDA device: the NVIDIA driver is installed but finds no GPU")
        if result:
            text = c_char_p()
            self._library.cuGetErrorString(result, byref(text))
            reason = text.value.decode() if text.value else "unknown error"
            raise CudaError(f"CUDA failed in {name}: {reason} ({result})")


class CudaGraph:
    """Work that was captured, to be launched at the cost of one call."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.executable = c_void_p()

    def launch(self) -> None:
        self._cuda.launch(self.executable)

    def close(self) -> None:
        if self.executable:
            self._cuda.destroy_graph(self.executable)
            self.executable = c_void_p()


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise CudaError(
            f"no CUDA device: there is no NVIDIA driver ({error}); install it, or choose a processor's engine"
        ) from error
    try:
        for name, arguments in _SIGNATURES.items():
            getattr(library, name).argtypes = arguments
    except AttributeError as error:
        raise CudaError(f"the NVIDIA driver is too old: it lacks {error}; update it") from error
    library.cuGetErrorString.argtypes = (c_int, c_void_p)
    return library
