"""What goes wrong with the input: counted always, told of once for each cause."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable

MOST_CAUSES = 100
"""Causes that are told of; more are only counted, so that no input can fill the log."""

_DETAILS = re.compile(r"'[^']*'|\"[^\"]*\"|[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?|\bnan\b|\binf\b", re.IGNORECASE)


class FaultLog:
    """Faults of all kinds; may be used from any thread.

    Two faults have the same cause if they are of the same kind and their texts differ in numbers and quoted
    words only.

    Args:
        complain: called with a sentence, once for each cause.
        relieve: called with a sentence at the first good image after a new cause was told of.
    """

    def __init__(self, complain: Callable[[str], object], relieve: Callable[[str], object]) -> None:
        self._complain, self._relieve = complain, relieve
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._causes: set[str] = set()
        self._is_relief_due = False
        self._latest = ""

    def report(self, kind: str, text: str, drops_image: bool = True) -> None:
        """Count a fault, and tell of it if its cause is new.

        Args:
            kind: a word or two, the name of the counter.
            text: what was expected, what came, what to do.
            drops_image: whether the image is lost, so that a good one is a relief.
        """
        cause = f"{kind}: {_DETAILS.sub('_', text)}"
        with self._lock:
            self._counts[kind] += 1
            self._latest = f"{kind}: {text}"
            is_new = cause not in self._causes and len(self._causes) < MOST_CAUSES
            if is_new:
                self._causes.add(cause)
                self._is_relief_due |= drops_image
        if is_new:
            self._complain(f"{'image dropped' if drops_image else kind}: {text} (told of once)")

    def good(self) -> None:
        """An image was worked on."""
        if self._is_relief_due:
            with self._lock:
                self._is_relief_due = False
            self._relieve("images are fine again")

    @property
    def total(self) -> int:
        """All faults so far."""
        with self._lock:
            return sum(self._counts.values())

    @property
    def latest(self) -> str:
        """The latest fault, in full; empty without any."""
        return self._latest

    def counts(self) -> dict[str, int]:
        """How many of each kind so far."""
        with self._lock:
            return dict(self._counts)
