import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from h2onet_ros.perception.background import Background


def test_the_answer_is_waited_for():
    background: Background[int] = Background(ThreadPoolExecutor(1))
    released = threading.Event()
    background.prepare(lambda: int(released.wait(10)))
    background.start()
    released.set()
    assert background.collect() == 1
    assert background.collect() is None


def test_errors_come_out_where_the_answer_would():
    background: Background[int] = Background(ThreadPoolExecutor(1))
    background.prepare(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        background.collect()
    assert background.collect() is None


def test_nothing_is_done_before_it_is_started():
    worker, done = ThreadPoolExecutor(1), []
    background: Background[None] = Background(worker)
    background.prepare(lambda: done.append("first"))
    worker.submit(done.append, "second").result()
    background.start()
    background.collect()
    assert done == ["second", "first"]


def test_what_was_forgotten_is_not_answered():
    background: Background[int] = Background(ThreadPoolExecutor(1))
    background.prepare(lambda: 1)
    background.forget()
    assert background.collect() is None
    background.prepare(lambda: 2)
    background.prepare(lambda: 3)
    assert background.collect() == 3
