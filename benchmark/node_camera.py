"""The camera of `bench_node`: publishes images of the demo recording at 30 Hz, from memory.

Prints at the end, as JSON, the stamps of all images and how many were late by more than half a frame.
"""

from __future__ import annotations

import argparse
import json
import time
from array import array

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from h2onet_ros.bag.calibration import load_camera
from h2onet_ros.ros.demo_run import ASSETS
from h2onet_ros.ros.messages import stamp_to_message
from h2onet_ros.ros.player_node import CAMERA_QOS

PERIOD_S = 1 / 30
SEEN = 0.6
"""Part of each hand that must be visible in an image."""
MARGIN = 35
"""Pixels around the joints of the hand that is painted over."""


def pictures(hands: int) -> list[bytes]:
    """RGB images in which `hands` hands can be seen, in an order that can be repeated without a jump."""
    truth = np.load(ASSETS / "truth.npz")
    seen = (truth["visible_share"] >= SEEN).all(axis=1)
    first, last = _longest_run(seen)
    capture = cv2.VideoCapture(str(ASSETS / "demo.mp4"))
    images = []
    for number in range(last):
        ok, bgr = capture.read()
        if not ok:
            raise RuntimeError(f"the demo recording ended at image {number}, expected {last}")
        if number < first:
            continue
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        if hands == 1:
            points = truth["joints2d"][number, 1]
            left, top = np.maximum(points.min(0) - MARGIN, 0).astype(int)
            right, bottom = (points.max(0) + MARGIN).astype(int)
            rgb[top:bottom, left:right] = rgb.mean(axis=(0, 1))
        images.append(rgb.tobytes())
    return images + images[-2:0:-1]


def _longest_run(mask: np.ndarray) -> tuple[int, int]:
    """First and one past the last index of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int(ends[longest])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--hands", type=int, choices=(1, 2), required=True)
    options = parser.parse_args()
    images = pictures(options.hands)
    camera = load_camera(ASSETS / "camera.yaml")
    rclpy.init()
    node = Node("bench_camera")
    publisher = node.create_publisher(Image, "image", CAMERA_QOS)
    infos = node.create_publisher(CameraInfo, "camera_info", CAMERA_QOS)
    info = CameraInfo(width=camera.width, height=camera.height, k=camera.k.ravel())
    info.header.frame_id = "camera"
    message = Image(
        width=camera.width, height=camera.height, encoding="rgb8", step=3 * camera.width, data=array("B")
    )
    message.header.frame_id = "camera"
    while not (publisher.get_subscription_count() and infos.get_subscription_count()):
        rclpy.spin_once(node, timeout_sec=0.05)
    stamps, late, start = [], 0, time.monotonic()
    for number in range(options.frames):
        del message.data[:]
        message.data.frombytes(images[number % len(images)])
        due = start + number * PERIOD_S
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        elif wait < -PERIOD_S / 2:
            # Not hurrying after it: the images would come faster than from a real camera.
            late += 1
            start -= wait
        stamp = node.get_clock().now().nanoseconds
        info.header.stamp = message.header.stamp = stamp_to_message(stamp)
        infos.publish(info)
        publisher.publish(message)
        stamps.append(stamp)
    time.sleep(0.5)  # the last image may still be on its way
    print(json.dumps({"stamps": stamps, "late": late}), flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
