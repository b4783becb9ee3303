"""Messages of other detectors -> regions; items found by stamp."""

from __future__ import annotations

import threading
from types import SimpleNamespace as Fields

import pytest

from h2onet_msgs.msg import HandRegion, HandRegionArray
from h2onet_ros.perception.types import GivenRegion, Region
from h2onet_ros.ros.regions import RegionError, regions_from_detections, regions_from_message
from h2onet_ros.ros.stamped_buffer import StampedBuffer

SECOND = 10**9


def test_a_region_keeps_what_its_message_says():
    full = HandRegion(
        x=1.0, y=2.0, size=3.0, angle=0.5, is_upright=True, handedness=HandRegion.LEFT, score=0.5
    )
    bare = HandRegion(x=1.0, y=2.0, size=3.0)
    assert regions_from_message(HandRegionArray(regions=[full, bare])) == [
        GivenRegion(Region(1.0, 2.0, 3.0, 0.5), "left", 0.5, True),
        GivenRegion(Region(1.0, 2.0, 3.0, 0.0), None, 1.0, False),
    ]


@pytest.mark.parametrize("change", [{"size": 0.0}, {"x": float("nan")}, {"score": float("inf")}])
def test_regions_that_are_no_squares_are_refused(change):
    message = HandRegion(**({"x": 1.0, "y": 2.0, "size": 3.0} | change))
    with pytest.raises(RegionError, match="positive size"):
        regions_from_message(HandRegionArray(regions=[message]))


def detections(*classes: str | None, is_new: bool = True) -> Fields:
    """A vision_msgs/Detection2DArray by its fields: those of version 4, or of the versions before."""

    def one(name: str | None) -> Fields:
        centre = Fields(position=Fields(x=10.0, y=20.0)) if is_new else Fields(x=10.0, y=20.0)
        score = Fields(class_id=name, score=0.75) if is_new else Fields(id=name, score=0.75)
        results = [] if name is None else [Fields(hypothesis=score) if is_new else score]
        return Fields(bbox=Fields(center=centre, size_x=30.0, size_y=40.0), results=results)

    return Fields(detections=[one(name) for name in classes])


@pytest.mark.parametrize("is_new", [True, False], ids=["vision_msgs 4", "before"])
def test_a_box_becomes_a_square_about_its_centre(is_new):
    (region,) = regions_from_detections(detections("hand", is_new=is_new))
    assert region == GivenRegion(Region(10.0, 20.0, 40.0), None, 0.75)


@pytest.mark.parametrize(
    ("name", "side"),
    [("hand", None), ("left_hand", "left"), ("Right Hand", "right"), ("right", "right"), ("7", None)],
)
def test_hands_are_told_by_their_class(name, side):
    assert [region.handedness for region in regions_from_detections(detections(name))] == [side]


def test_other_things_are_no_hands():
    assert regions_from_detections(detections("cup", "handbag", "person")) == []
    assert len(regions_from_detections(detections(None))) == 1


class TestStampedBuffer:
    def test_the_nearest_item_within_tolerance_is_found(self):
        buffer: StampedBuffer[str] = StampedBuffer()
        for stamp, item in ((0, "a"), (100, "b"), (200, "c")):
            buffer.put(stamp * SECOND // 1000, item)
        assert buffer.nearest(int(0.12 * SECOND), 0.05) == "b"
        assert buffer.nearest(int(0.3 * SECOND), 0.05) is None

    @pytest.mark.parametrize(
        ("end", "expected"),
        [(lambda buffer: buffer.put(SECOND, "new"), "new"), (StampedBuffer.close, None)],
        ids=["an item comes", "closed"],
    )
    def test_it_waits_for_an_item_that_is_about_to_come(self, end, expected):
        buffer: StampedBuffer[str] = StampedBuffer()
        buffer.put(0, "old")
        found = []
        thread = threading.Thread(target=lambda: found.append(buffer.nearest(SECOND, 0.01, wait=30.0)))
        thread.start()
        end(buffer)
        thread.join(60)
        assert found == [expected]

    def test_it_does_not_wait_for_what_was_missed(self):
        buffer: StampedBuffer[str] = StampedBuffer()
        buffer.put(2 * SECOND, "later")
        assert buffer.nearest(SECOND, 0.01, wait=30.0) is None

    def test_it_does_not_wait_for_a_topic_that_never_spoke(self):
        assert StampedBuffer().nearest(0, 1.0, wait=30.0) is None

    def test_the_latest_item_is_given_once(self):
        buffer: StampedBuffer[str] = StampedBuffer()
        buffer.put(0, "a")
        buffer.put(SECOND, "b")
        assert buffer.take_latest(SECOND, 0.1) == "b"
        assert buffer.take_latest(SECOND, 0.1) is None

    def test_going_back_in_time_forgets(self):
        buffer: StampedBuffer[str] = StampedBuffer()
        buffer.put(5 * SECOND, "old run")
        buffer.put(SECOND, "new run")
        assert buffer.nearest(5 * SECOND, 0.1) is None
