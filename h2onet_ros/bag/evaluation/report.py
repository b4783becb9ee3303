"""`report.html` of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from h2onet_ros.bag.evaluation import plots
from h2onet_ros.bag.evaluation.accuracy import OCCLUSION_LEVELS
from h2onet_ros.bag.evaluation.key_frames import KeyFrame
from h2onet_ros.bag.evaluation.page import number, percent, write_page
from h2onet_ros.bag.evaluation.plots import Table
from h2onet_ros.bag.evaluation.settings import EvaluationResult
from h2onet_ros.hand.joints import OCCLUSION_NAMES

_TIMELINES = 4
"""Tracks whose hidden fingers are shown."""
_TRACKS = 30


@dataclass(frozen=True)
class Plot:
    """A plot with its title; `wide` ones take the page's width."""

    caption: str
    svg: str
    explanation: str = ""
    wide: bool = False


@dataclass
class Section:
    """A part of the report: tables (header and rows) above plots."""

    title: str
    text: str = ""
    tables: list[tuple[list[str], list[list[str]]]] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)


def write_report(result: EvaluationResult, table: Table, frames: list[KeyFrame]) -> None:
    """Write the page into the evaluation's folder.

    Args:
        result: what it tells of.
        table: the hands, as `table.read_table` gives them.
        frames: images to show.

    Raises:
        BagError: where it cannot be written.
    """
    metrics, run = result.metrics, result.run
    sections = [_accuracy(metrics["accuracy"], table)] if metrics["accuracy"] else []
    if metrics["hands"]:
        sections += [_tracks(metrics, table), _steadiness(table)]
    sections.append(_speed(result.timings))
    settings = {name: value for name, value in run["settings"].items() if value is not None}
    write_page(
        result.out / "report.html",
        "report.html.jinja",
        {
            "recording": run["evaluation"]["recording"],
            "source": run["source"],
            "weights": run["weights"],
            "engine": run["evaluation"]["engine"],
            "problems": result.problems,
            "notes": run["notes"],
            "cards": _cards(metrics, result.timings),
            "frames": frames,
            "has_truth": bool(metrics["accuracy"]),
            "sections": sections,
            "settings": list({"recording": run["bag"], **settings, **run["evaluation"]}.items()),
        },
    )


def _cards(metrics: dict[str, Any], timings: dict[str, Any]) -> list[tuple[str, str]]:
    stability = metrics["stability"]
    cards = [
        ("images processed", str(metrics["images"])),
        ("images with a hand", percent(metrics["coverage"])),
        ("tracks", str(len(metrics["tracks"]))),
        ("bones vary by", percent(stability["bone_length_variation"])),
        ("jitter at rest", number(stability["jitter_at_rest"], 2, 1e3, "mm")),
        ("reprojection error", number(stability["reprojection_error_median"], 1, 1, "px")),
    ]
    if metrics["images_unreadable"]:
        cards.insert(1, ("images lost", str(metrics["images_unreadable"])))
    if metrics["accuracy"]:
        found, errors = metrics["accuracy"]["detection"], metrics["accuracy"]["errors"]["all"]
        cards += [
            ("MPJPE (wrists aligned)", number(errors["mpjpe"], 1, 1e3, "mm")),
            ("PA-MPJPE", number(errors["pa_mpjpe"], 1, 1e3, "mm")),
            ("wrist off by", number(errors["wrist_error"], 1, 1e2, "cm")),
            ("true hands found", percent(found["recall"])),
            ("false hands", str(found["false"])),
            ("identity switches", str(found["id_switches"])),
        ]
    times = timings["processing_time"]
    cards.append(("pipeline, median", number(times.get("median"), 1, 1e3, "ms")))
    return cards


def _accuracy(accuracy: dict[str, Any], table: Table) -> Section:
    section = Section("Against the truth", _truth_sentence(accuracy))
    levels = {"all": "all", "none": "no finger hidden", "some": "1 or 2 hidden", "many": "3 to 5 hidden"}
    header = ["", "hands", "MPJPE mm", "PA-MPJPE", "MPVPE", "PA-MPVPE", "AUC", "PA-AUC", "F@5", "F@15"]
    header += ["PA-F@5", "PA-F@15", "wrist cm", "depth cm", "2D px"]
    rows = []
    for name, label in levels.items():
        errors = accuracy["errors"][name]
        row = [label, str(errors["hands"])]
        row += [number(errors[key], 1, 1e3) for key in ("mpjpe", "pa_mpjpe", "mpvpe", "pa_mpvpe")]
        shares = ("auc", "pa_auc", "f_5mm", "f_15mm", "pa_f_5mm", "pa_f_15mm")
        row += [number(errors[key], 3) for key in shares]
        row += [number(errors[key], 1, 1e2) for key in ("wrist_error", "depth_error")]
        rows.append([*row, number(errors["error_2d"])])
    section.tables.append((header, rows))
    if not accuracy["errors"]["all"]["hands"]:
        return section
    joint_errors = {"mpjpe": "MPJPE", "pa_mpjpe": "PA-MPJPE"}
    over_time = plots.lines_over_time(table, joint_errors, "mm", 1e3)
    section.plots.append(Plot("Error of the joints over time", over_time, "a line for each hand", wide=True))
    wrist = plots.lines_over_time(
        table, {"wrist_error": "wrist", "depth_error": "of that along the view"}, "cm", 1e2
    )
    section.plots.append(Plot("Error of the wrist's place over time", wrist, wide=True))
    errors = {**joint_errors, "mpvpe": "MPVPE", "pa_mpvpe": "PA-MPVPE"}
    section.plots.append(Plot("Hands with an error up to", plots.cumulative(table, errors, "mm", 1e3)))
    by_level = {
        label: [_scaled(accuracy["errors"][level][name]) for level in OCCLUSION_LEVELS]
        for name, label in joint_errors.items()
    }
    if any(value is not None for values in by_level.values() for value in values):
        labels = [levels[level] for level in OCCLUSION_LEVELS]
        section.plots.append(Plot("Error by hidden fingers", plots.bars(labels, by_level, "mm", None)))
    scores = {
        label: [accuracy["occlusion"][part][name] for part in OCCLUSION_NAMES]
        for name, label in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
    }
    if any(value is not None for values in scores.values() for value in values):
        bars = plots.bars(plots.finger_labels(), scores, "", 1.0)
        fingers = accuracy["occlusion"]["fingers"]
        hidden = fingers["true_positives"] + fingers["false_negatives"]
        explanation = (
            f"{fingers['true_positives']} of {hidden} hidden fingers were said to be hidden, and "
            f"{fingers['false_positives']} that were seen"
        )
        section.plots.append(Plot("Hidden or not, part by part", bars, explanation))
    return section


def _truth_sentence(accuracy: dict[str, Any]) -> str:
    found = accuracy["detection"]
    text = (
        f"Truth: {accuracy['source']}; {accuracy['hands']} hands in {accuracy['images']} images. "
        f"Found {found['found']} ({percent(found['recall'])}), missed {found['missed']}, false "
        f"{found['false']}, identity switches {found['id_switches']}, sides right in "
        f"{percent(found['handedness_accuracy'])}, MOTA {number(found['mota'], 3)}."
    )
    if accuracy["images_without_truth"]:
        text += f" {accuracy['images_without_truth']} images have no truth."
    return text


def _tracks(metrics: dict[str, Any], table: Table) -> Section:
    section = Section("Hands that were followed")
    tracks = sorted(metrics["tracks"], key=lambda track: -track["images"])
    if len(tracks) > _TRACKS:
        section.text = f"The longest {_TRACKS} of {len(tracks)} tracks."
    header = ["track", "side", "images", "missed", "gaps", "longest gap s", "seconds", "bones vary %"]
    header += ["jitter mm", "reprojection px", "95 %"]
    rows = []
    for track in tracks[:_TRACKS]:
        rows.append(
            [
                str(track["track_id"]),
                track["handedness"],
                str(track["images"]),
                str(track["missed"]),
                str(track["gaps"]),
                number(track["longest_gap"], 2),
                number(track["seconds"], 2),
                number(track["bone_length_variation"], 1, 100),
                number(track["jitter_at_rest"], 2, 1e3),
                number(track["reprojection_error_median"], 1),
                number(track["reprojection_error_p95"], 1),
            ]
        )
    section.tables.append((header, rows))
    section.plots.append(Plot("When they were found", plots.tracks_over_time(table), wide=True))
    for track in tracks[:_TIMELINES]:
        shares = track["occluded"]
        if all(share is not None for share in shares.values()):
            svg = plots.occlusion_over_time(table, track["track_id"])
            caption = f"Hidden parts of hand {track['track_id']} ({track['handedness']})"
            section.plots.append(Plot(caption, svg, "pale: seen, dark red: hidden", wide=True))
    return section


def _steadiness(table: Table) -> Section:
    section = Section("Place and fit")
    distance = plots.lines_over_time(table, {"position_z": "distance"}, "m")
    section.plots.append(
        Plot("Distance from the camera", distance, "of the wrist, a line for each hand", wide=True)
    )
    fit = plots.lines_over_time(table, {"reprojection_error": "reprojection error"}, "px")
    explanation = "between the network's image points and the projected joints"
    section.plots.append(Plot("Reprojection error", fit, explanation, wide=True))
    return section


def _speed(timings: dict[str, Any]) -> Section:
    section = Section("Time")
    rate = number(timings["images_per_second"], 1)
    section.text = f"{timings['images']} images in {number(timings['seconds'], 1)} s, {rate} a second."
    times = timings["processing_time"]
    if times:
        edges = np.array(times["histogram"]["edges"]) * 1e3
        svg = plots.histogram(times["histogram"]["counts"], edges.tolist(), "ms in the pipeline")
        explanation = (
            f"median {number(times['median'], 1, 1e3)}, 95 % within {number(times['p95'], 1, 1e3)} ms"
        )
        section.plots.append(Plot("Processing time of an image", svg, explanation))
    return section


def _scaled(metres: float | None) -> float | None:
    return None if metres is None else 1e3 * metres
