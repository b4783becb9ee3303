"""The work of `h2onet evaluate-bag`: images in order through the pipeline, results to disk as they come."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from h2onet_ros.bag.calibration import fit_camera, load_camera
from h2onet_ros.bag.cdr import header_stamp
from h2onet_ros.bag.errors import BagError, DiskFullError
from h2onet_ros.bag.evaluation.settings import EvaluationResult, EvaluationSettings
from h2onet_ros.bag.evaluation.stability import StabilityMetrics
from h2onet_ros.bag.hands import HandSerialiser
from h2onet_ros.bag.message_types import COMPRESSED_IMAGE, HAND_ARRAY, MESH_TOPOLOGY, create_typestore
from h2onet_ros.bag.progress import image_bar
from h2onet_ros.bag.reader import Message
from h2onet_ros.bag.sources import BagSource, Picture
from h2onet_ros.bag.units import SECOND
from h2onet_ros.bag.video import VideoWriter
from h2onet_ros.bag.writer import BagWriter
from h2onet_ros.engines import WeightsBundle, create_engine, default_bundle_path
from h2onet_ros.perception.camera import Camera
from h2onet_ros.perception.camera_info import camera_from_info, is_calibrated
from h2onet_ros.perception.draw import draw_overlay
from h2onet_ros.perception.image import ImageError, compressed_to_rgb, image_to_rgb
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.types import Frame

HANDS_TOPIC, TOPOLOGY_TOPIC = "/hand_mesh_node/hands", "/hand_mesh_node/topology"
"""The node's names, so that what displays the node's hands displays these."""


def evaluate(
    bag: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: EvaluationSettings | None = None,
    *,
    is_interrupted: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> EvaluationResult:
    """Process the images of one topic of a recording and write everything to the folder `out`.

    Args:
        bag: rosbag2 folder, or an .mcap or .db3 file.
        out: folder; made if need be.
        settings: what to do.
        is_interrupted: asked between images; what was done until then is kept.
        on_progress: told images done and images expected (None: unknown), instead of a progress bar.

    Raises:
        BagError, BundleError, EngineError, NetworkError: for input that cannot be used; nothing is written.
        CameraError: for a camera info that is no pinhole camera's.
    """
    settings = settings or EvaluationSettings()
    out = Path(out)
    source = BagSource(bag, settings.topic)
    camera = load_camera(settings.calibration) if settings.calibration else None
    bundle = WeightsBundle.load(settings.weights or default_bundle_path())
    engine = create_engine(bundle, settings.engine, threads=settings.threads)
    pipeline = HandPipeline(engine, PipelineConfig(max_hands=settings.max_hands))
    _prepare_folder(out, settings.existing == "replace")
    with ExitStack() as stack:
        stack.callback(source.close)
        run = _Evaluation(Path(bag), out, settings, source, camera, bundle, pipeline, stack)
        run.process(is_interrupted, on_progress)
    return run.conclude(engine.description)


class _Evaluation:
    """One evaluation while it runs."""

    def __init__(
        self,
        bag: Path,
        out: Path,
        settings: EvaluationSettings,
        source: BagSource,
        camera: Camera | None,
        bundle: WeightsBundle,
        pipeline: HandPipeline,
        stack: ExitStack,
    ) -> None:
        self._path = bag
        self._out = out
        self._settings = settings
        self._source = source
        self._cameras = _Cameras(camera)
        self._bundle = bundle
        self._pipeline = pipeline
        self._metrics = StabilityMetrics()
        self._problems = list(source.warnings)
        self._unreadable = 0
        self._first_unreadable = ""
        self._times: list[float] = []
        self._seconds = 0.0
        self._is_complete = False
        self._is_interrupted = False
        typestore = create_typestore()
        self._serialiser = HandSerialiser(typestore)
        self._bag = stack.enter_context(BagWriter(out / "hands.mcap", typestore))
        self._bag.add_topic(TOPOLOGY_TOPIC, MESH_TOPOLOGY, latched=True)
        self._bag.add_topic(HANDS_TOPIC, HAND_ARRAY)
        self._video: VideoWriter | None = None
        if settings.video:
            rate = max(source.frame_rate / settings.every, 1.0)
            self._video = stack.enter_context(VideoWriter(out / "overlay.mp4", rate, waits=True))

    def process(
        self, is_interrupted: Callable[[], bool], on_progress: Callable[[int, int | None], None] | None
    ) -> None:
        """Go through the images until the end, an interruption, or a full disk."""
        start = time.monotonic()
        expected = self._expected_images()
        try:
            with ExitStack() as stack:
                if on_progress is None:
                    bar = stack.enter_context(image_bar(expected))
                    on_progress = lambda done, total: bar.update(done - bar.n)  # noqa: E731
                for number, picture in enumerate(self._pictures(), 1):
                    if is_interrupted():
                        self._is_interrupted = True
                        return
                    self._process(picture)
                    on_progress(number, expected)
            self._is_complete = True
        except DiskFullError as error:
            self._problems.append(str(error))
        except BagError as error:  # Damage on the way: what came before it counts.
            self._problems.append(str(error))
        finally:
            self._seconds = time.monotonic() - start
            self._close()

    def conclude(self, engine: str) -> EvaluationResult:
        """Write the figures."""
        if self._unreadable:
            self._problems.append(
                f"{self._unreadable} images could not be read and were left out; the first one's fault: "
                f"{self._first_unreadable}"
            )
        metrics = self._metrics.summary() | {
            "images_unreadable": self._unreadable,
            "is_complete": self._is_complete,
        }
        run = {
            "bag": str(self._path),
            "source": self._source.description,
            "weights": self._bundle.info.name,
            "weights_digest": self._bundle.digest,
            "engine": engine,
            "options": self._settings.as_dict(),
            "problems": self._problems,
        }
        timings = {"seconds": self._seconds, "processing_time": _distribution(self._times)}
        for name, content in (("metrics.json", metrics), ("run.json", run), ("timings.json", timings)):
            try:
                (self._out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            except OSError as error:
                self._problems.append(f"Cannot write {self._out / name}: {error.strerror}.")
        return EvaluationResult(self._out, metrics, run, timings, self._problems, self._is_interrupted)

    def _expected_images(self) -> int:
        options, source = self._settings, self._source
        count = max((source.frame_count or 0) - options.start * source.frame_rate, 0)
        if options.seconds:
            count = min(count, options.seconds * source.frame_rate)
        return round(count / options.every)

    def _pictures(self) -> Iterator[Picture]:
        """The images that were asked for."""
        begin = self._settings.start * SECOND
        end = begin + self._settings.seconds * SECOND if self._settings.seconds else float("inf")
        for number, picture in enumerate(self._source.pictures()):
            if picture.time >= end:
                return
            if picture.time >= begin and number % self._settings.every == 0:
                yield picture

    def _process(self, picture: Picture) -> None:
        image = picture.image
        assert image is not None
        try:
            message = self._read(image)
            is_compressed = image.message_type == COMPRESSED_IMAGE
            rgb = compressed_to_rgb(message) if is_compressed else image_to_rgb(message)
        except (BagError, ImageError) as error:
            if not self._unreadable:
                self._first_unreadable = str(error)
            self._unreadable += 1
            return
        height, width = rgb.shape[:2]
        info = self._read(picture.camera_info) if picture.camera_info else None
        frame = Frame(
            rgb,
            header_stamp(image.data) or image.time,
            self._cameras.camera(info, width, height),
            message.header.frame_id,
        )
        before = time.perf_counter()
        result = self._pipeline.process(frame)
        self._times.append(time.perf_counter() - before)
        if not self._metrics.images:
            topology = self._serialiser.topology(self._bundle.topology, self._bundle.info.name, frame.stamp)
            self._bag.write(TOPOLOGY_TOPIC, image.time, topology)
        self._metrics.add(result)
        self._bag.write(HANDS_TOPIC, image.time, self._serialiser.hands(result, (width, height)))
        if self._video:
            mesh = self._bundle.topology
            drawn = draw_overlay(rgb, result.hands, frame.camera, mesh.faces, mesh.face_part)
            self._video.write(np.asarray(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), np.uint8), image.time)

    def _read(self, message: Message) -> Any:
        return self._source.deserialize(message)

    def _close(self) -> None:
        closers = [self._bag.close] + ([self._video.close] if self._video else [])
        for close in closers:
            try:
                close()
            except BagError as error:
                if str(error) not in self._problems:
                    self._problems.append(str(error))


class _Cameras:
    """The camera of each image: a calibration that was given, the recorded one, or an assumed one."""

    def __init__(self, given: Camera | None) -> None:
        self._given = given

    def camera(self, info: Any, width: int, height: int) -> Camera:
        if self._given is not None:
            return fit_camera(self._given, width, height)
        if info is not None and is_calibrated(info):
            return camera_from_info(info, width, height)
        return Camera.assumed(width, height)


def _prepare_folder(out: Path, is_forced: bool) -> None:
    names = ("hands.mcap", "metrics.json", "timings.json", "run.json", "overlay.mp4")
    there = [name for name in names if (out / name).exists()]
    if there and not is_forced:
        raise BagError(
            f"Expected a folder without an evaluation, {out} has {', '.join(there)}; name another with "
            "--out, or replace it with --force."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in there:
            (out / name).unlink()
    except OSError as error:
        raise BagError(f"Expected a folder to write to, cannot use {out}: {error.strerror}.") from error


def _distribution(seconds: list[float]) -> dict[str, Any]:
    """Median, 95th percentile and a histogram of times."""
    if not seconds:
        return {}
    counts, edges = np.histogram(seconds, bins=20)
    return {
        "median": float(np.median(seconds)),
        "p95": float(np.percentile(seconds, 95)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def summary_table(result: EvaluationResult) -> str:
    """The result in words, a line each."""
    metrics, run = result.metrics, result.run
    images, seconds = metrics["images"], result.timings["seconds"]
    times = result.timings["processing_time"]
    rows = [
        ("source", run["source"]),
        ("weights, engine", f"{run['weights']}, {run['engine']}"),
        ("images", f"{images} in {seconds:.1f} s ({images / max(seconds, 1e-9):.1f} a second)"),
        ("with hands", f"{metrics['images_with_hands']}" + _percent(metrics["coverage"])),
    ]
    if times:
        rows.append(
            ("pipeline", f"median {1e3 * times['median']:.1f} ms, 95 % within {1e3 * times['p95']:.1f} ms")
        )
    for track in metrics["tracks"]:
        text = f"{track['handedness']}, {track['images']} images in {track['seconds']:.1f} s, "
        text += f"{track['missed']} missed"
        if track["bone_length_variation"] is not None:
            text += f", bones vary by {100 * track['bone_length_variation']:.1f} %"
        if track["jitter_at_rest"] is not None:
            text += f", jitter at rest {1e3 * track['jitter_at_rest']:.2f} mm"
        text += f", reprojection {track['reprojection_error_median']:.1f} px"
        rows.append((f"track {track['track_id']}", text))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _percent(share: float | None) -> str:
    return "" if share is None else f" ({100 * share:.1f} %)"
