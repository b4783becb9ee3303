"""The overlay video and its contact sheet, and the figures about a stream."""

import shutil

import cv2
import numpy as np
import pytest

from h2onet_ros.bag import video as video_module
from h2onet_ros.bag.contact_sheet import contact_sheet, write_image
from h2onet_ros.bag.errors import BagError, DiskFullError
from h2onet_ros.bag.statistics import StreamStatistics, Track
from h2onet_ros.bag.video import VideoWriter

MS = 1_000_000


def grey(level, size=(64, 48)):
    return np.full((size[1], size[0], 3), level, np.uint8)


def levels(path):
    """The mean brightness of each image of a video, rounded to tens."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while (frame := capture.read())[0]:
        found.append(int(round(frame[1].mean(), -1)))
    return found


def write(path, entries, rate=10.0):
    with VideoWriter(path, rate) as writer:
        for level, stamp in entries:
            writer.write(grey(level), stamp)
    return writer


def test_images_lie_where_their_stamps_say(tmp_path):
    start = 1_700_000_000_123_456_789
    # The third of a video of 10 images a second is missing, the others come some milliseconds off.
    writer = write(
        tmp_path / "v.mp4",
        [(50, start), (100, start + 104 * MS), (150, start + 297 * MS), (200, start + 405 * MS)],
    )
    assert levels(tmp_path / "v.mp4") == [50, 100, 100, 150, 200]
    assert (writer.images, writer.dropped) == (4, 0)


def test_a_long_pause_is_shortened(tmp_path):
    write(tmp_path / "v.mp4", [(50, 0), (100, 3_600_000 * MS), (150, 3_600_100 * MS)])
    assert levels(tmp_path / "v.mp4") == [50] * 21 + [100, 150]


def test_images_of_another_size_are_refused_and_the_video_is_kept(tmp_path):
    writer = VideoWriter(tmp_path / "v.mp4", 10.0)
    for index in range(5):
        writer.write(grey(100), index * 100 * MS)
    writer.write(grey(100, (32, 24)), 500 * MS)
    with pytest.raises(BagError, match=r"Expected images of 64 x 48 .* got 32 x 24"):
        writer.close()
    writer.close()
    assert levels(tmp_path / "v.mp4") == [100] * 5


def test_a_full_disk_ends_the_video_while_it_can_still_be_finished(tmp_path, monkeypatch):
    # The real thing, on a small file system, is among the demo's tests; here the disk fills after 3 images.
    free = iter([100 << 20] * 4 + [1 << 20] * 99)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(video_module.shutil, "disk_usage", lambda path: usage._replace(free=next(free)))
    writer = VideoWriter(tmp_path / "v.mp4", 10.0)
    for index in range(6):
        writer.write(grey(100), index * 100 * MS)
    with pytest.raises(DiskFullError, match="first 3 images are kept"):
        writer.close()
    assert levels(tmp_path / "v.mp4") == [100] * 3
    with pytest.raises(DiskFullError, match="No room left"):
        VideoWriter(tmp_path / "w.mp4", 10.0)


def test_the_contact_sheet_shows_first_and_last_and_between(tmp_path):
    write(tmp_path / "v.mp4", [(20 * index, index * 100 * MS) for index in range(11)])
    sheet = contact_sheet(tmp_path / "v.mp4", columns=3, rows=1, width=64)
    assert sheet.shape == (48, 192, 3)
    assert [round(float(sheet[:20, x : x + 64].mean()), -1) for x in (0, 64, 128)] == [0, 100, 200]
    write_image(tmp_path / "sheet.png", sheet)
    assert np.array_equal(cv2.imread(str(tmp_path / "sheet.png")), sheet)


def test_a_short_video_has_a_small_contact_sheet(tmp_path):
    write(tmp_path / "v.mp4", [(100, 0), (200, 100 * MS)])
    assert contact_sheet(tmp_path / "v.mp4", columns=3, rows=2, width=64).shape == (48, 128, 3)


def test_a_contact_sheet_of_nothing_is_refused(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"nothing")
    with pytest.raises(BagError, match="Expected a video with images"):
        contact_sheet(tmp_path / "v.mp4")
    with pytest.raises(BagError, match="Cannot write the picture"):
        write_image(tmp_path / "no" / "sheet.png", grey(0))


def test_figures_of_a_stream():
    statistics = StreamStatistics()
    for index in range(11):
        stamp = index * 100 * MS
        statistics.add(
            stamp,
            arrival=stamp + (10 + index) * MS,
            latency=0.005 + 0.001 * index,
            processing=0.004,
            skipped=index % 2,
            track_ids=[1, 2] if index < 4 else ([2] if index < 10 else []),
        )
    summary = statistics.summary()
    assert (summary.answers, summary.answers_with_hands, summary.hands, summary.skipped) == (11, 10, 14, 5)
    assert summary.latency_median == pytest.approx(0.010)
    assert summary.latency_p95 == pytest.approx(0.0145)
    assert summary.arrival_median == pytest.approx(0.015)
    assert summary.processing_median == pytest.approx(0.004)
    assert summary.answers_per_second == pytest.approx(10.0)
    assert summary.tracks == (Track(2, 10), Track(1, 4))


def test_figures_of_no_stream():
    summary = StreamStatistics().summary()
    assert (summary.answers, summary.hands, summary.tracks) == (0, 0, ())
    assert summary.latency_median is None and summary.answers_per_second is None
