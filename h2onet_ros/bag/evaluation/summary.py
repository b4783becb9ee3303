"""The result of an evaluation in a few lines, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from h2onet_ros.bag.evaluation.settings import EvaluationResult

_TRACKS_SHOWN = 10


def distribution(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, 95th percentile and a histogram of times; empty without any."""
    if not len(seconds):
        return {}
    # A few images that took very long, as the first, would leave one bar for all others.
    top = float(np.percentile(seconds, 99.5))
    counts, edges = np.histogram(np.minimum(seconds, top), bins=40)
    return {
        "median": float(np.median(seconds)),
        "p95": float(np.percentile(seconds, 95)),
        "maximum": float(np.max(seconds)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def summary_table(result: EvaluationResult) -> str:
    """The result in words, a line each."""
    metrics, times = result.metrics, result.timings["processing_time"]
    images, seconds = metrics["images"], result.timings["seconds"]
    rows = [
        ("source", result.run["source"]),
        ("weights, engine", f"{result.run['weights']}, {result.run['evaluation']['engine']}"),
        ("images", f"{images} in {seconds:.1f} s ({images / max(seconds, 1e-9):.1f} a second)"),
        ("with hands", f"{metrics['images_with_hands']}" + _percent(metrics["coverage"])),
    ]
    if times:
        text = f"median {1e3 * times['median']:.1f} ms, 95 % within {1e3 * times['p95']:.1f} ms"
        rows.append(("pipeline", text))
    longest = sorted(metrics["tracks"], key=lambda track: -track["images"])[:_TRACKS_SHOWN]
    for track in sorted(longest, key=lambda track: track["track_id"]):
        rows.append((f"track {track['track_id']}", _track(track)))
    if len(metrics["tracks"]) > _TRACKS_SHOWN:
        rows.append(("", f"and {len(metrics['tracks']) - _TRACKS_SHOWN} shorter tracks"))
    if metrics["accuracy"]:
        rows += _accuracy(metrics["accuracy"])
    report = result.out / "report.html"
    rows.append(("written to", str(report if report.exists() else result.out)))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _track(track: dict[str, Any]) -> str:
    text = f"{track['handedness']}, {track['images']} images in {track['seconds']:.1f} s, "
    text += f"{track['missed']} missed"
    if track["bone_length_variation"] is not None:
        text += f", bones vary by {100 * track['bone_length_variation']:.1f} %"
    if track["jitter_at_rest"] is not None:
        text += f", jitter at rest {1e3 * track['jitter_at_rest']:.2f} mm"
    return text + f", reprojection {track['reprojection_error_median']:.1f} px"


def _accuracy(accuracy: dict[str, Any]) -> list[tuple[str, str]]:
    found, errors = accuracy["detection"], accuracy["errors"]["all"]
    rows = [
        (
            "truth",
            f"{accuracy['source']}: {accuracy['hands']} hands in {accuracy['images']} images; found "
            f"{found['found']}{_percent(found['recall'])}, {found['false']} false, {found['id_switches']} "
            "identity switches",
        )
    ]
    if not errors["hands"]:
        return rows
    text = f"MPJPE {1e3 * errors['mpjpe']:.1f} mm, aligned {1e3 * errors['pa_mpjpe']:.1f} mm; wrist "
    text += f"{1e3 * errors['wrist_error']:.0f} mm off, {errors['error_2d']:.1f} px in the image"
    rows.append(("errors", text))
    fingers = accuracy["occlusion"]["fingers"]
    if fingers["f1"] is not None:
        rows.append(("hidden fingers", f"F1 {fingers['f1']:.2f}"))
    return rows


def _percent(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.1f} %)"
