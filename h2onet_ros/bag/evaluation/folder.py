"""The folder of an evaluation: what is in it, and what to do with what is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.checkpoint import FOLDER, Checkpoint, require_same
from h2onet_ros.bag.evaluation.settings import EvaluationResult, EvaluationSettings, Existing

NAMES = (
    "hands.mcap",
    "hands.parquet",
    "hands.csv",
    "metrics.json",
    "timings.json",
    "run.json",
    "report.html",
    "overlay.mp4",
)


def prepare_folder(out: Path, existing: Existing, checkpoint: Checkpoint) -> Path | None:
    """Make the folder ready for an evaluation; where results are that it goes on from, if it does.

    Raises:
        BagError: for a folder that holds another evaluation, or cannot be written.
    """
    there = [name for name in (*NAMES, FOLDER) if (out / name).exists()]
    if there and existing == "refuse":
        raise BagError(
            f"Expected a folder without an evaluation, {out} has {', '.join(there)}; name another with "
            "--out, go on with --resume, or replace it with --force."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        stored = None
        if existing == "resume" and checkpoint.load():
            stored = checkpoint.keep_results()
        for name in NAMES:
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise BagError(f"Expected a folder to write to, cannot use {out}: {error.strerror}.") from error
    if stored is None:
        checkpoint.begin()
    return stored


def finished_evaluation(
    out: Path, what: dict[str, Any], settings: EvaluationSettings
) -> EvaluationResult | None:
    """The result of an evaluation that is in the folder and finished, with the same settings.

    Raises:
        BagError: where the folder holds a finished evaluation of something else.
    """
    try:
        metrics, run, timings = (
            json.loads((out / f"{name}.json").read_text()) for name in ("metrics", "run", "timings")
        )
        if not metrics["is_complete"]:
            return None
        before = EvaluationSettings.from_dict(run["settings"])
        require_same(run["evaluation"], what, out)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = all(
        getattr(before, name) == getattr(settings, name) for name in settings.as_dict() if name != "existing"
    )
    if not same:
        raise BagError(
            f"The evaluation in {out} is finished, with other settings; name another folder with --out, or "
            "replace it with --force."
        )
    return EvaluationResult(out, metrics, run, timings, run["problems"])


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file. Raises `BagError` where that fails, as without room on the disk."""
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise BagError(f"Cannot write {path}: {error.strerror}.") from error
