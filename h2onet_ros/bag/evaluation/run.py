"""The work of `h2onet evaluate-bag`: images in order through the pipeline, results to disk as they come."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from h2onet_ros.bag.calibration import load_camera
from h2onet_ros.bag.errors import BagError, DiskFullError
from h2onet_ros.bag.evaluation.accuracy import AccuracyMetrics, Match
from h2onet_ros.bag.evaluation.behind import Behind
from h2onet_ros.bag.evaluation.checkpoint import PERIOD, Checkpoint, identity
from h2onet_ros.bag.evaluation.depth import open_depth
from h2onet_ros.bag.evaluation.folder import finished_evaluation, prepare_folder, write_json
from h2onet_ros.bag.evaluation.images import RecordedImage, RecordedImages
from h2onet_ros.bag.evaluation.overlay import OverlayVideo
from h2onet_ros.bag.evaluation.results import ResultsBag, read_results
from h2onet_ros.bag.evaluation.settings import EvaluationResult, EvaluationSettings
from h2onet_ros.bag.evaluation.stability import StabilityMetrics
from h2onet_ros.bag.evaluation.summary import distribution
from h2onet_ros.bag.evaluation.table import HandTable, read_table
from h2onet_ros.bag.evaluation.truth import Truth, open_truth
from h2onet_ros.bag.message_types import create_typestore
from h2onet_ros.bag.progress import image_bar
from h2onet_ros.bag.reader import BagReader
from h2onet_ros.bag.sources import BagSource
from h2onet_ros.bag.units import SECOND
from h2onet_ros.engines import WeightsBundle, engine_for
from h2onet_ros.perception.pipeline import HandPipeline, PipelineConfig
from h2onet_ros.perception.smoothing import SmoothingConfig
from h2onet_ros.perception.tracker import TrackerConfig
from h2onet_ros.perception.types import Frame, FrameResult

Progress = Callable[[int, int | None], None]

_LONGEST_TOLERANCE = 0.02
"""Seconds that truth may be from its image at most."""


def evaluate(
    bag: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: EvaluationSettings | None = None,
    *,
    is_interrupted: Callable[[], bool] = lambda: False,
    on_progress: Progress | None = None,
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
        CameraError: for a calibration file of no pinhole camera.
    """
    settings = settings or EvaluationSettings()
    bag, out = Path(bag), Path(out)
    with ExitStack() as stack:
        source = BagSource(bag, settings.topic)
        stack.callback(source.close)
        calibration = load_camera(settings.calibration) if settings.calibration else None
        topics = {topic.name: topic.message_type for topic in source.bag.topics.values()}
        tolerance = round(min(0.5 / source.frame_rate, _LONGEST_TOLERANCE) * SECOND)

        def open_this_truth() -> Truth | None:
            return open_truth(bag, topics, settings, tolerance)

        if truth := open_this_truth():
            stack.callback(truth.close)
        if depth := open_depth(source, settings):
            stack.callback(depth.close)
        engine = engine_for(settings.weights, settings.engine, settings.threads, settings.precision)
        pipeline = HandPipeline(engine, pipeline_config(settings))
        stack.callback(pipeline.close)
        what = identity(bag, source.topic.name, depth.topic if depth else None, settings, engine)
        if settings.existing == "resume" and (done := finished_evaluation(out, what, settings)):
            return done
        checkpoint = Checkpoint(out, what)
        stored = prepare_folder(out, settings.existing, checkpoint)
        images = RecordedImages(source, settings, calibration, depth)
        with _Evaluation(out, settings, source, engine.bundle, truth, open_this_truth, images) as evaluation:
            evaluation.process(pipeline, checkpoint, stored, is_interrupted, on_progress)
        return evaluation.conclude(bag, what, checkpoint)


def image_topics(bag: str | os.PathLike[str]) -> list[str]:
    """The image topics of a recording, the fullest first; of an image raw and compressed, the fuller one.

    Raises:
        BagError: for what is no recording, or has no images.
    """
    with BagReader(bag) as reader:
        chosen: dict[str, str] = {}
        for topic in reader.image_topics():
            if not topic.name.endswith("/compressedDepth"):
                chosen.setdefault(topic.name.removesuffix("/compressed"), topic.name)
        if not chosen:
            raise BagError(f"Expected a recording with images, {bag} has {reader.describe_topics()}.")
    return list(chosen.values())


def pipeline_config(settings: EvaluationSettings) -> PipelineConfig:
    """The settings that concern perception, as the node would pass them on."""
    return PipelineConfig(
        max_hands=settings.max_hands,
        tracker=TrackerConfig(min_presence=settings.min_presence, start_presence=settings.start_presence),
        smoothing=SmoothingConfig(settings.smoothing > 0, settings.smoothing or 1.0),
        palm_threshold=settings.palm_threshold,
        image_alignment=settings.image_alignment,
        hand_scale=settings.hand_scale,
        hand_length=settings.hand_length,
        threads=settings.threads,
    )


class _Evaluation:
    """One evaluation while it runs: where its results go."""

    def __init__(
        self,
        out: Path,
        settings: EvaluationSettings,
        source: BagSource,
        bundle: WeightsBundle,
        truth: Truth | None,
        open_truth: Callable[[], Truth | None],
        images: RecordedImages,
    ) -> None:
        self._out = out
        self._settings = settings
        self._source = source
        self._bundle = bundle
        self._truth = truth
        self._open_truth = open_truth
        self._images = images
        self._stability = StabilityMetrics()
        self._accuracy = AccuracyMetrics() if truth else None
        self._problems: list[str] = []
        self._warned = 0
        self._first_warning = ""
        self._times = array("d")
        self._seconds = 0.0
        self._done = 0
        self._is_complete = self._is_interrupted = False
        copied = (source.topic.name, source.topic.message_type) if settings.with_images else None
        self._bag = ResultsBag(out / "hands.mcap", create_typestore(), bundle, copied, source.info_topic)
        self._table = HandTable(out, truth is not None)
        self._video: OverlayVideo | None = None
        if settings.video:
            rate = max(source.frame_rate / settings.every, 1.0)
            self._video = OverlayVideo(out / "overlay.mp4", rate, bundle.topology)
        self._behind = Behind()

    def __enter__(self) -> _Evaluation:
        return self

    def __exit__(self, *unused: object) -> None:
        self._behind.close()
        self._guard(self._close)

    def process(
        self,
        pipeline: HandPipeline,
        checkpoint: Checkpoint,
        stored: Path | None,
        is_interrupted: Callable[[], bool],
        on_progress: Progress | None,
    ) -> None:
        """Go through the images until the end, an interruption, damage, or a full disk.

        Args:
            pipeline: finds the hands.
            checkpoint: where to note how far it is.
            stored: results of the images before the checkpoint, in place of the pipeline's.
        """
        start = saved = time.monotonic()
        before = read_results(stored) if stored else iter(())
        with ExitStack() as stack:
            if on_progress is None:
                bar = stack.enter_context(image_bar(self._images.expected))

                def on_progress(done: int, expected: int | None) -> None:
                    bar.update(done - bar.n)

            try:
                for number, image in enumerate(self._images, 1):
                    if is_interrupted():
                        self._is_interrupted = True
                        break
                    self._process(image, pipeline, checkpoint, before)
                    on_progress(number, self._images.expected)
                    if self._done > checkpoint.images and time.monotonic() - saved > PERIOD:
                        self._save(checkpoint, pipeline)
                        saved = time.monotonic()
                if self._is_interrupted:
                    if self._done > checkpoint.images:
                        self._save(checkpoint, pipeline)
                else:
                    self._behind.finish()
                    self._close()
                    self._is_complete = True
            except BagError as error:  # No room, as a rule: what was written before counts.
                self._add_problem(str(error))
        self._seconds = time.monotonic() - start

    def conclude(self, bag: Path, what: dict[str, Any], checkpoint: Checkpoint) -> EvaluationResult:
        """Write the figures and the report."""
        notes = [*self._source.bag.notes, *self._images.notes()]
        if self._warned:
            notes.append(f"The pipeline warned of {self._warned} images, first: {self._first_warning}")
        problems = [*self._source.bag.warnings, *self._images.problems()]
        for problem in problems + (self._truth.problems() if self._truth else []):
            self._add_problem(problem)
        metrics = {
            "format": 1,
            "is_complete": self._is_complete,
            "images_unreadable": self._images.unreadable,
            **self._stability.summary(),
            "accuracy": self._accuracy
            and self._truth
            and {
                "source": self._truth.source,
                **self._accuracy.summary(),
            },
        }
        timings = {
            "seconds": self._seconds,
            "images": self._stability.images,
            "images_per_second": self._stability.images / self._seconds if self._seconds else None,
            "processing_time": distribution(self._times),
        }
        run = {
            "format": 1,
            "bag": str(bag),
            "source": self._source.description,
            "weights": self._bundle.info.name,
            "evaluation": what,
            "settings": self._settings.as_dict(),
            "notes": notes,
            "problems": self._problems,
        }
        result = EvaluationResult(self._out, metrics, run, timings, self._problems, self._is_interrupted)
        self._guard(lambda: write_json(self._out / "metrics.json", metrics))
        self._guard(lambda: write_json(self._out / "timings.json", timings))
        if self._settings.report and not self._is_interrupted:
            self._guard(lambda: self._report(result))
        # Last, with all problems: a folder with it was concluded.
        self._guard(lambda: write_json(self._out / "run.json", run))
        if self._is_complete:
            checkpoint.remove()
        return result

    def _report(self, result: EvaluationResult) -> None:
        from h2onet_ros.bag.evaluation.key_frames import choose, key_frames
        from h2onet_ros.bag.evaluation.report import write_report

        table = read_table(self._out)
        frames = []
        if len(table["image"]):
            # The truth was read in step with the images; once more for the few that are shown.
            truth = self._open_truth()
            try:
                path, mesh = self._out / "hands.mcap", self._bundle.topology
                frames = key_frames(choose(table), self._images, path, truth, mesh)
            finally:
                if truth:
                    truth.close()
        write_report(result, table, frames)

    def _process(
        self,
        image: RecordedImage,
        pipeline: HandPipeline,
        checkpoint: Checkpoint,
        before: Iterator[FrameResult],
    ) -> None:
        if image.frame is None:
            return
        if self._done < checkpoint.images:
            result = next(before, None)
            if result is None or result.stamp != image.frame.stamp:
                raise BagError(
                    f"The results so far in {self._out} do not belong to this recording; start anew with "
                    "--force."
                )
            if self._done == checkpoint.images - 1:
                checkpoint.restore(pipeline)
        else:
            result = pipeline.process(image.frame)
        self._warned += bool(result.warnings)
        self._first_warning = self._first_warning or " ".join(result.warnings)
        self._done += 1
        self._behind.do(self._take, image, result)

    def _take(self, image: RecordedImage, result: FrameResult) -> None:
        """Everything that follows from the hands of an image; in the thread behind."""
        frame = image.frame
        assert frame is not None
        size = (frame.camera.width, frame.camera.height)
        self._bag.add(image.message, image.camera_info, size, result)
        self._times.append(result.timings.get("total", 0.0))
        self._stability.add(result)
        matches = [Match("unknown", hand) for hand in result.hands] or [Match("empty")]
        if self._accuracy and self._truth:
            true = self._truth.at(frame.stamp, frame.frame_id, frame.camera)
            matches = self._accuracy.add(result.hands, true, frame.camera)
        self._table.add(image.number, frame.stamp, image.time / SECOND, matches)
        self._draw(frame, result, image.time)

    def _draw(self, frame: Frame, result: FrameResult, time: int) -> None:
        if self._video is None:
            return
        try:
            self._video.add(frame, result.hands, time)
        except DiskFullError:
            raise
        except BagError as error:  # The video is the least of it.
            self._video = None
            self._add_problem(str(error))

    def _close(self) -> None:
        """Finish the files. All of them, also where one cannot be: its error comes out then."""
        with ExitStack() as stack:
            for file in (self._video, self._table, self._bag):
                if file is not None:
                    stack.callback(file.close)

    def _save(self, checkpoint: Checkpoint, pipeline: HandPipeline) -> None:
        try:
            self._behind.finish()
            self._bag.flush()
            checkpoint.save(self._done, pipeline)
        except OSError as error:
            self._add_problem(f"Cannot write the checkpoint in {self._out}: {error.strerror}.")
        except BagError as error:
            self._add_problem(str(error))

    def _guard(self, action: Callable[[], object]) -> None:
        """Do something that may fail without taking the rest along."""
        try:
            action()
        except BagError as error:
            self._add_problem(str(error))
        except OSError as error:
            self._add_problem(f"Cannot write to {self._out}: {error.strerror or error}.")

    def _add_problem(self, problem: str) -> None:
        if problem not in self._problems:
            self._problems.append(problem)
