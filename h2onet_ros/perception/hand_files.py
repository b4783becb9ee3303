"""One image's hands as files, for people and for other programs."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from h2onet_ros.hand.joints import JOINT_NAMES, OCCLUSION_NAMES
from h2onet_ros.perception.hand_message import quaternion_from_rotation
from h2onet_ros.perception.types import Frame, FrameResult, Hand


def write_hands(
    folder: Path,
    frame: Frame,
    result: FrameResult,
    overlay: NDArray[np.uint8],
    faces: NDArray[np.integer],
    picture: Literal["png", "jpg"] = "png",
    with_image: bool = True,
) -> list[Path]:
    """Write `image.png`, `overlay.png`, `hands.json` and `hand_<id>.obj` into a new folder.

    The folder is there with all its files or not at all.

    Args:
        folder: made, and those above it where missing.
        frame, result: an image and its hands.
        overlay: `(H, W, 3)` RGB, the image with the hands drawn into it.
        faces: `(F, 3)` of a right hand's mesh.
        picture: how pictures are stored; their names end so.
        with_image: write the image itself, too.

    Returns:
        The files.

    Raises:
        OSError: where they cannot be written, or something is there already.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}_", dir=folder.parent))
    try:
        if with_image:
            _write_picture(draft / f"image.{picture}", frame.rgb)
        _write_picture(draft / f"overlay.{picture}", overlay)
        (draft / "hands.json").write_text(json.dumps(_description(frame, result), indent=1) + "\n")
        for hand in result.hands:
            (draft / f"hand_{hand.track_id}.obj").write_text(_obj(hand, faces))
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return sorted(folder.iterdir())


def _write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path.name}: OpenCV could not encode the image")
    path.write_bytes(encoded.tobytes())


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


def _obj(hand: Hand, faces: NDArray[np.integer]) -> str:
    """Wavefront OBJ; a left hand's triangles are turned round, so that they face outwards."""
    order = faces if hand.handedness == "right" else faces[:, ::-1]
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in hand.vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (order + 1).tolist()]
    return "\n".join(lines) + "\n"
