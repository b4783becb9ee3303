"""The progress bar of whatever goes through images."""

from __future__ import annotations

import shutil
import sys

from tqdm import tqdm


def image_bar(total: int | None) -> tqdm:
    """A bar on standard error; a line every few seconds where that is no terminal."""
    if not sys.stderr.isatty():
        return tqdm(total=total or None, unit=" images", mininterval=5.0, file=sys.stderr)
    # A terminal that does not tell its size counts as one of 80 x 24; tqdm itself would draw nothing there.
    columns, lines = shutil.get_terminal_size()
    return tqdm(
        total=total or None, unit=" images", mininterval=0.2, ncols=columns, nrows=lines, file=sys.stderr
    )
