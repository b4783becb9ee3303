"""What an evaluation is asked for and what comes of it: plain values, which travel to other processes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

Existing = Literal["refuse", "replace", "resume"]

EXIT_OK, EXIT_LOSSES, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
TRUTH_TOPIC = "/ground_truth/hands"
"""Where a recording carries its own ground truth (`HandArray`); looked for without being asked."""

RANGES = {
    "palm_threshold": (0.05, 1.0),
    "start_presence": (0.0, 1.0),
    "min_presence": (0.0, 1.0),
    "smoothing": (0.0, 10.0),
    "image_alignment": (0.0, 1.0),
    "hand_scale": (0.3, 3.0),
    "hand_length": (0.05, 0.4),
    "assumed_field_of_view_deg": (10.0, 170.0),
    "depth_tolerance_s": (0.0, 1.0),
}
"""Lowest and highest values of settings that are numbers."""

NODE_PARAMETERS = ("weights", "engine", "precision", "threads", "max_hands", *RANGES, "rectified", "depth")
"""Settings that the node has as parameters of the same names."""

PIPELINE_SETTINGS = ("threads", "max_hands", *RANGES, "rectified", "every", "start")
"""Settings, beside recording, topics, calibration, weights and engine, that results hang on."""


def topic_folder(topic: str) -> str:
    """The name of the folder for an image topic, where several of a recording are evaluated."""
    return topic.strip("/").replace("/", "_")


@dataclass(frozen=True)
class EvaluationSettings:
    """Choices of one evaluation: one recording, one image topic.

    Attributes:
        topic: image topic; None for the one with most images.
        calibration: camera_info YAML file in place of the recorded camera info.
        weights: weights bundle; None for one that comes along, as the engine is (`engine_for`).
        engine, precision, threads: what runs the mesh network, and in which arithmetic.
        max_hands, palm_threshold, start_presence, min_presence, smoothing, image_alignment, hand_scale,
            hand_length: as the node's parameters of these names; `hand_length` None: as the network says.
        rectified, assumed_field_of_view_deg: likewise, of the camera.
        depth: have depth images put each wrist at its distance: those of the recording in the images' frame.
        depth_topic: their topic; None: the only one there is. With a topic `depth` need not be given.
        depth_tolerance_s: seconds between an image and its depth image at most, as of the node.
        every: process every n-th image only.
        start, seconds: part of the recording, seconds from its first image; None: to the end.
        truth: ground truth, a `HandArray` topic of the recording or a file; None: the topic `TRUTH_TOPIC`
            where the recording has it; "none": no truth.
        truth_offset: seconds added to the truth's stamps.
        truth_any_frame: the truth is in the camera's frame, whatever its frame is called.
        video: write an overlay video.
        with_images: copy the images into the results, so that they play alone.
        report: write report.html.
        existing: what to do where the folder holds an evaluation already.
    """

    topic: str | None = None
    calibration: str | None = None
    weights: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    threads: int = 1
    max_hands: int = 2
    palm_threshold: float = 0.5
    start_presence: float = 0.5
    min_presence: float = 0.3
    smoothing: float = 1.0
    image_alignment: float = 0.6
    hand_scale: float = 1.0
    hand_length: float | None = None
    rectified: bool = False
    assumed_field_of_view_deg: float = 60.0
    depth: bool = False
    depth_topic: str | None = None
    depth_tolerance_s: float = 0.02
    every: int = 1
    start: float = 0.0
    seconds: float | None = None
    truth: str | None = None
    truth_offset: float = 0.0
    truth_any_frame: bool = False
    video: bool = False
    with_images: bool = False
    report: bool = True
    existing: Existing = "refuse"

    def __post_init__(self) -> None:
        for name in ("threads", "max_hands", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}: expected {low:g} to {high:g}, got {value:g}")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds: expected a positive number, got {self.seconds:g}")
        if not math.isfinite(self.truth_offset):
            raise ValueError(f"truth_offset: expected a number of seconds, got {self.truth_offset:g}")
        if not self.start >= 0:
            raise ValueError(f"start: expected 0 or more, got {self.start:g}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as for a JSON file."""
        return asdict(self)

    def replace(self, **changes: Any) -> EvaluationSettings:
        """The same with other values for some."""
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EvaluationSettings:
        """The settings of `as_dict`; names that are not known are an error."""
        unknown = set(values) - {one.name for one in fields(cls)}
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        return cls(**values)


@dataclass(frozen=True)
class EvaluationResult:
    """What came of an evaluation; the same is in the folder.

    Attributes:
        out: the folder.
        metrics: as in metrics.json.
        run: as in run.json.
        timings: as in timings.json.
        problems: what went wrong, a sentence each.
        is_interrupted: it was stopped before the recording's end.
    """

    out: Path
    metrics: dict[str, Any]
    run: dict[str, Any]
    timings: dict[str, Any]
    problems: list[str] = field(default_factory=list)
    is_interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0: all that was asked for was processed; 1: some was lost; 130: interrupted."""
        if self.is_interrupted:
            return EXIT_INTERRUPTED
        return EXIT_LOSSES if self.problems else EXIT_OK
