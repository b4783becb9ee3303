"""The progress bar of whatever goes through images."""

from __future__ import annotations

import shutil
import sys

from tqdm import tqdm


def image_bar(total: int | None) -> tqdm:
    """A bar on standard error; a line every few seconds where that is no terminal."""
    is_terminal = sys.stderr.isatty()
    return tqdm(
        total=total or None,
        unit=" images",
        # A terminal that does not tell its width counts as one of 80 columns; tqdm would draw nothing.
        ncols=shutil.get_terminal_size().columns if is_terminal else None,
        mininterval=0.2 if is_terminal else 5.0,
        file=sys.stderr,
    )
