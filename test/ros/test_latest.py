"""The slot between the thread that takes images and the one that works on them."""

from __future__ import annotations

import threading

from h2onet_ros.ros.latest import LatestSlot


def test_only_the_newest_is_kept_and_the_others_are_counted():
    slot = LatestSlot()
    for item in "abc":
        slot.put(item)
    assert slot.take() == ("c", 2)
    slot.put("d")
    assert slot.take() == ("d", 0)


def test_taking_waits_for_an_item():
    slot, taken = LatestSlot(), []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.put("late")
    thread.join(10)
    assert taken == [("late", 0)]


def test_closing_ends_a_wait_and_drops_what_is_left():
    slot, taken = LatestSlot(), []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.close()
    thread.join(10)
    slot.put("too late")
    assert taken == [None] and slot.take() is None


def test_nothing_is_lost_or_counted_twice_between_threads():
    slot, count, seen, skipped = LatestSlot(), 20_000, [], 0

    def produce():
        for item in range(count):
            slot.put(item)

    producer = threading.Thread(target=produce)
    producer.start()
    while not seen or seen[-1] != count - 1:
        item, missed = slot.take()
        seen.append(item)
        skipped += missed
    producer.join(10)
    assert seen == sorted(seen)
    assert len(seen) + skipped == count
