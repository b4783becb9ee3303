"""A ROS domain that nobody else on this machine uses."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Domains whose ports lie below those that Linux gives to outgoing connections (ROS 2, "The ROS_DOMAIN_ID").
DOMAINS = range(1, 102)
_PARTICIPANTS = 4


@contextmanager
def reserved_domain() -> Iterator[int]:
    """The id of a domain without participants, kept from others who ask here until the end of the block.

    Raises:
        RuntimeError: if all are in use.
    """
    for domain in random.sample(DOMAINS, len(DOMAINS)):
        # A name that the kernel frees when its owner ends, however it ends (unix(7), abstract sockets).
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claim:
            try:
                claim.bind(f"\0h2onet_ros_domain_{domain}")
            except OSError:
                continue
            if _has_participants(domain):
                continue
            yield domain
            return
    raise RuntimeError(
        f"Expected a free ROS domain among {DOMAINS[0]} to {DOMAINS[-1]}, all are in use here; end "
        "some ROS processes, or name a domain yourself."
    )


def _has_participants(domain: int) -> bool:
    """Whether a port is taken that the domain's first participants listen on (DDSI-RTPS 2.3, 9.6.1)."""
    base = 7400 + 250 * domain
    for port in (base + offset + 2 * number for number in range(_PARTICIPANTS) for offset in (10, 11)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return True
    return False
