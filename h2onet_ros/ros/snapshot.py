"""Where snapshots of an image and its hands go, for a bug report or a data set."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from h2onet_ros.ros.messages import NANOSECONDS


def default_folder() -> Path:
    """Beside ROS's logs: `$ROS_HOME` or `~/.ros`."""
    return Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "h2onet_snapshots"


def snapshot_folder(folder: Path, stamp: int) -> Path:
    """A folder below `folder` that is not there yet, named after the image's stamp (nanoseconds)."""
    seconds, nanoseconds = divmod(stamp, NANOSECONDS)
    taken = datetime.fromtimestamp(seconds, timezone.utc)
    name = f"{taken:%Y%m%dT%H%M%S}_{nanoseconds // 1_000_000:03d}"
    number, path = 1, folder / name
    while path.exists():
        number += 1
        path = folder / f"{name}_{number}"
    return path
