"""Recordings of a camera and of true hands, written by rosbags."""

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer

from h2onet_ros.bag.hands import HandSerialiser
from h2onet_ros.bag.message_types import CAMERA_INFO, COMPRESSED_IMAGE, HAND_ARRAY, IMAGE, create_typestore

TOPIC, INFO_TOPIC, TRUTH_TOPIC = "/camera/image_raw", "/camera/camera_info", "/ground_truth/hands"
START, PERIOD = 100_000_000_000, 33_333_333
STORE = create_typestore()


def stamp(index):
    return START + index * PERIOD


def header(index, frame_id="camera"):
    time = STORE.types["builtin_interfaces/msg/Time"](*divmod(stamp(index), 10**9))
    return STORE.types["std_msgs/msg/Header"](time, frame_id)


def cdr(message, kind):
    return bytes(STORE.serialize_cdr(message, kind))


def raw_image(index, bgr, frame_id="camera"):
    height, width = bgr.shape[:2]
    message = STORE.types[IMAGE](
        header(index, frame_id), height, width, "bgr8", 0, 3 * width, bgr.reshape(-1)
    )
    return cdr(message, IMAGE)


def jpeg_image(index, bgr, frame_id="camera", quality=90):
    """None for `bgr`: bytes that are no JPEG."""
    data = np.frombuffer(b"\xff\xd8no JPEG", np.uint8)
    if bgr is not None:
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel()
    return cdr(STORE.types[COMPRESSED_IMAGE](header(index, frame_id), "jpeg", data), COMPRESSED_IMAGE)


def depth_image(index, millimetres, frame_id="camera", encoding="16UC1"):
    height, width = millimetres.shape
    data = millimetres.view(np.uint8).reshape(-1)
    message = STORE.types[IMAGE](header(index, frame_id), height, width, encoding, 0, 2 * width, data)
    return cdr(message, IMAGE)


def camera_info(index, width, height, k, frame_id="camera"):
    region = STORE.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    k = np.asarray(k, np.float64).ravel()
    p = np.zeros(12)
    p[[0, 1, 2, 4, 5, 6, 8, 9, 10]] = k
    message = STORE.types[CAMERA_INFO](
        header(index, frame_id),
        height,
        width,
        "plumb_bob",
        np.zeros(5),
        k,
        np.eye(3).ravel(),
        p,
        0,
        0,
        region,
    )
    return cdr(message, CAMERA_INFO)


def true_hands(result, size=(640, 480)):
    return HandSerialiser(STORE).hands(result, size)


def write(path, messages, storage="mcap", mode=None, store=STORE):
    """A rosbag2 folder of (topic, type, time, serialised message); compressed where a mode is given."""
    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, kind, time, data in sorted(messages, key=lambda message: message[2]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], time, data)
    return path


def camera_messages(images, topic=TOPIC, k=None, is_raw=False, frame_id="camera"):
    """Messages of a camera; None among the images stands for a corrupt one."""
    messages = []
    for index, bgr in enumerate(images):
        make, kind, name = (
            (raw_image, IMAGE, topic) if is_raw else (jpeg_image, COMPRESSED_IMAGE, f"{topic}/compressed")
        )
        messages.append((name, kind, stamp(index), make(index, bgr, frame_id)))
        if k is not None and bgr is not None:
            height, width = bgr.shape[:2]
            info = camera_info(index, width, height, k, frame_id)
            messages.append((f"{topic.rpartition('/')[0]}/camera_info", CAMERA_INFO, stamp(index), info))
    return messages


def truth_messages(results, topic=TRUTH_TOPIC):
    return [(topic, HAND_ARRAY, result.stamp, true_hands(result)) for result in results]


def grey_images(count, size=(160, 120)):
    return [np.full((size[1], size[0], 3), 5 * index % 256, np.uint8) for index in range(count)]
