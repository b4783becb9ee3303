"""Serialised messages for recordings, made by rosbags and not by the code under test."""

import pytest

from h2onet_ros.bag.message_types import HAND_ARRAY, IMAGE, create_typestore


class MessageMaker:
    """Makes serialised messages whose stamp is `index` seconds."""

    def __init__(self):
        self.store = create_typestore()
        self.types = self.store.types

    def header(self, index, frame_id="camera"):
        stamp = self.types["builtin_interfaces/msg/Time"](index, 7)
        return self.types["std_msgs/msg/Header"](stamp, frame_id)

    def hands(self, index):
        message = self.types[HAND_ARRAY](self.header(index), 640, 480, [], 0, *[0.0] * 7)
        return bytes(self.store.serialize_cdr(message, HAND_ARRAY))

    def image(self, index, array, encoding="bgr8", step=None):
        height, width = array.shape[:2]
        step = step or array[0].nbytes
        message = self.types[IMAGE](self.header(index), height, width, encoding, 0, step, array.reshape(-1))
        return bytes(self.store.serialize_cdr(message, IMAGE))


@pytest.fixture(scope="session")
def maker():
    return MessageMaker()
