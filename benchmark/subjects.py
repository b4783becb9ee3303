"""What is timed. Each subject is made in a process of its own, by its title."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CACHE = "H2ONET_BENCHMARK_CACHE"
"""Environment variable with the folder of compiled networks; those of random weights are thrown away."""

GROUPS = ("reference", "engines", "parts", "pipeline")
STEP, PACED, ENCODE, TWO_HANDS, FUSE = "step", "step at 30 Hz", "encode", "encode two hands", "fuse"
CAMERA_PERIOD_S = 1 / 30


@dataclass(frozen=True)
class Subject:
    """Something to time.

    Attributes:
        title: its row.
        group: one of `GROUPS`.
        kind: which function of `MAKERS` makes it.
        options: what that function is given.
    """

    title: str
    group: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_cached(self) -> bool:
        """Whether its first start compiles what later ones find."""
        return self.options.get("name") in ("openvino", "tensorrt")


@dataclass(frozen=True)
class Action:
    """One thing to time: `run`, after `prepare`, whose time does not count.

    `period` seconds lie between two starts, as between a camera's images; 0: one run after the other.
    """

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    period: float = 0.0


def _engine(name: str, precision: str, threads: int, hands: int = 1) -> Subject:
    title = f"{name} {precision}"
    if "cuda" not in name and name != "tensorrt":
        title += f", {threads} thread{'s' if threads > 1 else ''}"
    if hands > 1:
        title += f", for {hands} hands"
    options = {"name": name, "precision": precision, "threads": threads, "hands": hands}
    return Subject(title, "engines", "engine", options)


REFERENCE = Subject("reference: three frames, PyTorch eager, 2 threads", "reference", "reference")

SUBJECTS = (
    REFERENCE,
    _engine("torch", "float32", 2),
    _engine("onnxruntime", "float32", 1),
    _engine("onnxruntime", "float32", 2),
    _engine("openvino", "float32", 1),
    _engine("openvino", "float32", 2),
    _engine("openvino", "bfloat16", 1),
    _engine("openvino", "bfloat16", 2),
    _engine("openvino", "bfloat16", 1, hands=2),
    _engine("onnxruntime", "int8", 1),
    _engine("openvino", "int8", 1),
    _engine("openvino", "int8", 2),
    _engine("onnxruntime-cuda", "float32", 1),
    _engine("torch-cuda-graph", "float16", 1),
    _engine("tensorrt", "float32", 1),
    _engine("tensorrt", "float16", 1),
    _engine("tensorrt", "int8", 1),
    Subject("palm detector, one picture", "parts", "palm_detector"),
    Subject("hand check, one hand", "parts", "hand_check", {"hands": 1}),
    Subject("hand check, two hands", "parts", "hand_check", {"hands": 2}),
    Subject("placement, position alone, one hand", "parts", "placement", {"turns": False}),
    Subject("placement, one hand", "parts", "placement"),
    Subject("placement with depth, one hand", "parts", "placement", {"has_depth": True}),
    Subject("markers, one hand", "parts", "markers", {"hands": 1}),
    Subject("markers, two hands", "parts", "markers", {"hands": 2}),
    Subject("message made and serialised, one hand", "parts", "message", {"hands": 1}),
    Subject("message made and serialised, two hands", "parts", "message", {"hands": 2}),
    Subject("whole pipeline, one hand", "pipeline", "pipeline", {"hands": 1}),
    Subject("whole pipeline, two hands", "pipeline", "pipeline", {"hands": 2}),
)


def make(subject: Subject, bundle: str) -> tuple[dict[str, Action], dict[str, Any]]:
    """Its actions by name, and facts to report. Imports what it needs: a process holds nothing else."""
    return MAKERS[subject.kind](bundle, **subject.options)


def _make_reference(bundle: str) -> tuple[dict[str, Action], dict[str, Any]]:
    """Three backbones in eager PyTorch at every step, as the published code runs a video."""
    import torch

    from h2onet_ros.model.weights import load_network

    torch.set_num_threads(2)
    network = load_network(bundle)
    frames = torch.rand(3, 1, 3, 128, 128)

    def step() -> object:
        with torch.inference_mode():
            return network(frames)

    return {STEP: Action(step)}, {"description": f"PyTorch {torch.__version__}, eager"}


def _make_engine(
    bundle: str, name: str, precision: str, threads: int, hands: int
) -> tuple[dict[str, Action], dict[str, Any]]:
    import numpy as np

    from h2onet_ros.engines import WeightsBundle, create_engine

    crops = np.random.default_rng(0).random((2, 3, 128, 128), dtype=np.float32)
    cache = Path(os.environ[CACHE])
    engine = create_engine(WeightsBundle.load(bundle), name, threads, precision, cache, hands)
    kept = engine.encode(crops[:1])

    def step() -> object:
        return engine.fuse(engine.encode(crops[:1]), kept, kept)

    actions = {
        STEP: Action(step),
        PACED: Action(step, period=CAMERA_PERIOD_S),
        ENCODE: Action(lambda: engine.encode(crops[:1])),
        TWO_HANDS: Action(lambda: engine.encode(crops)),
        FUSE: Action(lambda: engine.fuse(kept, kept, kept)),
    }
    if name == "torch":  # for comparison only, and slow
        actions = {STEP: actions[STEP]}
    return actions, {"description": engine.description, "kept_kb": kept.as_past().nbytes / 1e3}


def _make_palm_detector(bundle: str) -> tuple[dict[str, Action], dict[str, Any]]:
    from h2onet_ros.perception.palm import PalmDetector

    detector, picture = PalmDetector(), next(_pictures())
    return _only(lambda: detector.detect(picture))


def _make_hand_check(bundle: str, hands: int) -> tuple[dict[str, Action], dict[str, Any]]:
    import numpy as np

    from h2onet_ros.perception.hand_check import HandCheck

    check = HandCheck()
    crops = np.random.default_rng(0).random((hands, 3, 224, 224), dtype=np.float32)
    return _only(lambda: check(crops))


def _make_placement(
    bundle: str, turns: bool = True, has_depth: bool = False
) -> tuple[dict[str, Action], dict[str, Any]]:
    import numpy as np

    from h2onet_ros.perception.camera import Camera
    from h2onet_ros.perception.depth import fit_depth
    from h2onet_ros.perception.placement import TURN_PRIOR, place

    camera = Camera.assumed(640, 480)
    hand = _hands(1)[0][0]
    points = camera.project(hand.joints).astype(np.float32)
    points += np.random.default_rng(0).normal(0, 1, points.shape).astype(np.float32)
    joints, vertices = hand.joints - hand.joints[0], hand.vertices - hand.joints[0]
    prior = TURN_PRIOR if turns else None
    depth = np.full((480, 640), hand.position[2], np.float32)

    def run() -> object:
        placement = place(joints, points, camera, prior)
        if placement is None or not has_depth:
            return placement
        return fit_depth(vertices, joints, points, camera, depth, placement, prior)

    if run() is None:
        raise RuntimeError("the hand of the benchmark has no place before its camera")
    return _only(run)


def _make_markers(bundle: str, hands: int) -> tuple[dict[str, Action], dict[str, Any]]:
    from h2onet_ros.ros.markers import HandMarkers

    made, topology = _hands(hands)
    markers = HandMarkers(topology)
    return _only(lambda: markers.build(made, 1, "camera"))


def _make_message(bundle: str, hands: int) -> tuple[dict[str, Action], dict[str, Any]]:
    from rclpy.serialization import serialize_message

    from h2onet_ros.perception.types import FrameResult
    from h2onet_ros.ros.messages import hands_to_message

    result = FrameResult(1, "camera", _hands(hands)[0], {"total": 0.01})
    return _only(lambda: serialize_message(hands_to_message(result, (640, 480))))


def _make_pipeline(bundle: str, hands: int) -> tuple[dict[str, Action], dict[str, Any]]:
    """The demo's recording with the weights that come along, through the engine that `auto` chooses."""
    from h2onet_ros.engines import WeightsBundle, create_engine
    from h2onet_ros.perception.camera import Camera
    from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
    from h2onet_ros.perception.types import Frame

    engine = create_engine(WeightsBundle.load(), hands=hands)
    pipeline = HandPipeline(engine, PipelineConfig(max_hands=hands))
    frames = _Film(Camera.assumed(640, 480), Frame)
    while len(pipeline.process(frames.next()).hands) < hands:
        if frames.number > 60:
            raise RuntimeError(f"the demo's recording does not show {hands} hands in its first 60 pictures")
    waiting: list[Any] = []

    def prepare() -> None:
        waiting[:] = [frames.next()]

    actions = {STEP: Action(lambda: pipeline.process(waiting[0]), prepare, CAMERA_PERIOD_S)}
    return actions, {"description": f"{engine.bundle.info.name}, {engine.description}"}


class _Film:
    """The demo's recording over and over, its pictures stamped at 30 Hz."""

    def __init__(self, camera: Any, frame: Any) -> None:
        self._camera, self._frame = camera, frame
        self._pictures = _pictures()
        self.number = 0

    def next(self) -> Any:
        picture = next(self._pictures)
        self.number += 1
        return self._frame(picture, self.number * 33_333_333, self._camera, "camera")


def _pictures() -> Iterator[Any]:
    """RGB pictures of the demo's recording, to and fro without end, so that hands do not jump."""
    from importlib.resources import files

    from h2onet_ros.bag.sources import VideoSource

    pictures = []
    for picture in VideoSource(str(files("h2onet_ros") / "assets" / "demo" / "demo.mp4")).pictures():
        assert picture.bgr is not None
        pictures.append(picture.bgr[..., ::-1].copy())
        yield pictures[-1]
        if len(pictures) == 90:
            break
    while True:
        yield from reversed(pictures)
        yield from pictures


def _hands(count: int) -> tuple[tuple[Any, ...], Any]:
    """Open hands half a metre before the camera, and their topology for messages."""
    import numpy as np

    from h2onet_ros.hand.model import open_hand
    from h2onet_ros.perception.types import Hand, Region
    from h2onet_ros.ros.messages import Topology

    model = open_hand()
    posed = model.pose(np.zeros((16, 3), np.float32), np.zeros(model.shape_basis.shape[-1], np.float32))
    away = np.array([0, 0, 0.5], np.float32)
    hands = tuple(
        Hand(
            track_id=number,
            handedness="right",
            handedness_score=0.9,
            detection_score=0.9,
            region=Region(320, 240, 200),
            position=posed.joints[0] + away,
            rotation=np.eye(3, dtype=np.float32),
            joints=posed.joints + away,
            vertices=posed.vertices + away,
            occlusion=np.linspace(0, 1, 6, dtype=np.float32),
            image_points=np.zeros((21, 2), np.float32),
            reprojection_error=1.0,
        )
        for number in range(1, count + 1)
    )
    parts = model.vertex_part.astype(np.uint8), model.face_part.astype(np.uint8)
    return hands, Topology("open hand", model.faces, *parts)


def _only(run: Callable[[], object]) -> tuple[dict[str, Action], dict[str, Any]]:
    return {STEP: Action(run)}, {}


MAKERS: dict[str, Callable[..., tuple[dict[str, Action], dict[str, Any]]]] = {
    "reference": _make_reference,
    "engine": _make_engine,
    "palm_detector": _make_palm_detector,
    "hand_check": _make_hand_check,
    "placement": _make_placement,
    "markers": _make_markers,
    "message": _make_message,
    "pipeline": _make_pipeline,
}
