"""The queue between the thread that takes in images and the one that works on them."""

from __future__ import annotations

import threading

import pytest

from h2onet_ros.ros.image_queue import ImageQueue


class Clock:
    """Time that stands still unless told otherwise."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_patience_only_the_newest_is_given_and_the_others_are_counted(clock):
    queue = ImageQueue(max_wait=0.0, clock=clock)
    for item in "abc":
        queue.put(item)
    assert queue.take() == ("c", 2)
    queue.put("d")
    assert queue.take() == ("d", 0)


def test_a_burst_is_given_in_order_while_it_is_fresh(clock):
    queue = ImageQueue(max_wait=0.05, clock=clock)
    for item in "abcd":
        queue.put(item)
    taken = []
    for _ in range(3):
        taken.append(queue.take())
        clock.now += 0.02
    # When c was taken the others had waited 0.04 s; for d there is nothing newer to make way for.
    assert taken == [("a", 0), ("b", 0), ("c", 0)]
    clock.now += 1.0
    assert queue.take() == ("d", 0)


def test_what_waited_too_long_makes_way(clock):
    queue = ImageQueue(max_wait=0.05, clock=clock)
    queue.put("a")
    clock.now += 0.03
    queue.put("b")
    clock.now += 0.03
    queue.put("c")
    assert queue.take() == ("b", 1)
    clock.now += 0.06
    queue.put("d")
    assert queue.take() == ("d", 1)


def test_a_slow_worker_is_never_further_behind_than_the_wait_and_one_interval(clock):
    queue, delays, skipped = ImageQueue(max_wait=0.05, clock=clock), [], 0
    due, interval, work = clock.now, 1 / 30, 0.08
    for _ in range(200):
        while due <= clock.now:
            queue.put(due)
            due += interval
        arrival, missed = queue.take()
        delays.append(clock.now - arrival)
        skipped += missed
        clock.now += work
    assert skipped > 100
    assert max(delays[5:]) <= 0.05 + work


def test_no_more_than_the_capacity_is_kept(clock):
    queue = ImageQueue(max_wait=10.0, capacity=3, clock=clock)
    for item in range(5):
        queue.put(item)
    assert [queue.take() for _ in range(3)] == [(2, 2), (3, 0), (4, 0)]


def test_taking_waits_for_an_item():
    queue, taken = ImageQueue(0.0), []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.put("late")
    thread.join(10)
    assert taken == [("late", 0)]


def test_closing_ends_a_wait_and_drops_what_is_left():
    queue, taken = ImageQueue(0.0), []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.close()
    thread.join(10)
    queue.put("too late")
    assert taken == [None] and queue.take() is None


def test_nothing_is_lost_or_counted_twice_between_threads():
    queue, count, seen, skipped = ImageQueue(0.0001), 20_000, [], 0

    def produce():
        for item in range(count):
            queue.put(item)

    producer = threading.Thread(target=produce)
    producer.start()
    while not seen or seen[-1] != count - 1:
        item, missed = queue.take()
        seen.append(item)
        skipped += missed
    producer.join(10)
    assert seen == sorted(seen)
    assert len(seen) + skipped == count
