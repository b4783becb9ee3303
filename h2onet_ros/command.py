"""What several commands have in common: their options, how they are stopped, how they end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType

WEIGHTS_HELP = "weights bundle: a folder, or the name of one that comes along (`h2onet weights list`)"

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
"""Wrong arguments or input: nothing was done (argparse exits with it too)."""


def number(low: float, high: float, kind: type[int] | type[float] = float) -> Callable[[str], float]:
    """For `argparse`: reads a number from `low` to `high`, a whole one with `kind=int`."""

    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected {low:.10g} to {high:.10g}, got {text}")
        return value

    parse.__name__ = "number" if kind is float else "whole number"
    return parse


class Interruption:
    """Whether Ctrl-C or SIGTERM came; the image in work is finished first, a second signal ends at once."""

    def __init__(self) -> None:
        self.signal_number = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        return self.signal_number > 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number:
            os._exit(128 + number)
        self.signal_number = number


def conclude(program: str, problems: Iterable[str], interruption: Interruption, kept: str) -> int:
    """Tell what went wrong, and, where it was stopped, what is `kept`; the exit code.

    128 and the signal's number after a signal, else `EXIT_FAILURE` where there were problems.
    """
    told = list(problems)
    for problem in told:
        print(f"{program}: {problem}", file=sys.stderr)
    if interruption:
        print(f"{program}: stopped; {kept}", file=sys.stderr)
        return 128 + interruption.signal_number
    return EXIT_FAILURE if told else EXIT_OK
