"""Messages that are serialised once and then only patched: no Python object per point.

Where a field lies is found by a sentinel value put there before serialising, so that neither the message's
layout nor its version is written down here. Publishers and recordings take the bytes as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Sentinels:
    """Hands out values that occur nowhere else in a message, to be found again in its serialised form."""

    def __init__(self) -> None:
        self._count = 0

    def int32(self) -> int:
        """A positive integer."""
        return 0x2A5A_0000 + self._next()

    def float64(self) -> float:
        """A finite double."""
        return float(np.uint64(0x5A3C_96E1_7B15_0000 + self._next()).view(np.float64))

    def float32(self) -> float:
        """A finite single-precision number."""
        return float(np.uint32(0x5B3C_0000 + self._next()).view(np.float32))

    def text(self, length: int) -> str:
        """A text of `length` ASCII characters (8 or more)."""
        return f"~{self._next():06d}~".ljust(length, "~")

    def _next(self) -> int:
        """A new number of two bytes, neither of them zero: the search for it then skips zeros quickly."""
        self._count += 1
        high, low = divmod(self._count, 200)
        return (high + 0x11) << 8 | (low + 0x11)


class SerialisedMessage:
    """The bytes of a message, with arrays that write into it."""

    def __init__(self, data: bytes) -> None:
        self._buffer = bytearray(data)

    def view(self, sentinel: int | float | str, dtype: str, shape: tuple[int, ...] = ()) -> NDArray[Any]:
        """A writable array over the values that begin with a sentinel.

        Args:
            sentinel: the value that was put there; for a text the whole of it.
            dtype: little-endian type of the values, e.g. "<f8"; "u1" for texts.
            shape: shape of the array; the values lie one after the other.

        Raises:
            ValueError: if the sentinel does not occur exactly once.
        """
        is_text = isinstance(sentinel, str)
        pattern = str(sentinel).encode() if is_text else np.array(sentinel, dtype).tobytes()
        if self._buffer.count(pattern) != 1:
            raise ValueError(
                f"expected {sentinel!r} once in the message, found {self._buffer.count(pattern)}"
            )
        count = int(np.prod(shape, dtype=int))
        offset = self._buffer.find(pattern)
        return np.frombuffer(self._buffer, dtype, count, offset).reshape(shape)

    def to_bytes(self) -> bytes:
        """The message as it is now."""
        return bytes(self._buffer)
