"""Two simulated hands, described by their points, as the networks would see them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2onet_ros.perception.crop import region_from_points, upright_region
from h2onet_ros.perception.tracker import Tracker, TrackerConfig
from h2onet_ros.perception.types import Region

WIDTH, HEIGHT, FRAME = 640, 480, 33_333_333
SHAPE = np.random.default_rng(0).uniform(-1, 1, (21, 2)).astype(np.float32)
SHAPE /= np.abs(SHAPE).max()


class Hand:
    """A hand of `size` pixels at `(x, y)`; `seen` is what a look at any place would tell."""

    def __init__(self, x: float, y: float, side: str = "right", size: float = 100):
        self.x, self.y, self.side, self.size = x, y, side, size

    @property
    def points(self) -> np.ndarray:
        return (SHAPE * self.size / 2 + [self.x, self.y]).astype(np.float32)

    @property
    def region(self) -> Region:
        return region_from_points(self.points)

    @property
    def palm_region(self) -> Region:
        return Region(self.x + 5, self.y - 5, self.size * 1.7)

    def seen(self, region: Region) -> tuple[float, float, np.ndarray]:
        """Presence, probability of right, points."""
        near = (
            np.hypot(region.x - self.x, region.y - self.y) < 0.35 * region.size
            and region.iou(self.region) > 0.2
        )
        return 0.97 if near else 0.02, 0.9 if self.side == "right" else 0.1, self.points


class World:
    """Feeds a tracker the way the pipeline does."""

    def __init__(self, max_hands: int = 2, config: TrackerConfig | None = None):
        self.tracker = Tracker(max_hands, config)
        self.stamp = 0
        self.detections = 0

    def frame(self, hands: list[Hand], blind: bool = False) -> dict[int, tuple[str, tuple[float, float]]]:
        """One frame; blind: the palm detector finds nothing. Returns id -> (handedness, place)."""
        tracker = self.tracker
        tracker.begin(self.stamp, WIDTH, HEIGHT)
        candidates = []
        if tracker.wants_detection():
            self.detections += 1
            candidates = tracker.associate([] if blind else [hand.palm_region for hand in hands])
        for track in tracker.tracks:
            tracker.check(track, *self._look(hands, track.region)[:2])
        for region in candidates:
            tracker.start(region, *self._look(hands, region)[:2])
        for track in list(tracker.tracks):
            presence, _, points = self._look(hands, track.region)
            tracker.observe(track, points if presence > 0.5 else None, 2.0)
        tracker.finish()
        self.stamp += FRAME
        return {t.track_id: (t.handedness, tuple(t.points.mean(0))) for t in tracker.visible}

    @staticmethod
    def _look(hands, region):
        answers = [hand.seen(region) for hand in hands] or [(0.02, 0.5, None)]
        distances = [np.hypot(region.x - h.x, region.y - h.y) for h in hands] or [0]
        best = int(np.argmin(distances))
        return answers[best] if answers[best][0] > 0.5 else max(answers, key=lambda answer: answer[0])


def test_two_moving_hands_keep_their_ids_and_sides():
    world, left, right = World(), Hand(450, 240, "left"), Hand(180, 240, "right")
    for i in range(120):
        left.x, left.y = 450 + 80 * np.sin(i / 9), 240 + 60 * np.cos(i / 7)
        right.x, right.y = 180 + 80 * np.cos(i / 8), 240 + 90 * np.sin(i / 10)
        seen = world.frame([right, left])
        assert {i: side for i, (side, _) in seen.items()} == {1: "right", 2: "left"}
        np.testing.assert_allclose(seen[1][1], right.points.mean(0))


def test_hands_that_pass_each_other_do_not_swap_ids():
    world, left, right = World(), Hand(500, 200, "left"), Hand(140, 280, "right")
    for step in range(91):
        left.x, right.x = 500 - 4 * step, 140 + 4 * step
        seen = world.frame([right, left])
    assert {i: side for i, (side, _) in seen.items()} == {1: "right", 2: "left"}
    assert seen[1][1][0] > 400 and seen[2][1][0] < 240


def test_no_palms_are_looked_for_while_all_hands_are_followed():
    world, hand = World(max_hands=1), Hand(300, 240)
    for _ in range(50):
        world.frame([hand])
    assert world.detections == 1


def test_palms_are_looked_for_now_and_then_while_some_hand_may_be_missing():
    world, hand = World(max_hands=2, config=TrackerConfig(detect_every=5)), Hand(300, 240)
    for _ in range(51):
        world.frame([hand])
    assert world.detections == 11


def test_a_second_hand_is_found_while_the_first_is_followed():
    world, first, second = World(), Hand(200, 240), Hand(450, 240, "left")
    for _ in range(20):
        world.frame([first])
    found = [len(world.frame([first, second])) for _ in range(5)]
    assert found[-1] == 2 and world.frame([first, second]).keys() == {1, 2}


def test_a_hand_hidden_for_a_moment_keeps_its_id():
    world, hand = World(), Hand(300, 240)
    for _ in range(10):
        world.frame([hand])
    for _ in range(12):
        assert world.frame([]) == {}
    hand.x += 60
    assert world.frame([hand]).keys() == {1}


def test_a_hand_that_comes_back_late_is_another_one():
    world, hand = World(), Hand(300, 240)
    for _ in range(10):
        world.frame([hand])
    for _ in range(40):
        assert world.frame([]) == {}
    assert world.frame([hand]).keys() == {2}


def test_a_hand_of_the_other_side_does_not_inherit_the_id():
    world = World()
    for _ in range(10):
        world.frame([Hand(300, 240, "right")])
    for _ in range(8):
        world.frame([])
    assert {i: side for i, (side, _) in world.frame([Hand(300, 240, "left")]).items()} == {2: "left"}


def test_a_hand_that_jumps_is_found_again_under_its_id():
    world, hand = World(max_hands=1), Hand(200, 240)
    for _ in range(10):
        world.frame([hand])
    hand.x += 110  # out of reach of the old region
    seen = [world.frame([hand]).keys() for _ in range(4)]
    assert seen[-1] == {1}


def test_a_palm_without_a_hand_is_not_followed():
    world = World()
    world.tracker.begin(0, WIDTH, HEIGHT)
    (candidate,) = world.tracker.associate([Region(300, 200, 150)])
    assert world.tracker.start(candidate, presence=0.2, right=0.9) is None
    assert world.tracker.tracks == []


def test_at_most_max_hands_are_followed():
    world = World(max_hands=2)
    hands = [Hand(100, 240), Hand(320, 240), Hand(540, 240)]
    assert [len(world.frame(hands)) for _ in range(10)] == [2] * 10


def test_two_tracks_on_one_hand_become_the_older_one():
    world, hand, other = World(), Hand(200, 240), Hand(450, 240)
    for _ in range(10):
        world.frame([hand, other])
    for _ in range(30):
        other.x -= 250 / 30
        seen = world.frame([hand, other])
    for _ in range(5):  # both at one place: one hand as far as anyone can tell
        seen = world.frame([hand])
    assert seen.keys() == {1}


def test_one_doubtful_frame_does_not_change_the_side_but_steady_evidence_does():
    world, hand = World(), Hand(300, 240, "right")
    for _ in range(20):
        world.frame([hand])
    hand.side = "left"
    sides = [world.frame([hand])[1][0] for _ in range(8)]
    assert sides[:2] == ["right", "right"] and sides[-1] == "left"
    assert sides == sorted(sides, reverse=True)  # changes once
    assert world.tracker.tracks[0].handedness_score > 0.5


def test_time_going_backwards_starts_afresh_with_new_ids():
    world, hand = World(), Hand(300, 240)
    for _ in range(10):
        world.frame([hand])
    world.stamp = 0
    assert world.frame([hand]).keys() == {2}


@pytest.mark.parametrize(
    "points",
    [
        np.full((21, 2), 300, np.float32),
        (SHAPE * 4 + 300).astype(np.float32),
        (SHAPE * 5000 + 300).astype(np.float32),
        (SHAPE * 50 - 500).astype(np.float32),
        np.full((21, 2), np.nan, np.float32),
    ],
    ids=["one point", "tiny", "huge", "outside", "not finite"],
)
def test_impossible_points_lose_the_hand_instead_of_following_them(points):
    world, hand = World(), Hand(300, 240)
    for _ in range(5):
        world.frame([hand])
    tracker = world.tracker
    before = tracker.tracks[0].region
    for _ in range(tracker.config.max_misses + 1):
        tracker.begin(world.stamp, WIDTH, HEIGHT)
        tracker.check(tracker.tracks[0], 0.9, 0.9)
        tracker.observe(tracker.tracks[0], points, 1.0)
        assert tracker.tracks[0].region == before
        tracker.finish()
        assert tracker.visible == []
        world.stamp += FRAME
    assert tracker.tracks == []


def test_a_large_reprojection_error_counts_as_a_miss():
    world, hand = World(), Hand(300, 240)
    world.frame([hand])
    tracker = world.tracker
    tracker.begin(world.stamp, WIDTH, HEIGHT)
    tracker.observe(tracker.tracks[0], hand.points, 0.5 * hand.size)
    assert tracker.visible == [] and tracker.tracks[0].misses == 1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_ids_are_unique_increasing_and_bounded(seed):
    rng = np.random.default_rng(seed)
    world = World(max_hands=int(rng.integers(1, 4)))
    hands = [
        Hand(*rng.uniform((0, 0), (WIDTH, HEIGHT)), str(rng.choice(["left", "right"]))) for _ in range(4)
    ]
    newest = 0
    for _ in range(60):
        for hand in hands:
            dx, dy = rng.normal(0, 15, 2)
            hand.x, hand.y = np.clip((hand.x + dx, hand.y + dy), 0, (WIDTH, HEIGHT))
        visible = world.frame([h for h in hands if rng.random() < 0.9], blind=rng.random() < 0.2)
        assert len(visible) <= world.tracker.max_hands
        ids = [track.track_id for track in world.tracker.tracks]
        assert len(set(ids)) == len(ids)
        fresh = [i for i in ids if i > newest]
        newest = max([newest, *ids])
        assert all(i <= newest for i in fresh)
        if rng.random() < 0.02:
            world.stamp = 0


def test_of_a_hand_hidden_by_another_the_hidden_one_is_given_up_and_comes_back():
    world, front, back = World(), Hand(450, 240, "left"), Hand(180, 240, "right")
    for step in range(20):
        front.x, back.x = 450 - 5 * step, 180 + 5 * step
        assert world.frame([front, back]).keys() == {1, 2}
    hidden = {i: side for i, (side, _) in world.frame([front, back]).items() if side == "right"}
    tracker = world.tracker
    for _ in range(6):  # the right hand's track sees nothing but the left hand in front of it
        tracker.begin(world.stamp, WIDTH, HEIGHT)
        if tracker.wants_detection():
            tracker.associate([front.palm_region])
        for track in list(tracker.tracks):
            tracker.check(track, 0.97, 0.1)
            tracker.observe(track, front.points, 2.0)
        tracker.finish()
        assert [track.handedness for track in tracker.visible] == ["left"]
        world.stamp += FRAME
    back.x = front.x + 130
    seen = world.frame([front, back])
    assert {i for i, (side, _) in seen.items() if side == "right"} == hidden.keys()


@pytest.mark.parametrize("growth", [0.8, 1.25])
def test_a_region_that_runs_away_is_brought_back_by_the_palm(growth):
    """A network that sees each hand smaller, or larger, than it was must not lead the region to nothing."""
    world, hand = World(max_hands=1), Hand(320, 240)
    for _ in range(10):
        world.frame([hand])
    tracker = world.tracker
    sizes = []
    for _ in range(15):
        tracker.begin(world.stamp, WIDTH, HEIGHT)
        if tracker.wants_detection():
            tracker.associate([hand.palm_region])
        (track,) = tracker.tracks
        middle = np.array([track.region.x, track.region.y])
        tracker.check(track, 0.9, 0.9)
        tracker.observe(track, (middle + SHAPE * track.region.size / 3 * growth).astype(np.float32), 2.0)
        tracker.finish()
        sizes.append(tracker.tracks[0].region.size)
        world.stamp += FRAME
    assert min(sizes) > hand.region.size / 4 and max(sizes) < hand.region.size * 4


@pytest.mark.parametrize(("right", "expected"), [(0.9, 1), (0.4, 1), (0.1, 2)])
def test_a_hand_found_again_in_doubt_of_its_side_is_the_one_that_was_lost(right, expected):
    world, hand = World(), Hand(300, 240, "right")
    for _ in range(10):
        world.frame([hand])
    for _ in range(8):
        world.frame([])
    tracker = world.tracker
    tracker.begin(world.stamp, WIDTH, HEIGHT)
    (candidate,) = tracker.associate([hand.palm_region])
    track = tracker.start(candidate, 0.9, right)
    assert track.track_id == expected and track.handedness == ("left" if expected == 2 else "right")


class LeaningHand(Hand):
    """Seen as networks see hands: the size of what they find leans towards the region that they look at."""

    @property
    def region(self) -> Region:
        return upright_region(self.points)

    @property
    def palm_region(self) -> Region:
        return Region(self.x, self.y, 1.3 * self.region.size)

    def seen(self, region: Region) -> tuple[float, float, np.ndarray]:
        size = 0.3 * self.size + 0.7 * self.size * region.size / self.region.size
        return 0.97, 0.9, (SHAPE * size / 2 + [self.x, self.y]).astype(np.float32)


def test_the_region_of_a_new_hand_settles_in_a_few_frames_and_is_calm_afterwards():
    world, hand = World(max_hands=1), LeaningHand(300, 200)
    for _ in range(10):
        world.frame([hand])
    (track,) = world.tracker.tracks
    assert track.region.size == pytest.approx(hand.region.size, rel=0.03)
    hand.x += 1
    before = track.region
    world.frame([hand])
    assert 0.2 < track.region.x - before.x < 0.5
