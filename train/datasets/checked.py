"""What `train.check_data` found: samples that training and evaluation leave out, by name and reason."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from train.datasets.index import fingerprint, index_path
from train.datasets.layout import Layout


def checked_path(layout: Layout, cache: str | Path | None = None) -> Path:
    """The list of a split, beside its index."""
    index = index_path(layout, cache)
    return index.with_name(index.name.replace(".index.npz", f".{layout.split}.checked.json"))


def read_checked(layout: Layout, cache: str | Path | None = None) -> dict[str, str]:
    """Reasons by sample name; empty if the split was not checked since its annotations changed.

    Includes what was found in other splits of the same annotation file, which past frames may come from.
    """
    found: dict[str, str] = {}
    index = index_path(layout, cache)
    for path in sorted(index.parent.glob(index.name.replace(".index.npz", ".*.checked.json"))):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_bytes())
            if content["mark"] == fingerprint(layout):
                found |= {str(name): str(reason) for name, reason in content["problems"].items()}
    return found


def write_checked(layout: Layout, problems: dict[str, str], cache: str | Path | None = None) -> Path:
    """Write the list; it appears only when complete. Returns where it lies."""
    path = checked_path(layout, cache)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps({"mark": fingerprint(layout), "problems": problems}, indent=1))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
