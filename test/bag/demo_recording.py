"""The demo recording's images with two hands in them, and what is truly there."""

from pathlib import Path

import cv2
import numpy as np
import recordings
from hands import frame_of

from h2onet_ros.bag.calibration import load_camera
from h2onet_ros.hand.joints import OCCLUSION_NAMES
from h2onet_ros.hand.model import open_hand
from h2onet_ros.perception.types import Hand, Region

DEMO = Path(__file__).resolve().parents[2] / "h2onet_ros" / "assets" / "demo"
FIRST = 60
"""Number of the first image with both hands."""
CAMERA = load_camera(DEMO / "camera.yaml")


def images(count):
    """BGR images with both hands."""
    capture = cv2.VideoCapture(str(DEMO / "demo.mp4"))
    return [capture.read()[1] for _ in range(FIRST + count)][FIRST:]


def truth(count):
    """The hands of `images`: what truth.npz says; it does not say what is hidden, so that is made up."""
    random = np.random.default_rng(0)
    with np.load(DEMO / "truth.npz") as arrays:
        return [_true_result(index, arrays, random) for index in range(count)]


def messages(count):
    """Of a recording with truth."""
    camera = recordings.camera_messages(images(count), k=CAMERA.k)
    return camera + recordings.truth_messages(truth(count))


def _true_result(index, arrays, random):
    model, hands = open_hand(), []
    for h, side in enumerate(("right", "left")):
        posed = model.pose(arrays["pose"][FIRST + index, h], arrays["shape"])
        vertices = (posed.vertices - posed.joints[0]) * ([-1, 1, 1] if side == "left" else [1, 1, 1])
        joints, turn = arrays["joints"][FIRST + index, h], arrays["rotation"][FIRST + index, h]
        hands.append(
            Hand(
                track_id=h + 1,
                handedness=side,
                handedness_score=1.0,
                detection_score=1.0,
                region=Region(0, 0, 1),
                position=joints[0],
                rotation=turn,
                joints=joints,
                vertices=(vertices @ turn.T + joints[0]).astype(np.float32),
                occlusion=random.integers(0, 2, len(OCCLUSION_NAMES)).astype(np.float32),
                image_points=arrays["joints2d"][FIRST + index, h],
                reprojection_error=0.0,
            )
        )
    return frame_of(recordings.stamp(index), *hands)


def depth(result):
    """Millimetres `(H, W)` uint16 of an image of `truth`: triangles painted from far to near, 0 elsewhere."""
    picture = np.zeros((CAMERA.height, CAMERA.width), np.uint16)
    faces = open_hand().faces
    corners = np.concatenate([hand.vertices[faces] for hand in result.hands])
    pixels = CAMERA.project(corners.reshape(-1, 3)).reshape(-1, 3, 2)
    distances = corners[..., 2].mean(1)
    for face in np.argsort(-distances):
        cv2.fillConvexPoly(picture, pixels[face].round().astype(int), round(1000 * float(distances[face])))
    return picture
