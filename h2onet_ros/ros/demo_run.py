"""The demo's course: start three processes, begin when all are ready, end with the last answer."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from tqdm import tqdm

from h2onet_ros.bag.calibration import load_camera
from h2onet_ros.bag.contact_sheet import contact_sheet, write_image
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.progress import image_bar
from h2onet_ros.bag.sources import BagSource, Source, SourceError, VideoSource
from h2onet_ros.command import EXIT_FAILURE, EXIT_USAGE
from h2onet_ros.engines import ENGINE_NAMES, WeightsBundle, bundle_path
from h2onet_ros.ros.demo_report import DemoReport
from h2onet_ros.ros.domain import reserved_domain
from h2onet_ros.ros.environment import local_environment
from h2onet_ros.ros.process import StopRequest
from h2onet_ros.ros.supervisor import Event, Supervisor, explain_exit

PLAYER, NODE, RECORDER = "camera player", "hand node", "recorder"
ASSETS = Path(__file__).resolve().parents[1] / "assets" / "demo"

START_PATIENCE = 60.0
"""Seconds until all three processes must have found each other."""
STALL_PATIENCE = 30.0
"""Seconds that may pass without any image or answer."""
LAST_PATIENCE = 3.0
"""Seconds to wait for the answer to the last image; the node may have skipped it."""


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


def run(options: argparse.Namespace, stop: StopRequest) -> int:
    """Run the demo and print its report; the exit code.

    Raises:
        BagError, BundleError: for input that cannot be used.
        DemoError: where it cannot even start.
    """
    source = _check_input(options)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BagError(
            f"Expected a folder to write to, cannot make {options.out}: {error.strerror}. Name another."
        ) from error
    if stop.is_set():
        return stop.exit_code
    demo = _Run(options, source, stop)
    with ExitStack() as stack:
        if options.domain_id is None:
            try:
                domain = stack.enter_context(reserved_domain())
            except RuntimeError as error:
                raise DemoError(str(error)) from error
        else:
            domain = options.domain_id
        children = stack.enter_context(Supervisor())
        demo.play(children, domain)
    if source:
        source.close()
    return demo.conclude()


class _StopError(Exception):
    """Ends the run early: the reason, and the demo's exit code."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class _Run:
    """One run: what the three processes told so far, and what follows from it."""

    def __init__(self, options: argparse.Namespace, source: Source | None, stop: StopRequest) -> None:
        self._options = options
        self._source = source
        self._stop = stop
        self._report = DemoReport(source.description if source else f"camera {options.camera}")
        self._complaints: dict[str, str] = {}
        self._is_source_open = self._is_recorder_ready = self._has_begun = self._has_recorder_ended = False
        self._last_stamp: int | None = None
        self._answered = self._drawn = 0
        self._moved = time.monotonic()
        self._bar: tqdm | None = None
        for name in ("overlay.mp4", "overlay.png", "hands.mcap", "summary.json"):
            # What lies here afterwards is of this run.
            (options.out / name).unlink(missing_ok=True)

    def play(self, children: Supervisor, domain: int) -> None:
        """Start the processes, wait for the end of the images, end the processes."""
        self._start(children, domain)
        try:
            while not (self._is_over() or self._stop.is_set()):
                event = children.next_event(0.1)
                if event:
                    self._take(event)
                if not self._has_begun and self._is_source_open and self._is_recorder_ready:
                    self._begin(children)
                self._check_patience()
        except _StopError as error:
            self._report.failure, self._report.exit_code = self._describe(error, children), error.exit_code
        finally:
            if self._bar is not None:
                self._bar.close()
            self._end(children)

    def conclude(self) -> int:
        """Write the files that come last, print the report; the exit code."""
        out, report = self._options.out, self._report
        if report.failure:
            print(f"h2onet_demo: {report.failure}", file=sys.stderr)
        elif self._stop.is_set():
            report.failure, report.exit_code = "stopped by a signal", self._stop.exit_code
            print("\nStopped.", file=sys.stderr)
        elif not report.hands.get("hands"):
            report.failure = (
                "no hand came out. Expected a hand in view, large and whole; look at what the node saw: "
                f"{out / 'overlay.png'}"
            )
            report.exit_code = EXIT_FAILURE
            print(f"h2onet_demo: {report.failure}", file=sys.stderr)
        if report.images_sent:
            self._write_files()
            print(f"\n{report.table()}\n")
            for name, path in report.files.items():
                print(f"  {name:<14}{path}")
        return report.exit_code

    def _start(self, children: Supervisor, domain: int) -> None:
        options, out = self._options, self._options.out
        print(f"Playing the {self._report.source} to the hand node (ROS_DOMAIN_ID={domain}).", flush=True)
        environment = _environment(out, domain)

        def start(name: str, module: str, arguments: list[str]) -> None:
            command = [sys.executable, "-m", f"h2onet_ros.ros.{module}", *arguments]
            children.start(name, command, environment, out / "logs" / f"{name.replace(' ', '_')}.log")

        start(NODE, "node", _node_arguments(options, self._source))
        rate = self._source.frame_rate * options.rate if self._source else 30.0
        markers = ["--markers"] if options.markers else []
        start(RECORDER, "recorder", ["--events", f"--out={out}", f"--fps={min(max(rate, 1), 240)}", *markers])
        start(PLAYER, "camera_player", _player_arguments(options))

    def _take(self, event: Event) -> None:
        """Follow what a process told. Raises `_StopError` where one ended that should not have."""
        self._moved = time.monotonic()
        values = event.values
        if event.kind == "error":
            self._complaints[event.child] = values["sentence"]
        elif event.kind == "exit":
            self._take_exit(event.child, values["code"])
        elif event.child == PLAYER:
            if event.kind == "source":
                self._is_source_open = True
            elif event.kind == "frame":
                self._report.images_sent = values["frames"]
                if self._bar is not None:
                    self._bar.update(values["frames"] - self._bar.n)
            elif event.kind == "end":
                self._last_stamp = values["last_stamp"]
                self._report.images_sent, self._report.images_late = values["frames"], values["late"]
        elif event.kind == "ready":
            self._is_recorder_ready = True
            self._report.weights = values["weights"]
        elif event.kind == "hands":
            self._answered = max(self._answered, values["stamp"])
            if self._bar is not None:
                self._bar.set_postfix_str(
                    f"{values['hands']} hands, {1e3 * values['latency']:.0f} ms", refresh=False
                )
        elif event.kind == "overlay":
            self._drawn = max(self._drawn, values["stamp"])
        elif event.kind == "end":
            self._report.hands = values["summary"]
            self._report.video_images, self._report.video_dropped = (
                values["video_images"],
                values["video_dropped"],
            )

    def _take_exit(self, child: str, code: int) -> None:
        if child == RECORDER:
            self._has_recorder_ended = True
        if child in self._complaints:
            raise _StopError(self._complaints[child], EXIT_USAGE if code == EXIT_USAGE else EXIT_FAILURE)
        raise _StopError(f"The {child} ended too early: {explain_exit(code)}.", EXIT_FAILURE)

    def _begin(self, children: Supervisor) -> None:
        self._has_begun = True
        children.children[PLAYER].send_line("begin")
        self._bar = image_bar(self._expected_images())

    def _expected_images(self) -> int | None:
        options, source = self._options, self._source
        limit = options.seconds * (source.frame_rate if source else 30.0) if options.seconds else None
        count = None if source is None or options.loop else source.frame_count
        return round(min((value for value in (limit, count) if value), default=0)) or None

    def _is_over(self) -> bool:
        """Whether the last image was answered, or will not be."""
        if self._last_stamp is None:
            return False
        if min(self._answered, self._drawn) >= self._last_stamp:
            return True
        return time.monotonic() - self._moved > LAST_PATIENCE

    def _check_patience(self) -> None:
        waited = time.monotonic() - self._moved
        if not self._has_begun and waited > START_PATIENCE:
            missing = NODE if self._is_source_open else PLAYER
            raise _StopError(
                f"The three processes did not find each other within {START_PATIENCE:.0f} s: nothing "
                f"came from the {missing}. Look into {self._options.out / 'logs'}.",
                EXIT_FAILURE,
            )
        if self._has_begun and waited > STALL_PATIENCE:
            raise _StopError(f"Neither images nor answers came for {STALL_PATIENCE:.0f} s.", EXIT_FAILURE)

    def _describe(self, error: _StopError, children: Supervisor) -> str:
        """The reason, with the log's last lines of a process that ended without a word of its own."""
        text = str(error)
        if text in self._complaints.values():
            return text
        for child in children.children.values():
            if child.exit_code is not None and not child.was_told_to_stop:
                words = child.last_words()
                return f"{text} Its last words ({child.log}):\n{words}" if words else text
        return text

    def _end(self, children: Supervisor) -> None:
        """Images stop first, so that the recorder misses nothing; the node's end closes no file."""

        def take(event: Event) -> None:
            with suppress(_StopError):
                self._take(event)

        already = self._stop.count

        def is_urgent() -> bool:
            return self._stop.count > max(already, 1)

        children.stop([PLAYER, RECORDER], is_urgent, take)
        until = time.monotonic() + 2.0
        while not self._has_recorder_ended and RECORDER in children.children and time.monotonic() < until:
            event = children.next_event(0.05)
            if event:
                take(event)
        children.stop([NODE], is_urgent)

    def _write_files(self) -> None:
        out, files = self._options.out, self._report.files
        try:
            if (out / "overlay.mp4").exists():
                write_image(out / "overlay.png", contact_sheet(out / "overlay.mp4"))
        except BagError as error:
            print(f"h2onet_demo: {error}", file=sys.stderr)
        for name, path in (
            ("overlay", "overlay.mp4"),
            ("pictures", "overlay.png"),
            ("hands", "hands.mcap"),
            ("logs", "logs"),
        ):
            if (out / path).exists():
                files[name] = str(out / path)
        files["summary"] = str(out / "summary.json")
        try:
            self._report.write(out / "summary.json")
        except OSError as error:
            del files["summary"]
            print(f"h2onet_demo: cannot write {out / 'summary.json'}: {error.strerror}", file=sys.stderr)


def _check_input(options: argparse.Namespace) -> Source | None:
    """The source, None for a camera (which only the player opens); raises before anything was started."""
    if not (options.video or options.bag or options.camera):
        options.video, calibration = _bundled_recording()
        options.calibration = options.calibration or calibration
    source: Source | None = None
    if options.video:
        source = VideoSource(options.video)
    elif options.bag:
        source = BagSource(options.bag, options.topic)
        for warning in source.warnings:
            print(f"h2onet_demo: {warning}", file=sys.stderr)
    if options.calibration:
        load_camera(options.calibration)
    WeightsBundle.load(options.weights)
    if options.engine not in ("auto", *ENGINE_NAMES):
        raise BagError(f"Expected an engine among auto, {', '.join(ENGINE_NAMES)}, got {options.engine!r}.")
    return source


def _bundled_recording() -> tuple[str, str | None]:
    videos = sorted(ASSETS.glob("*.mp4"))
    if not videos:
        raise SourceError(
            f"Expected the recording that comes along in {ASSETS}, there is none; give one with --video."
        )
    calibration = ASSETS / "camera.yaml"
    return str(videos[0]), str(calibration) if calibration.is_file() else None


def _environment(out: Path, domain: int) -> Mapping[str, str]:
    base = dict(os.environ)
    base.pop("ROS_STATIC_PEERS", None)
    package = str(Path(__file__).resolve().parents[2])
    base["PYTHONPATH"] = os.pathsep.join(filter(None, (package, base.get("PYTHONPATH"))))
    base["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    base["ROS_HOME"] = str((out / "ros").resolve())
    base["RCUTILS_COLORIZED_OUTPUT"] = "0"
    return local_environment(base, domain)


def _node_arguments(options: argparse.Namespace, source: Source | None) -> list[str]:
    parameters = {"engine": options.engine, "threads": options.threads}
    if options.weights:
        parameters["weights"] = str(bundle_path(options.weights).resolve())
    if source is not None and source.is_compressed:
        parameters["compressed"] = "true"
    return [
        "--ros-args",
        *(part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")),
    ]


def _player_arguments(options: argparse.Namespace) -> list[str]:
    arguments = ["--events", "--wait-for-input", f"--rate={options.rate}"]
    for name in ("video", "bag", "camera", "topic", "calibration", "seconds"):
        value = getattr(options, name)
        if value:
            arguments.append(f"--{name}={value}")
    return arguments + (["--loop"] if options.loop else [])
