"""Brings the tracker up to date about an image: finds new hands, and checks those in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.hand_check import HandCheck, RegionCheck
from h2onet_ros.perception.palm import PalmDetector
from h2onet_ros.perception.search import PalmSearch
from h2onet_ros.perception.track import Track
from h2onet_ros.perception.tracker import Tracker
from h2onet_ros.perception.types import GivenRegion, Handedness, Region

_SETTLED_AGE = 10  # good frames after which a hand need not be checked in every frame
_CHECK_EVERY = 5  # frames between the checks of a settled hand
_ANGLES = np.arange(8) * (np.pi / 4)  # in which a hand of unknown direction is looked at
_SURE_SIDE = 0.98  # probability of the side that somebody else says
_SAME_HAND_IOU = 0.3
_WINDOW = 1.3  # side of the part of the image in which the palm of a given region is looked for, in its sides


class Finder:
    """Looks for palms where worth it, and shows every region in doubt to the hand check.

    Where their answers can wait, both run in one thread of the background, from `start_background` on.

    Args:
        tracker: is told.
        palm_threshold: least score of a palm detection.
        threads: of the palm network and of the hand check.

    Raises:
        NetworkError: the palm detector's or the hand check's file is missing or wrong.
    """

    def __init__(self, tracker: Tracker, palm_threshold: float, threads: int) -> None:
        self._tracker = tracker
        self._detector = PalmDetector(threshold=palm_threshold, threads=threads)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="perception")
        self._search = PalmSearch(self._detector, self._worker)
        self._check = RegionCheck(HandCheck(threads=threads), self._worker)

    @property
    def palm_threshold(self) -> float:
        """Least score of a palm detection; may be changed between images."""
        return self._detector.threshold

    @palm_threshold.setter
    def palm_threshold(self, threshold: float) -> None:
        self._detector.threshold = threshold

    def reset(self) -> None:
        """Forget what is under way."""
        self._search.reset()
        self._check.reset()

    def close(self) -> None:
        """End the thread of the background, after what it is doing."""
        self._worker.shutdown(cancel_futures=True)

    @property
    def background_time(self) -> float:
        """Seconds that the work of the background takes where all of it is due, as far as is known."""
        return self._search.background_time + self._check.background_time

    def start_background(self) -> None:
        """Start the work whose answers count from the next image on."""
        self._search.start()
        self._check.start()

    def find(self, rgb: NDArray[np.uint8]) -> None:
        """Look for palms in the image `(H, W, 3)` if that is worth its cost, and check hands."""
        tracker = self._tracker
        followed = self._collect_checks()
        found = self._search.collect()
        if found is None and not followed and tracker.wants_detection():
            found = self._search.now(rgb)
        candidates = [] if found is None else tracker.associate(found)
        if followed and tracker.wants_detection():
            self._search.prepare(rgb)
        for region, (presence, right) in zip(candidates, self._settle(rgb, candidates), strict=True):
            tracker.start(region, presence, right)
        self._prepare_checks(rgb, followed)

    def take(self, rgb: NDArray[np.uint8], given: Sequence[GivenRegion]) -> None:
        """Start new hands in the given regions of the image `(H, W, 3)`, and check hands."""
        tracker = self._tracker
        followed = self._collect_checks()
        self._search.reset()
        by_region = {id(one.region): one for one in given}
        ordered = sorted(given, key=lambda one: -one.score)
        candidates = tracker.associate([one.region for one in ordered])
        for track in tracker.tracks:
            moved_to = by_region.get(id(track.region))
            if moved_to is not None and not moved_to.is_upright:
                track.move(self._upright(rgb, moved_to.region))
            for one in given:
                if one.handedness is not None and one.region.iou(track.region) > _SAME_HAND_IOU:
                    track.weigh_handedness(_probability_of_right(one.handedness))
        chosen = [by_region[id(region)] for region in candidates]
        turned = [one.region if one.is_upright else self._upright(rgb, one.region) for one in chosen]
        for one, region, (presence, right) in zip(chosen, turned, self._settle(rgb, turned), strict=True):
            if one.handedness is not None:
                right = _probability_of_right(one.handedness)
            tracker.start(region, presence, right)
        self._prepare_checks(rgb, followed)

    def _upright(self, rgb: NDArray[np.uint8], region: Region) -> Region:
        """The region turned as the palm in it points, or, without one, as the hand check likes it best."""
        angle = self._palm_angle(rgb, region)
        if angle is not None:
            return replace(region, angle=angle)
        turned = [replace(region, angle=float(angle)) for angle in _ANGLES]
        presence = [answer[0] for answer in self._check.now(rgb, turned)]
        return turned[int(np.argmax(presence))]

    def _palm_angle(self, rgb: NDArray[np.uint8], region: Region) -> float | None:
        """The angle of the palm in the region; None if no palm is found whose hand would fill it."""
        reach = _WINDOW * region.size / 2
        low = np.maximum(np.floor([region.x - reach, region.y - reach]), 0).astype(int)
        high = np.minimum(np.ceil([region.x + reach, region.y + reach]), rgb.shape[1::-1]).astype(int)
        if not (low < high).all():
            return None
        palms = [palm.region for palm in self._detector.detect(rgb, (*low.tolist(), *high.tolist()))]
        best = max(palms, key=region.iou, default=None)
        return None if best is None or region.iou(best) < _SAME_HAND_IOU else best.angle

    def _collect_checks(self) -> dict[int, Track]:
        """Hands that are followed without doubt, by id, told what the background found out about them."""
        followed = {track.track_id: track for track in self._tracker.tracks if not _is_urgent(track)}
        for track_id, answer in self._check.collect().items():
            if track_id in followed:
                self._tracker.check(followed[track_id], *answer)
        return followed

    def _settle(self, rgb: NDArray[np.uint8], candidates: list[Region]) -> list[tuple[float, float]]:
        """Check hands in doubt, and answer for the candidates: probabilities of a hand and of a right one."""
        urgent = [track for track in self._tracker.tracks if _is_urgent(track)]
        answers = self._check.now(rgb, [track.region for track in urgent])
        for track, answer in zip(urgent, answers, strict=True):
            self._tracker.check(track, *answer)
        return self._check.now(rgb, candidates, both_ways=True)

    def _prepare_checks(self, rgb: NDArray[np.uint8], followed: dict[int, Track]) -> None:
        """Have hands checked in the background that are followed well, now and then."""
        routine = [
            track
            for track in followed.values()
            if not _is_urgent(track) and (_is_due(track) or self._tracker.is_suspicious(track))
        ]
        self._check.prepare(rgb, {track.track_id: track.region for track in routine})


def _probability_of_right(side: Handedness) -> float:
    return _SURE_SIDE if side == "right" else 1 - _SURE_SIDE


def _is_urgent(track: Track) -> bool:
    """Whether nothing may be computed for a followed hand before it was checked."""
    return track.is_rough or track.misses > 0


def _is_due(track: Track) -> bool:
    """Whether a hand that is followed well should be checked: a settled one now and then, at its own time."""
    return track.age < _SETTLED_AGE or (track.age + track.track_id) % _CHECK_EVERY == 0
