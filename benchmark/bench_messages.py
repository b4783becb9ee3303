"""Hands into messages and images into arrays (milliseconds, median and 95th percentile)."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from h2onet_ros.hand.model import open_hand
from h2onet_ros.perception.image import image_to_rgb
from h2onet_ros.perception.types import FrameResult, Hand, Region
from h2onet_ros.ros.image import rgb_to_image
from h2onet_ros.ros.markers import HandMarkers
from h2onet_ros.ros.messages import Topology, hands_from_message, hands_to_message
from h2onet_ros.ros.points import hands_to_points

REPEATS = 300


def measure(name: str, action: Callable[[], object]) -> None:
    """Print how long the action takes, once it is warm."""
    action()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        action()
        times.append(1e3 * (time.perf_counter() - start))
    print(f"{name:42} {np.median(times):8.3f} {np.percentile(times, 95):8.3f}")


def make_hands(count: int) -> tuple[tuple[Hand, ...], Topology]:
    """Open hands half a metre before the camera."""
    model = open_hand()
    posed = model.pose(np.zeros((16, 3), np.float32), np.zeros(model.shape_basis.shape[-1], np.float32))
    away = np.array([0, 0, 0.5], np.float32)
    hands = tuple(
        Hand(
            track_id=number,
            handedness="right",
            handedness_score=0.9,
            detection_score=0.9,
            region=Region(320, 240, 200),
            position=posed.joints[0] + away,
            rotation=np.eye(3, dtype=np.float32),
            joints=posed.joints + away,
            vertices=posed.vertices + away,
            occlusion=np.linspace(0, 1, 6, dtype=np.float32),
            image_points=np.zeros((21, 2), np.float32),
            reprojection_error=1.0,
        )
        for number in range(1, count + 1)
    )
    return hands, Topology(
        "open hand", model.faces, model.vertex_part.astype(np.uint8), model.face_part.astype(np.uint8)
    )


def main() -> None:
    for count in (1, 2):
        hands, topology = make_hands(count)
        markers = HandMarkers(topology)
        result = FrameResult(1, "camera", hands, {"total": 0.01})
        message = hands_to_message(result, (640, 480))
        title = f"{count} hand{'s' if count > 1 else ''} of {len(topology.vertex_part)} vertices: "
        measure(title + "to message", lambda r=result: hands_to_message(r, (640, 480)))
        measure(title + "serialise", lambda m=message: serialize_message(m))
        measure(title + "from message", lambda m=message: hands_from_message(m))
        measure(title + "markers", lambda b=markers, h=hands: b.build(h, 1, "camera"))
        measure(title + "points", lambda h=hands, t=topology: hands_to_points(h, t.vertex_part, Header()))
    for width, height in ((640, 480), (1280, 720)):
        rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        for encoding in ("rgb8", "bgr8"):
            image = rgb_to_image(rgb, Header(), encoding)
            title = f"{width} x {height} {encoding}: "
            measure(title + "to message", lambda a=rgb, e=encoding: rgb_to_image(a, Header(), e))
            measure(title + "from message", lambda m=image: image_to_rgb(m))
