"""Serialised messages for recordings, made by rosbags and not by the code under test."""

import signal
from pathlib import Path

import pytest

from h2onet_ros.bag.message_types import HAND_ARRAY, IMAGE, create_typestore
from h2onet_ros.engines import bundle_path

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.fixture(autouse=True)
def signal_handlers():
    """`main` takes over the signals of its process, which is the tests' own here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def weights():
    """The weights that come along."""
    return bundle_path()
