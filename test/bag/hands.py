"""Hands with numbers of their own, for the tests of figures."""

import numpy as np

from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.types import FrameResult, Hand, Region

CAMERA = Camera(640, 480, np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]))


def moved(points, *by):
    """Points `(N, D)`, each moved by D numbers."""
    return points + np.array(by)


def make_hand(
    track_id=1, joints=None, seed=0, handedness="right", occlusion=None, vertices=None, points=None
):
    """A hand half a metre before `CAMERA`, 0.1 m in size; joints, or what is given of it, may be planted."""
    random = np.random.default_rng(seed)
    if joints is None:
        joints = moved(random.uniform(-0.05, 0.05, (21, 3)), 0.0, 0.0, 0.5)
    joints = np.asarray(joints, np.float32)
    if vertices is None:
        vertices = np.repeat(joints, 3, axis=0) + random.normal(scale=0.004, size=(63, 3))
    return Hand(
        track_id=track_id,
        handedness=handedness,
        handedness_score=0.75,
        detection_score=0.5,
        region=Region(100.0, 50.0, 64.0),
        position=joints[0],
        rotation=np.eye(3, dtype=np.float32),
        joints=joints,
        vertices=np.asarray(vertices, np.float32),
        occlusion=np.asarray(random.uniform(size=6) if occlusion is None else occlusion, np.float32),
        image_points=np.asarray(CAMERA.project(joints) if points is None else points, np.float32),
        reprojection_error=1.25,
    )


def frame_of(stamp, *hands, frame_id="camera"):
    return FrameResult(stamp, frame_id, hands, {"total": 0.01})
