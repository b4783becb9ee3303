"""The first field of most messages, `std_msgs/Header header`, in serialised form: read or set its stamp.

A serialised message starts with four bytes of encapsulation, the second of which tells the byte order
(1: little-endian), followed by the header's stamp as `int32 sec`, `uint32 nanosec` (OMG DDSI-RTPS 2.3,
section 10).
"""

from __future__ import annotations

import struct

from h2onet_ros.bag.units import SECOND


def header_stamp(data: bytes | bytearray | memoryview) -> int:
    """The stamp in nanoseconds of a serialised message that starts with a header.

    Raises:
        ValueError: for data too short to hold one.
    """
    seconds, nanoseconds = struct.unpack_from(_layout(data), data, 4)
    return seconds * SECOND + nanoseconds


def with_header_stamp(data: bytes | bytearray | memoryview, stamp: int) -> bytes:
    """A copy of a serialised message that starts with a header, with the stamp set (nanoseconds).

    Raises:
        ValueError: for data too short to hold a header.
    """
    copy = bytearray(data)
    struct.pack_into(_layout(data), copy, 4, *divmod(stamp, SECOND))
    return bytes(copy)


def _layout(data: bytes | bytearray | memoryview) -> str:
    if len(data) < 12:
        raise ValueError(f"expected a serialised message with a header, 12 bytes at least, got {len(data)}")
    return "<iI" if data[1] & 1 else ">iI"
