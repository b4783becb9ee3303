"""One image and its hands on disk, for a bug report or a data set."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from h2onet_ros.hand.joints import JOINT_NAMES, OCCLUSION_NAMES
from h2onet_ros.perception.types import Frame, FrameResult, Hand
from h2onet_ros.ros.messages import NANOSECONDS, quaternion_from_rotation


def default_folder() -> Path:
    """Beside ROS's logs: `$ROS_HOME` or `~/.ros`."""
    return Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "h2onet_snapshots"


def write_snapshot(
    folder: Path, frame: Frame, result: FrameResult, overlay: np.ndarray, faces: np.ndarray
) -> list[Path]:
    """Write `image.png`, `overlay.png`, `hands.json` and `hand_<id>.obj` into a new folder below `folder`.

    The new folder is there with all its files or not at all.

    Args:
        folder: made where missing.
        frame, result: an image and its hands.
        overlay: `(H, W, 3)` RGB, the image with the hands drawn into it.
        faces: `(F, 3)` of a right hand's mesh.

    Returns:
        The files.

    Raises:
        OSError: where they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".snapshot_", dir=folder))
    try:
        _write_png(draft / "image.png", frame.rgb)
        _write_png(draft / "overlay.png", overlay)
        (draft / "hands.json").write_text(json.dumps(_description(frame, result), indent=1) + "\n")
        for hand in result.hands:
            (draft / f"hand_{hand.track_id}.obj").write_text(_obj(hand, faces))
        draft.chmod(0o755)
        final = _free_name(folder, frame.stamp)
        draft.rename(final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return sorted(final.iterdir())


def _free_name(folder: Path, stamp: int) -> Path:
    seconds, nanoseconds = divmod(stamp, NANOSECONDS)
    taken = datetime.fromtimestamp(seconds, timezone.utc)
    name = f"{taken:%Y%m%dT%H%M%S}_{nanoseconds // 1_000_000:03d}"
    number, path = 1, folder / name
    while path.exists():
        number += 1
        path = folder / f"{name}_{number}"
    return path


def _write_png(path: Path, rgb: np.ndarray) -> None:
    done, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path.name}: OpenCV could not encode the image")
    path.write_bytes(png.tobytes())


def _description(frame: Frame, result: FrameResult) -> dict[str, Any]:
    camera = frame.camera
    return {
        "stamp_ns": result.stamp,
        "frame_id": result.frame_id,
        "camera": {
            "width": camera.width,
            "height": camera.height,
            "k": camera.k.tolist(),
            "distortion_model": camera.distortion_model,
            "distortion": [] if camera.distortion is None else camera.distortion.tolist(),
            "is_assumed": camera.is_assumed,
        },
        "units": "metres in the camera's optical frame, pixels in the image",
        "joint_names": list(JOINT_NAMES),
        "occlusion_names": list(OCCLUSION_NAMES),
        "timings_s": result.timings,
        "hands": [_hand(hand) for hand in result.hands],
    }


def _hand(hand: Hand) -> dict[str, Any]:
    return {
        "track_id": hand.track_id,
        "handedness": hand.handedness,
        "handedness_score": float(hand.handedness_score),
        "detection_score": float(hand.detection_score),
        "region": {
            "x": float(hand.region.x),
            "y": float(hand.region.y),
            "size": float(hand.region.size),
            "angle": float(hand.region.angle),
        },
        "wrist": {
            "position": hand.position.tolist(),
            "orientation_xyzw": quaternion_from_rotation(hand.rotation).tolist(),
        },
        "joints": hand.joints.tolist(),
        "image_points": hand.image_points.tolist(),
        # JSON knows no NaN: null where the weights cannot tell.
        "occlusion": [float(value) if np.isfinite(value) else None for value in hand.occlusion],
        "reprojection_error": float(hand.reprojection_error),
    }


def _obj(hand: Hand, faces: np.ndarray) -> str:
    """Wavefront OBJ; a left hand's triangles are turned round, so that they face outwards."""
    order = faces if hand.handedness == "right" else faces[:, ::-1]
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in hand.vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (order + 1).tolist()]
    return "\n".join(lines) + "\n"
