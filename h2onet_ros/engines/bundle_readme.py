"""The README of a weights bundle, from what `bundle.json` tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2onet_ros.engines.bundle import BundleInfo

README = "README.md"

_CROPS = {True: "turned until the hand stands upright", False: "as they are in the image"}


def bundle_readme(info: BundleInfo) -> str:
    """Markdown for the folder of a bundle: what it is, its licence and origin, what was measured."""
    frames = "a single frame"
    if info.variant == "multi_frame":
        frames = "three frames: now, {:g} s and {:g} s ago".format(*info.temporal_offsets_s)
    rows = {
        "Network": f"H2ONet (Xu et al., CVPR 2023), {info.variant}, width {info.width:g}, {frames}",
        "Hand": info.hand,
        "Crops": f"{info.image_size} x {info.image_size} pixels, {info.crop_scale:g} times the hand's box, "
        f"{_CROPS[info.upright]}; left hands mirrored",
        "Weights stored as": f"{info.precision}, computed in float32",
        "Licence": info.licence,
        "Trained on": info.training_data,
    }
    text = f"# Weights {info.name}\n\nA weights bundle of h2onet_ros, written when it was exported.\n\n"
    text += _table(rows)
    if info.metrics:
        measured = {name.replace("_", " "): f"{value:g}" for name, value in info.metrics.items()}
        text += "\n## Measured\n\n" + _table(measured)
    return text


def _table(rows: dict[str, str]) -> str:
    return "| | |\n|---|---|\n" + "".join(
        f"| {name} | {' '.join(value.split()).replace('|', '/')} |\n" for name, value in rows.items()
    )
