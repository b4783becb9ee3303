"""Evaluations as they lie in their folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.plots import Table
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.evaluation.table import read_table

_EXPECTED = "Give the output folder of h2onet evaluate-bag."


@dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
        name: tells it from the other one.
        folder: where it is.
        run, metrics, timings: as in the files of these names.
        table: the hands.
    """

    name: str
    folder: Path
    run: dict[str, Any]
    metrics: dict[str, Any]
    timings: dict[str, Any]
    table: Table

    @property
    def settings(self) -> EvaluationSettings:
        return EvaluationSettings.from_dict(self.run["settings"])

    @property
    def has_truth(self) -> bool:
        return self.metrics["accuracy"] is not None and "match" in self.table


def load_run(folder: Path, name: str) -> Run:
    """Read an evaluation.

    Raises:
        BagError: for a folder that holds none, or one that is damaged or was not concluded.
    """
    if not folder.is_dir():
        what = "a file is" if folder.exists() else "nothing is"
        raise BagError(f"Expected an evaluation at {folder}, {what} there. {_EXPECTED}")
    if (folder / "recordings.json").is_file():
        raise BagError(f"{folder} holds evaluations of many recordings; compare two of the folders in it.")
    content = {}
    for part in ("run", "metrics", "timings"):
        path = folder / f"{part}.json"
        try:
            content[part] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            unfinished = (
                " It was not finished: go on with --resume." if (folder / "checkpoint").is_dir() else ""
            )
            raise BagError(
                f"{folder} is no evaluation, it has no {path.name}.{unfinished} {_EXPECTED}"
            ) from error
        except (OSError, ValueError) as error:
            raise BagError(f"Cannot read {path}: {error}. Evaluate the recording again.") from error
    table = read_table(folder)
    try:
        run = Run(name, folder, content["run"], content["metrics"], content["timings"], table)
        _ = (run.settings, run.has_truth, run.run["evaluation"]["recording_bytes"], run.run["weights"])
        _ = (table["stamp"], table["track_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise BagError(
            f"The evaluation in {folder} was made by another version ({error}); evaluate the recording again."
        ) from error
    return run


def require_same_recording(a: Run, b: Run) -> None:
    """Raise a `BagError` unless both evaluations are of the same images."""
    first, second = a.run["evaluation"], b.run["evaluation"]
    kind = ("recording_bytes", "topic")
    if any(first[name] != second[name] for name in kind):
        raise BagError(
            f"The two evaluations are of different images: {_describe(a)} in {a.folder}, {_describe(b)} in "
            f"{b.folder}. Evaluate the same topic of the same recording twice."
        )


def differing_settings(a: Run, b: Run) -> list[tuple[str, str, str]]:
    """What was done differently: name, in the one, in the other."""
    kinds = ({"weights": run.run["weights"], **run.run["evaluation"], **_only_shown(run)} for run in (a, b))
    first, second = kinds
    hidden = ("recording", "recording_bytes", "topic")
    return [
        (name, str(first.get(name)), str(second.get(name)))
        for name in dict.fromkeys([*first, *second])
        if name not in hidden and first.get(name) != second.get(name)
    ]


def _only_shown(run: Run) -> dict[str, Any]:
    return {name: run.run["settings"].get(name) for name in ("seconds", "truth", "truth_offset")}


def _describe(run: Run) -> str:
    what = run.run["evaluation"]
    return f"{what['recording']} ({what['recording_bytes']} bytes, topic {what['topic']})"
