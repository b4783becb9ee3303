"""Where an evaluation was broken off, and everything it takes to go on as if it had not been.

The folder `checkpoint/` holds what the evaluation is of (`evaluation.json`), and the pipeline's state after a
number of images (`state`). To go on, the results until there are taken from the results bag, in place of the
network, and everything else is written anew from them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.settings import PIPELINE_SETTINGS, EvaluationSettings
from h2onet_ros.engines.base import Engine
from h2onet_ros.perception.pipeline import HandPipeline
from h2onet_ros.perception.snapshot import SnapshotError, load_state, save_state

FOLDER = "checkpoint"
PERIOD = 30.0
"""Seconds between checkpoints: what a kill costs at most."""

_COUNT_SIZE = 8


def identity(
    bag: Path, topic: str, depth_topic: str | None, settings: EvaluationSettings, engine: Engine
) -> dict[str, Any]:
    """What results hang on: the recording, the weights, the engine, the settings of the pipeline."""
    files = sorted(file for file in bag.rglob("*") if file.is_file()) if bag.is_dir() else [bag]
    calibration = b"" if settings.calibration is None else Path(settings.calibration).read_bytes()
    return {
        "recording": bag.name,
        "recording_bytes": sum(file.stat().st_size for file in files),
        "calibration": hashlib.sha256(calibration).hexdigest() if calibration else None,
        "topic": topic,
        "depth_topic": depth_topic,
        "weights_digest": engine.bundle.digest,
        "engine": engine.description,
        **{name: getattr(settings, name) for name in PIPELINE_SETTINGS},
    }


class Checkpoint:
    """The checkpoint of the evaluation in a folder.

    Attributes:
        images: how many images were processed when it was made; 0 where there is none.
    """

    def __init__(self, out: Path, evaluation: dict[str, Any]) -> None:
        self._folder = out / FOLDER
        self._evaluation = evaluation
        self._results = out / "hands.mcap"
        self._kept_results = self._folder / "hands.mcap"
        self._state = b""
        self.images = 0

    def begin(self) -> None:
        """Start anew. Raises `BagError` where the folder cannot be written."""
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            (self._folder / "evaluation.json").write_text(json.dumps(self._evaluation, indent=2) + "\n")
        except OSError as error:
            raise BagError(
                f"Expected a folder to write to, cannot use {self._folder}: {error.strerror}."
            ) from error

    def load(self) -> bool:
        """Take up what is there; whether there is anything to take up.

        Raises:
            BagError: for the checkpoint of another evaluation.
        """
        try:
            before = json.loads((self._folder / "evaluation.json").read_text())
        except (OSError, ValueError):
            return False
        require_same(before, self._evaluation, self._folder.parent)
        try:
            data = (self._folder / "state").read_bytes()
        except OSError:
            return False
        self.images = int.from_bytes(data[:_COUNT_SIZE], "little")
        self._state = data[_COUNT_SIZE:]
        return True

    def keep_results(self) -> Path:
        """Put the results so far out of the way of new ones; where they are."""
        if not self._kept_results.exists():
            self._results.replace(self._kept_results)
        return self._kept_results

    def restore(self, pipeline: HandPipeline) -> None:
        """Raises `BagError` where the state is damaged."""
        try:
            load_state(pipeline, self._state)
        except SnapshotError as error:
            raise BagError(
                f"The checkpoint {self._folder} cannot be used: {error}. Start anew with --force."
            ) from error
        self._state = b""

    def save(self, images: int, pipeline: HandPipeline) -> None:
        """Note the state after a number of images, whose results are on the disk. Raises OSError."""
        new = self._folder / "state.new"
        new.write_bytes(images.to_bytes(_COUNT_SIZE, "little") + save_state(pipeline))
        new.replace(self._folder / "state")
        self.images = images
        # The new results hold all that the old ones did.
        self._kept_results.unlink(missing_ok=True)

    def remove(self) -> None:
        """The evaluation is finished."""
        shutil.rmtree(self._folder, ignore_errors=True)


def require_same(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    """Raise a `BagError` unless two evaluations are the same one."""
    # Through JSON, which knows no tuples.
    now = json.loads(json.dumps(now))
    other = [
        f"{name}: {before.get(name)!r} then, {now[name]!r} now"
        for name in now
        if before.get(name) != now[name]
    ]
    if other:
        raise BagError(
            f"The evaluation in {out} cannot be resumed, it was of something else ({'; '.join(other)}). Name "
            "another folder with --out, or start anew with --force."
        )
