"""What the options of several commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def number(low: float, high: float, kind: type[int] | type[float] = float) -> Callable[[str], float]:
    """For `argparse`: reads a number from `low` to `high`, a whole one with `kind=int`."""

    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected {low:.10g} to {high:.10g}, got {text}")
        return value

    parse.__name__ = "number" if kind is float else "whole number"
    return parse
