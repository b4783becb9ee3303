"""From a frame to its hands: detection, tracking, the network, placement. No ROS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from h2onet_ros.engines.base import Engine, FrameFeatures, FusedHands
from h2onet_ros.perception.crop import (
    crop_affine,
    crop_image,
    invert,
    region_from_points,
    to_network,
    transform_points,
)
from h2onet_ros.perception.hand_check import HandCheck, RegionCheck
from h2onet_ros.perception.memory import TemporalMemory
from h2onet_ros.perception.palm import PalmDetector
from h2onet_ros.perception.placement import place
from h2onet_ros.perception.search import PalmSearch
from h2onet_ros.perception.smoothing import HandPose, HandSmoother, SmoothingConfig
from h2onet_ros.perception.tracker import Track, Tracker, TrackerConfig
from h2onet_ros.perception.types import FloatArray, Frame, FrameResult, Hand, Region

_MIRROR = np.array([-1, 1, 1], np.float32)
_SETTLED_AGE = 10  # good frames after which a hand need not be checked in every frame
_CHECK_EVERY = 5  # frames between the checks of a settled hand
_LOOK_AGAIN_IOU, _LOOK_AGAIN_ANGLE = 0.85, 0.2  # a palm's region this close to the hand's is good enough


@dataclass(frozen=True)
class PipelineConfig:
    """Attributes:
    max_hands: at most this many hands are followed.
    tracker: how hands are followed.
    smoothing: how results are calmed.
    palm_threshold: least score of a palm detection, 0 to 1.
    threads: of the palm network and of the hand check; the engine has its own.
    second_look: crop a newly found hand again after a first estimate of where its joints are.
    turn_to_view: the network sees a crop and cannot know where in the image it was; turn its result by the
        angle between the optical axis and the ray to the crop.
    """

    max_hands: int = 2
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    palm_threshold: float = 0.5
    threads: int = 1
    second_look: bool = True
    turn_to_view: bool = True


class _HandState:
    """What is kept for one identity between frames."""

    def __init__(self, offsets: Sequence[float], smoothing: SmoothingConfig) -> None:
        self.memory = TemporalMemory(offsets)
        self.smoother = HandSmoother(smoothing)


class HandPipeline:
    """Turns frames, in the order of time, into hands.

    Args:
        engine: runs the mesh network; its bundle says how regions are cropped and how far back the past lies.
        config: everything else.

    Raises:
        NetworkError: the palm detector's or the hand check's file is missing or wrong.
    """

    def __init__(self, engine: Engine, config: PipelineConfig | None = None) -> None:
        self.engine = engine
        self.config = config or PipelineConfig()
        self._size = engine.bundle.image_size
        detector = PalmDetector(threshold=self.config.palm_threshold, threads=self.config.threads)
        worker = ThreadPoolExecutor(1, thread_name_prefix="perception")
        self._search = PalmSearch(detector, worker)
        self._check = RegionCheck(HandCheck(threads=self.config.threads), worker)
        self._tracker = Tracker(self.config.max_hands, self.config.tracker, engine.bundle.info.crop_scale)
        self._states: dict[int, _HandState] = {}

    def reset(self) -> None:
        """Forget all hands, as if the next frame were the first. Identities are not used again."""
        self._tracker.reset()
        self._forget()

    def _forget(self) -> None:
        self._search.reset()
        self._check.reset()
        self._states.clear()

    def process(self, frame: Frame) -> FrameResult:
        """The hands of one frame."""
        watch = _Stopwatch()
        if self._tracker.begin(frame.stamp, frame.camera.width, frame.camera.height):
            self._forget()
        self._find(frame)
        least = self.config.tracker.min_presence
        tracks = [track for track in self._tracker.tracks if track.presence >= least]
        for track in tracks:
            self._prepare(track)
        watch.lap("detect")
        hands: dict[int, Hand] = {}
        if tracks:
            hands = self._reconstruct(frame, tracks, watch)
        for track in self._tracker.tracks:
            if track not in tracks:
                self._tracker.observe(track, None, np.inf)
        self._tracker.finish()
        known = self._tracker.known_ids
        self._states = {i: state for i, state in self._states.items() if i in known}
        visible = tuple(hands[track.track_id] for track in self._tracker.visible)
        return FrameResult(frame.stamp, frame.frame_id, visible, watch.total())

    def _find(self, frame: Frame) -> None:
        """Bring the tracker up to date: palms where worth it, the hand check for every region in doubt."""
        tracker = self._tracker
        followed = {track.track_id: track for track in tracker.tracks if not _is_urgent(track)}
        for track_id, answer in self._check.collect().items():
            if track_id in followed:
                tracker.check(followed[track_id], *answer)
        found = self._search.collect()
        if found is None and not followed and tracker.wants_detection():
            found = self._search.now(frame.rgb)
        candidates = [] if found is None else tracker.associate(found)
        if followed and tracker.wants_detection():
            self._search.begin(frame.rgb)

        urgent = [track for track in tracker.tracks if _is_urgent(track)]
        answers = self._check.now(frame.rgb, [track.region for track in urgent] + candidates)
        for track, answer in zip(urgent, answers, strict=False):
            tracker.check(track, *answer)
        for region, answer in zip(candidates, answers[len(urgent) :], strict=True):
            tracker.start(region, *answer)
        routine = [track for track in followed.values() if not _is_urgent(track) and _is_due(track)]
        self._check.begin(frame.rgb, {track.track_id: track.region for track in routine})

    def _prepare(self, track: Track) -> None:
        if track.switched:
            self._states.pop(track.track_id, None)
        if track.track_id not in self._states:
            self._states[track.track_id] = _HandState(
                self.engine.bundle.info.temporal_offsets_s, self.config.smoothing
            )

    def _reconstruct(self, frame: Frame, tracks: list[Track], watch: _Stopwatch) -> dict[int, Hand]:
        regions = [self._as_trained(t.region, None if t.is_rough else t.points) for t in tracks]
        crops = self._crop(frame, tracks, regions)
        watch.lap("crop")
        features = _each_hand(self.engine.encode(crops))
        points = [self._image_points(f, t, r) for f, t, r in zip(features, tracks, regions, strict=True)]
        if self.config.second_look:
            self._look_again(frame, tracks, regions, features, points)
        watch.lap("encode")
        past = []
        for track, now in zip(tracks, features, strict=True):
            memory = self._states[track.track_id].memory
            memory.remember(frame.stamp, now)
            past.append(memory.past())
        short, long = (FrameFeatures.concatenate([p[age] for p in past]) for age in (0, 1))
        fused = self.engine.fuse(FrameFeatures.concatenate(features), short, long)
        watch.lap("fuse")
        hands = {}
        for i, track in enumerate(tracks):
            hand = self._place(frame, track, regions[i], points[i], fused, i)
            if hand is not None:
                hands[track.track_id] = hand
        watch.lap("place")
        return hands

    def _crop(self, frame: Frame, tracks: list[Track], regions: list[Region]) -> FloatArray:
        return to_network(
            [
                crop_image(frame.rgb, region, self._size, mirror=track.handedness == "left")
                for track, region in zip(tracks, regions, strict=True)
            ]
        )

    def _as_trained(self, region: Region, points: FloatArray | None) -> Region:
        """The region as the mesh network wants it: standing upright, or with its sides along the image's."""
        info = self.engine.bundle.info
        if info.upright:
            return region
        if points is None:
            return replace(region, angle=0.0)
        return region_from_points(points, info.crop_scale)

    def _image_points(self, features: FrameFeatures, track: Track, region: Region) -> FloatArray:
        affine = crop_affine(region, self._size, mirror=track.handedness == "left")
        return transform_points(invert(affine), features.uv[0] * self._size).astype(np.float32)

    def _look_again(
        self,
        frame: Frame,
        tracks: list[Track],
        regions: list[Region],
        features: list[FrameFeatures],
        points: list[FloatArray],
    ) -> None:
        """Replace what was seen in a palm's rough region by a look where its joints turned out to be."""
        better: dict[int, Region] = {}
        for i, track in enumerate(tracks):
            region = self._tracker.region_of(points[i]) if track.is_rough else None
            better_region = None if region is None else self._as_trained(region, points[i])
            if better_region is not None and not _alike(better_region, regions[i]):
                better[i] = better_region
        if not better:
            return
        chosen = [tracks[i] for i in better]
        encoded = self.engine.encode(self._crop(frame, chosen, list(better.values())))
        for (i, region), seen in zip(better.items(), _each_hand(encoded), strict=True):
            regions[i], features[i] = region, seen
            points[i] = self._image_points(features[i], tracks[i], region)

    def _place(
        self, frame: Frame, track: Track, region: Region, points: FloatArray, fused: FusedHands, i: int
    ) -> Hand | None:
        vertices, joints, rotation = fused.vertices[i], fused.joints[i], fused.rotation[i]
        if track.handedness == "left":
            vertices, joints = vertices * _MIRROR, joints * _MIRROR
            rotation = rotation * np.outer(_MIRROR, _MIRROR)
        unroll = _roll(region.angle)
        vertices, joints, rotation = vertices @ unroll.T, joints @ unroll.T, unroll @ rotation
        if self.config.turn_to_view:
            turn = frame.camera.view_rotation(np.array([region.x, region.y])).astype(np.float32)
            vertices, joints, rotation = vertices @ turn.T, joints @ turn.T, turn @ rotation
        placement = place(joints, points, frame.camera)
        if placement is None or not np.isfinite(vertices).all():
            self._tracker.observe(track, None, np.inf)
            return None
        self._tracker.observe(track, points, placement.reprojection_error)
        pose = HandPose(placement.position, rotation, vertices, joints)
        pose = self._states[track.track_id].smoother(pose, frame.stamp)
        return Hand(
            track_id=track.track_id,
            handedness=track.handedness,
            handedness_score=track.handedness_score,
            detection_score=track.presence,
            region=region,
            position=pose.position,
            rotation=pose.rotation,
            joints=pose.joints + pose.position,
            vertices=pose.vertices + pose.position,
            occlusion=fused.occlusion[i],
            image_points=points,
            reprojection_error=placement.reprojection_error,
        )


def _alike(a: Region, b: Region) -> bool:
    return a.iou(b) > _LOOK_AGAIN_IOU and np.cos(a.angle - b.angle) > np.cos(_LOOK_AGAIN_ANGLE)


def _roll(angle: float) -> FloatArray:
    """Rotation `(3, 3)` about the viewing axis that undoes turning the picture anti-clockwise by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def _is_urgent(track: Track) -> bool:
    """Whether nothing may be computed for a followed hand before it was checked."""
    return track.is_rough or track.misses > 0


def _is_due(track: Track) -> bool:
    """Whether a hand that is followed well should be checked: a settled one now and then, at its own time."""
    return track.age < _SETTLED_AGE or (track.age + track.track_id) % _CHECK_EVERY == 0


def _each_hand(features: FrameFeatures) -> list[FrameFeatures]:
    return [features.select([i]) for i in range(len(features))]


class _Stopwatch:
    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def total(self) -> dict[str, float]:
        return self._laps | {"total": time.perf_counter() - self._start}
