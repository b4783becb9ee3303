"""From a frame to its hands: detection, tracking, the network, placement. No ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from h2onet_ros.engines.base import Engine, FrameFeatures
from h2onet_ros.perception.alignment import ALIGNMENT, ImageAlignment
from h2onet_ros.perception.assembly import AssemblyOptions, HandState, assemble
from h2onet_ros.perception.crop import (
    CROP_SCALE,
    crop_affine,
    crop_image,
    invert,
    region_from_points,
    to_network,
    transform_points,
)
from h2onet_ros.perception.finder import Finder
from h2onet_ros.perception.hand_size import MAX_LENGTH, MAX_SCALE, MIN_LENGTH, MIN_SCALE
from h2onet_ros.perception.smoothing import SmoothingConfig
from h2onet_ros.perception.track import Track
from h2onet_ros.perception.tracker import Tracker, TrackerConfig
from h2onet_ros.perception.types import FloatArray, Frame, FrameResult, GivenRegion, Hand, Region

_LOOK_AGAIN_IOU, _LOOK_AGAIN_ANGLE = 0.85, 0.2  # a palm's region this close to the hand's is good enough


@dataclass(frozen=True)
class PipelineConfig:
    """Attributes:
    max_hands: at most this many hands are followed.
    tracker: how hands are followed.
    smoothing: how results are calmed.
    palm_threshold: least score of a palm detection, 0 to 1.
    threads: of the palm network, of the hand check, and of OpenCV in the whole process; the engine has its
        own. With several, frames wait for the last of them on a busy machine.
    second_look: crop a newly found hand again after a first estimate of where its joints are.
    turn_to_view: the network sees a crop and cannot know where in the image it was; turn its result by the
        angle between the optical axis and the ray to the crop.
    fit_rotation: correct the network's rotation by where the joints are in the image, and by depth.
    hand_scale: factor on the size of the network's hands, 0.3 to 3.
    hand_length: metres from the middle of the wrist's crease along the bones to the tip of the middle finger.
        Every hand is made this long, and `hand_scale` does not count. None: as the network and depth say.
    image_alignment: how far bones are turned from where the mesh has them to where the image points have
        them, 0 to 1.

    Raises:
        ValueError: for values out of range.
    """

    max_hands: int = 2
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    palm_threshold: float = 0.5
    threads: int = 1
    second_look: bool = True
    turn_to_view: bool = True
    fit_rotation: bool = True
    hand_scale: float = 1.0
    hand_length: float | None = None
    image_alignment: float = ALIGNMENT

    def __post_init__(self) -> None:
        if self.max_hands < 1:
            raise ValueError(f"PipelineConfig.max_hands: expected at least 1, got {self.max_hands}")
        if not 0 < self.palm_threshold < 1:
            raise ValueError(f"PipelineConfig.palm_threshold: expected 0 to 1, got {self.palm_threshold}")
        if not 0 <= self.image_alignment <= 1:
            raise ValueError(f"PipelineConfig.image_alignment: expected 0 to 1, got {self.image_alignment}")
        if not MIN_SCALE <= self.hand_scale <= MAX_SCALE:
            raise ValueError(
                f"PipelineConfig.hand_scale: expected {MIN_SCALE} to {MAX_SCALE}, got {self.hand_scale}"
            )
        if self.hand_length is not None and not MIN_LENGTH <= self.hand_length <= MAX_LENGTH:
            raise ValueError(
                f"PipelineConfig.hand_length: expected {MIN_LENGTH} to {MAX_LENGTH} metres, got "
                f"{self.hand_length}"
            )


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
        self._config = config or PipelineConfig()
        cv2.setNumThreads(self._config.threads)
        self._size = engine.bundle.image_size
        self._aligner = ImageAlignment(engine.bundle.topology)
        self._tracker = Tracker(self._config.max_hands, self._config.tracker)
        self._finder = Finder(self._tracker, self._config.palm_threshold, self._config.threads)
        self._states: dict[int, HandState] = {}
        self._stamp: int | None = None
        self._end = 0.0
        self._orders = threading.Lock()
        self._next_config: PipelineConfig | None = None
        self._must_reset = False

    @property
    def config(self) -> PipelineConfig:
        """What the next frame is processed with."""
        with self._orders:
            return self._next_config or self._config

    def reconfigure(self, config: PipelineConfig) -> None:
        """Process otherwise from the next frame on; hands that are followed go on. From any thread.

        Raises:
            ValueError: for another number of threads: the networks are loaded with it.
        """
        with self._orders:
            if config.threads != self._config.threads:
                raise ValueError(
                    f"HandPipeline: expected threads to stay {self._config.threads}, got {config.threads}; "
                    "make another pipeline"
                )
            self._next_config = config

    def reset(self) -> None:
        """Forget all hands, as if the next frame were the first. Identities are not used again. From any
        thread."""
        with self._orders:
            self._must_reset = True

    def close(self) -> None:
        """End the thread beside; no frame may be processed afterwards."""
        self._finder.close()

    def process(self, frame: Frame, regions: Sequence[GivenRegion] | None = None) -> FrameResult:
        """The hands of one frame.

        Args:
            frame: the image, its camera, and depth if there is any.
            regions: where somebody else saw hands in this image; then nobody else looks for new ones.
        """
        watch = _Stopwatch()
        pause = watch.start - self._end
        self._obey()
        warnings = []
        if frame.stamp == self._stamp:
            warnings.append("the stamp repeats the last one: nothing is smoothed, no past counts")
        self._stamp = frame.stamp
        reason = self._tracker.begin(frame.stamp, frame.camera.width, frame.camera.height)
        if reason:
            self._forget()
            warnings.append(reason)
        if regions is None:
            self._finder.find(frame.rgb)
        else:
            self._finder.take(frame.rgb, regions)
        # In pauses, as between a camera's images, there is time for what would slow down the mesh network
        # beside it. Where frames follow one another at once, both together are faster in sum.
        if pause < self._finder.background_time:
            self._finder.start_background()
        least = self._config.tracker.min_presence
        tracks = [track for track in self._tracker.tracks if track.presence >= least]
        for track in tracks:
            self._prepare(track)
        watch.lap("detect")
        hands: dict[int, Hand] = {}
        if tracks:
            hands = self._reconstruct(frame, tracks, watch, warnings)
        for track in self._tracker.tracks:
            if track not in tracks:
                self._tracker.observe(track, None, np.inf)
        self._tracker.finish()
        known = self._tracker.known_ids
        self._states = {i: state for i, state in self._states.items() if i in known}
        visible = tuple(hands[track.track_id] for track in self._tracker.visible)
        self._finder.start_background()
        self._end = time.perf_counter()
        return FrameResult(frame.stamp, frame.frame_id, visible, watch.total(), tuple(warnings))

    def _obey(self) -> None:
        """Carry out what was asked for since the last frame."""
        with self._orders:
            config, self._next_config = self._next_config, None
            must_reset, self._must_reset = self._must_reset, False
            if config is not None:
                self._config = config
        if config is not None:
            self._tracker.reconfigure(config.max_hands, config.tracker)
            self._finder.palm_threshold = config.palm_threshold
            for state in self._states.values():
                state.smoother.reconfigure(config.smoothing)
        if must_reset:
            self._tracker.reset()
            self._forget()

    def _forget(self) -> None:
        self._finder.reset()
        self._states.clear()

    def _prepare(self, track: Track) -> None:
        if track.switched:
            self._states.pop(track.track_id, None)
        if track.track_id not in self._states:
            self._states[track.track_id] = HandState(
                self.engine.bundle.info.temporal_offsets_s, self._config.smoothing
            )

    def _reconstruct(
        self, frame: Frame, tracks: list[Track], watch: _Stopwatch, warnings: list[str]
    ) -> dict[int, Hand]:
        regions = [self._as_trained(t.region, None if t.is_rough else t.points) for t in tracks]
        crops = self._crop(frame, tracks, regions)
        watch.lap("crop")
        features = _each_hand(self.engine.encode(crops))
        points = [self._image_points(f, t, r) for f, t, r in zip(features, tracks, regions, strict=True)]
        if self._config.second_look:
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
        config = self._config
        options = AssemblyOptions(
            config.turn_to_view,
            config.fit_rotation,
            config.hand_scale,
            config.hand_length,
            config.image_alignment,
            self._aligner,
        )
        for i, track in enumerate(tracks):
            state = self._states[track.track_id]
            hand = assemble(frame, track, regions[i], points[i], fused, i, state, options)
            self._tracker.observe(
                track,
                None if hand is None else points[i],
                np.inf if hand is None else hand.reprojection_error,
            )
            if hand is None:
                continue
            hands[track.track_id] = hand
            if frame.depth is not None and np.isnan(hand.depth_scale):
                warnings.append("depth of no use on a hand: unknown there, or not at a hand's distance")
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
        """The region as the mesh network wants it: standing upright, or with its sides along the image's; as
        tight as the bundle says, once the hand's `points` are known."""
        info = self.engine.bundle.info
        if info.upright:
            tightness = 1.0 if points is None else info.crop_scale / CROP_SCALE
            return replace(region, size=region.size * tightness)
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


def _alike(a: Region, b: Region) -> bool:
    return a.iou(b) > _LOOK_AGAIN_IOU and np.cos(a.angle - b.angle) > np.cos(_LOOK_AGAIN_ANGLE)


def _each_hand(features: FrameFeatures) -> list[FrameFeatures]:
    return [features.select([i]) for i in range(len(features))]


class _Stopwatch:
    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = now - self._last
        self._last = now

    def total(self) -> dict[str, float]:
        return self._laps | {"total": time.perf_counter() - self.start}
