"""Follows hands from frame to frame: regions with identities. Knows no images and no networks, only what they
said.

The order within one frame:

    tracker.begin(stamp, width, height)
    if tracker.wants_detection(): candidates = tracker.associate(regions of all detected palms)
    new = tracker.start(candidate, presence, right, score)       for each candidate
    tracker.observe(track, ...)                                  for each of tracker.tracks, old and new
    tracker.finish()                                             merges, losses; then publish tracker.visible
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from h2onet_ros.perception.crop import upright_region
from h2onet_ros.perception.track import Track, size_ratio
from h2onet_ros.perception.types import FloatArray, Region


@dataclass(frozen=True)
class TrackerConfig:
    """Attributes:
    detect_every: while some but not all hands are followed, frames from one palm detection to the next.
    min_presence: a region that shows a hand with less probability than this counts as a miss.
    start_presence: the same for a new hand.
    max_error: reprojection error beyond this part of the region's size counts as a miss.
    max_misses: a hand is lost after more misses than this in a row; a new hand at its first.
    confirm: good frames after which a hand is no longer new.
    remember: seconds for which a hand found again near where it was lost gets its identity back.
    min_size: smallest side of a region in pixels.
    min_visible: least part of a region that must be inside the image.
    """

    detect_every: int = 5
    min_presence: float = 0.3
    start_presence: float = 0.5
    max_error: float = 0.2
    max_misses: int = 4
    confirm: int = 3
    remember: float = 1.0
    min_size: float = 16.0
    min_visible: float = 0.3

    def __post_init__(self) -> None:
        if self.detect_every < 1:
            raise ValueError(f"TrackerConfig.detect_every: expected at least 1, got {self.detect_every}")


_PAIR_LOG_ODDS = 0.5  # towards the other side than that of the hand that is followed already

_CLEAR_SIDE = 0.85  # a hand lost as a right one is not found again as one that is left with this probability
_CUT = 0.9  # least visible part of a region for its hand's side to be believed

_MATCH_DISTANCE = 0.5  # between centres, of the regions' mean size
_WRONG_SIZE = 2.2  # ratio between a hand's region and that of its palm that no pose explains
_EXPLAINED_OVERLAP = 0.7
_DUPLICATE_DISTANCE = 0.10  # mean distance of two hands' points, of the region's size

# Two hands whose regions overlap this much, of the smaller one, may be taken for each other. Then palms
# decide where each is, and what contradicts a hand's course or size counts as a miss.
_CONFLICT_OVERLAP = 0.4
_CONFLICT_JUMP = 0.25  # from the predicted centre, of the usual size
_CONFLICT_SIZE = 1.4  # ratio to the usual size
_CONFLICT_ERROR = 0.10  # reprojection error, of the region's size
_HIDDEN = 0.05  # added to the unlikeness of a palm for each frame in which the hand was missed
_STRAYED = 0.2  # distance of a hand's region from its palm's, of its size


class Tracker:
    """Keeps the regions and identities of up to `max_hands` hands.

    Args:
        max_hands: at most this many are followed.
        config: thresholds.
    """

    def __init__(self, max_hands: int = 2, config: TrackerConfig | None = None) -> None:
        if max_hands < 1:
            raise ValueError(f"Tracker: expected max_hands of at least 1, got {max_hands}")
        self.max_hands = max_hands
        self.config = config or TrackerConfig()
        self.tracks: list[Track] = []
        self._next_id = 1
        self.reset()

    def reconfigure(self, max_hands: int, config: TrackerConfig) -> None:
        """Follow hands otherwise from now on; those that are too many, the newest, are let go."""
        self.max_hands, self.config = max_hands, config
        self.tracks = sorted(self.tracks, key=lambda track: track.track_id)[:max_hands]

    def reset(self) -> None:
        """Forget all hands. Identities are not used again."""
        self.tracks = []
        self._lost: list[Track] = []
        self._in_conflict: set[int] = set()
        self._stamp: int | None = None
        self._since_detection = self.config.detect_every
        self._size = (0, 0)

    def begin(self, stamp: int, width: int, height: int) -> str:
        """Start a frame of `width` x `height` pixels taken at `stamp` (ns). Returns why it was reset, or "".

        Time going backwards, or another image size, means another recording: all hands are forgotten.
        """
        reason = ""
        if self._stamp is not None and stamp < self._stamp:
            reason = f"time went back by {(self._stamp - stamp) * 1e-9:.3f} s: all hands are forgotten"
        elif self._stamp is not None and self._size != (width, height):
            reason = (
                f"images changed from {self._size[0]} x {self._size[1]} to {width} x {height} pixels: "
                "all hands are forgotten"
            )
        if reason:
            self.reset()
        self._stamp, self._size = stamp, (width, height)
        self._since_detection += 1
        for track in self.tracks:
            track.switched = False
        limit = self.config.remember * 1e9
        self._lost = [t for t in self._lost if stamp - t.last_seen <= limit]
        self._in_conflict = self._conflicts(stamp)
        return reason

    def _conflicts(self, stamp: int) -> set[int]:
        """Identities that may be taken for another one, among those followed and lost a moment ago."""
        expected = [(track.track_id, track.predicted(stamp)) for track in self.tracks + self._lost]
        return {
            one
            for one, region in expected
            for other, near in expected
            if one != other and region.overlap(near) > _CONFLICT_OVERLAP
        }

    def wants_detection(self) -> bool:
        """Whether looking for palms in the whole image is worth its cost in this frame."""
        if not self.tracks or self._lost or self._in_conflict or any(t.is_doubtful for t in self.tracks):
            return True
        return len(self.tracks) < self.max_hands and self._since_detection >= self.config.detect_every

    def associate(self, found: list[Region]) -> list[Region]:
        """Tell which of the `found` regions, best first, are hands not followed yet, as far as there is room.

        A followed hand that was missed in the last frame, or whose region has another size than that of the
        palm found there twice in a row, is followed from the palm on.
        """
        assert self._stamp is not None
        self._since_detection = 0
        found = [region for region in found if self._is_usable(region)]
        # A palm that a hand lost a moment ago explains better is not that of the hand beside it.
        known = self.tracks + [track for track in self._lost if track.track_id in self._in_conflict]
        matches = _assign([[self._unlikeness(track, region) for region in found] for track in known])
        for t, r in matches.items():
            if t >= len(self.tracks):
                continue
            track, region = self.tracks[t], found[r]
            fits = size_ratio(track.region.size, region.size) < _WRONG_SIZE
            track.mismatches = 0 if fits else track.mismatches + 1
            strayed = track.track_id in self._in_conflict and _distance(track.region, region) > _STRAYED
            if track.misses or track.mismatches > 1 or strayed:
                track.move(region)
        explained = {r for t, r in matches.items() if t < len(self.tracks)}
        candidates = []
        for r, region in enumerate(found):
            if r in explained:
                continue
            if any(region.overlap(track.region) > _EXPLAINED_OVERLAP for track in self.tracks):
                continue
            candidates.append(region)
        return candidates[: self._room()]

    def _unlikeness(self, track: Track, region: Region) -> float:
        """How far a palm's region is from where the hand is expected, in mean sizes; among hands that may be
        taken for each other, their sizes count, too."""
        assert self._stamp is not None
        if track.track_id not in self._in_conflict:
            return _distance(track.region, region)
        expected = _distance(track.predicted(self._stamp), region)
        unlike = 0.5 * float(np.log(size_ratio(track.usual_size, region.size)))
        # What hides one of two hands is the other, so that a single palm is that of the hand that was seen.
        return expected + unlike + _HIDDEN * min(track.misses, 3)

    def start(self, region: Region, presence: float, right: float) -> Track | None:
        """Follow the hand in `region`, given what the hand check said; None if it is no hand.

        A hand lost or missed nearby a moment ago, of the same side, is followed on under its identity. None,
        too, for a hand at the border of the image that looks like another one than that lost there.
        """
        if presence < self.config.start_presence or not self._room():
            return None
        assert self._stamp is not None
        track = self._missing_near(region)
        if track is not None and _is_other_side(track, right):
            if region.visible_fraction(*self._size) < _CUT:
                return None  # half a hand that looks like the other one: wait until there is more of it
            track = None
        if track is None:
            track = Track(self._next_id, region, presence, right, self._stamp)
            self._next_id += 1
            others = sum(1 if other.handedness == "right" else -1 for other in self.tracks)
            track.lean(-_PAIR_LOG_ODDS * others)
        else:
            track.move(region)
        if track in self._lost:
            self._lost.remove(track)
        if track not in self.tracks:
            if len(self.tracks) >= self.max_hands:
                self._drop(max(self.tracks, key=lambda other: other.misses))
            self.tracks.append(track)
        self.check(track, presence, right)
        return track

    def check(self, track: Track, presence: float, right: float) -> None:
        """Give a followed hand this frame's answer of the hand check for its region."""
        track.presence, track.right = presence, right
        if presence >= self.config.min_presence and not self._shows_another(track):
            track.weigh_handedness(right)

    def _shows_another(self, track: Track) -> bool:
        """Whether a hand's region shows one of the other side, which is near."""
        return track.track_id in self._in_conflict and not track.is_new and _is_other_side(track, track.right)

    def observe(self, track: Track, points: FloatArray | None, error: float) -> None:
        """Give a followed hand its image points `(21, 2)` and reprojection error (pixels) of this frame.

        None for the points says that no believable hand came out.
        """
        assert self._stamp is not None
        in_conflict = track.track_id in self._in_conflict
        largest_error = min(self.config.max_error, _CONFLICT_ERROR if in_conflict else np.inf)
        good = (
            points is not None
            and track.presence >= self.config.min_presence
            and error <= largest_error * track.region.size
            and not self._shows_another(track)
        )
        region = self.region_of(points) if good and points is not None else None
        if region is None or points is None or (in_conflict and self._contradicts(track, region)):
            track.misses += 1
            return
        track.follow(region, points, self._stamp, is_among_others=in_conflict)

    def _contradicts(self, track: Track, region: Region) -> bool:
        """Whether a region is not where a hand's course leads, or not of its size."""
        assert self._stamp is not None
        if track.is_rough or track.is_new:
            return False
        expected = track.predicted(self._stamp)
        jump = float(np.hypot(region.x - expected.x, region.y - expected.y)) / track.usual_size
        return jump > _CONFLICT_JUMP or size_ratio(region.size, track.usual_size) > _CONFLICT_SIZE

    def finish(self) -> None:
        """Merge tracks that sit on the same hand and drop those that lost theirs."""
        self._merge_duplicates()
        for track in list(self.tracks):
            allowed = self.config.max_misses if track.age >= self.config.confirm else 0
            if track.misses > allowed:
                self._drop(track)

    def is_suspicious(self, track: Track) -> bool:
        """Whether somebody should look in every frame whether a followed hand is still one."""
        return track.track_id in self._in_conflict or track.is_suspicious(*self._size)

    @property
    def visible(self) -> list[Track]:
        """The hands seen in this frame, by identity."""
        return sorted((t for t in self.tracks if not t.misses and not t.is_new), key=lambda t: t.track_id)

    def region_of(self, points: FloatArray) -> Region | None:
        """The region around a hand's image points `(21, 2)`; None if no hand of this frame can be there."""
        if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 1:
            return None
        region = upright_region(points)
        return region if self._is_usable(region) else None

    @property
    def known_ids(self) -> set[int]:
        """Identities that may still be given to a hand: followed, or lost a moment ago."""
        return {track.track_id for track in self.tracks + self._lost}

    def _is_usable(self, region: Region) -> bool:
        width, height = self._size
        return (
            self.config.min_size <= region.size <= 2 * max(width, height)
            and region.visible_fraction(width, height) >= self.config.min_visible
        )

    def _room(self) -> int:
        """How many more hands may be followed; missed ones may be replaced."""
        return max(0, self.max_hands - sum(1 for track in self.tracks if not track.misses))

    def _drop(self, track: Track) -> None:
        self.tracks.remove(track)
        if track.age >= self.config.confirm:
            self._lost.append(track)

    def _missing_near(self, region: Region) -> Track | None:
        assert self._stamp is not None
        best, best_distance = None, 1.0
        for track in self._lost + [t for t in self.tracks if t.misses]:
            # A hand may cross its own region's width in a quarter of a second, and jump between two frames.
            reach = track.usual_size * (1 + 4 * min((self._stamp - track.last_seen) * 1e-9, 0.5))
            distance = min(
                float(np.hypot(region.x - place.x, region.y - place.y)) / reach
                for place in (track.region, track.predicted(self._stamp))
            )
            fits = size_ratio(region.size, track.usual_size) < _WRONG_SIZE
            if fits and distance < best_distance:
                best, best_distance = track, distance
        return best

    def _merge_duplicates(self) -> None:
        for a in list(self.tracks):
            for b in list(self.tracks):
                if a.track_id < b.track_id and a in self.tracks and b in self.tracks and _same_hand(a, b):
                    self._drop(_stray(a, b))


def _same_hand(a: Track, b: Track) -> bool:
    if a.points is None or b.points is None or a.misses or b.misses:
        return False
    distance = float(np.linalg.norm(a.points - b.points, axis=1).mean())
    return distance < _DUPLICATE_DISTANCE * min(a.region.size, b.region.size)


def _assign(unlikeness: list[list[float]]) -> dict[int, int]:
    """Columns for rows, at most one each, none beyond `_MATCH_DISTANCE`: the best pairs first, then swapped
    where that is better for two together."""
    pairs = sorted(
        (value, row, column) for row, line in enumerate(unlikeness) for column, value in enumerate(line)
    )
    matches: dict[int, int] = {}
    for value, row, column in pairs:
        if value <= _MATCH_DISTANCE and row not in matches and column not in matches.values():
            matches[row] = column
    for a in matches:
        for b in matches:
            kept = unlikeness[a][matches[a]] + unlikeness[b][matches[b]]
            swapped = unlikeness[a][matches[b]], unlikeness[b][matches[a]]
            if max(swapped) <= _MATCH_DISTANCE and sum(swapped) < kept:
                matches[a], matches[b] = matches[b], matches[a]
    return matches


def _is_other_side(track: Track, right: float) -> bool:
    """Whether a hand seen as right with this probability is clearly not of the track's side."""
    return right < 1 - _CLEAR_SIDE if track.handedness == "right" else right > _CLEAR_SIDE


def _stray(a: Track, b: Track) -> Track:
    """Of two tracks on one hand, the one that strayed there: of the other side, else the newer one."""
    if a.handedness != b.handedness:
        is_right = a.right + b.right > 1
        return b if (a.handedness == "right") == is_right else a
    return a if a.age < b.age else b


def _distance(a: Region, b: Region) -> float:
    """Between the centres, in mean sizes."""
    return float(np.hypot(a.x - b.x, a.y - b.y)) / ((a.size + b.size) / 2)
