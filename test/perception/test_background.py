import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from h2onet_ros.perception.background import Background


def test_the_answer_is_waited_for():
    background: Background[int] = Background(ThreadPoolExecutor(1))
    released = threading.Event()
    background.begin(lambda: int(released.wait(10)))
    released.set()
    assert background.collect() == 1
    assert background.collect() is None


def test_errors_come_out_where_the_answer_would():
    background: Background[int] = Background(ThreadPoolExecutor(1))
    background.begin(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        background.collect()
    assert background.collect() is None


def test_what_was_forgotten_is_not_answered():
    background: Background[int] = Background(ThreadPoolExecutor(1))
    background.begin(lambda: 1)
    background.forget()
    assert background.collect() is None
    background.begin(lambda: 2)
    background.begin(lambda: 3)
    assert background.collect() == 3
