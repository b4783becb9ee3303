"""What the demo's processes have in common: how they are told to stop, how they tell, how they exit."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from h2onet_ros.command import EXIT_OK

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def quiet_opencv() -> None:
    """Keep OpenCV's and FFmpeg's warnings off the terminal; to be called before cv2 is imported."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class StopRequest:
    """Set by Ctrl-C, SIGTERM or a closed terminal.

    Attributes:
        signal_number: the first signal, 0 for none.
        count: how many came.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self.count = 0
        # Of Python's queues and events the only one that a signal handler may use: it cannot wait for itself.
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def listen(self) -> None:
        """Take over the signals; to be called in the main thread, before anything slow."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def is_set(self) -> bool:
        return self.count > 0

    def wait(self, seconds: float) -> bool:
        """Sleep for so long, or until a signal comes; whether one came."""
        if not self.is_set():
            with suppress(Empty):
                self._tokens.get(timeout=max(seconds, 0.0))
        return self.is_set()

    @property
    def exit_code(self) -> int:
        """What shells expect after a signal: 130 for Ctrl-C, 143 for SIGTERM; 0 without one."""
        return 128 + self.signal_number if self.signal_number else EXIT_OK

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = self.signal_number or number
        self.count += 1
        self._tokens.put(None)


class Reporter:
    """Tells what happens: as JSON lines for a program that listens, or as sentences for a person."""

    def __init__(self, as_events: bool) -> None:
        self._as_events = as_events

    def tell(self, event: str, sentence: str = "", **values: Any) -> None:
        """Tell of an event; a person sees the sentence, and nothing where it is empty."""
        if self._as_events:
            self._print(json.dumps({"event": event, "sentence": sentence, **values}))
        elif sentence:
            self._print(sentence)

    def error(self, program: str, message: str) -> None:
        """Tell why the program cannot go on."""
        print(f"{program}: {message}", file=sys.stderr, flush=True)
        if self._as_events:
            self._print(json.dumps({"event": "error", "sentence": message}))

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError:
            # The listener is gone; whoever ends it ends this process as well.
            self._as_events = False


class Gate:
    """Standard input as another process's word when to begin and when to go.

    Attributes:
        begun: set by the first line.
        closed: set when the other side closes it, or dies.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.begun = threading.Event()
        self.closed = threading.Event()
        self._stop = stop
        threading.Thread(target=self._listen, name="gate", daemon=True).start()

    def wait_to_begin(self) -> bool:
        """Whether it begins; not if the gate is closed or a signal comes first."""
        return self._wait(self.begun) and not self._stop.is_set()

    def wait_to_go(self) -> None:
        self._wait(self.closed)

    def _wait(self, event: threading.Event) -> bool:
        while not (event.wait(0.1) or self.closed.is_set() or self._stop.is_set()):
            pass
        return event.is_set()

    def _listen(self) -> None:
        # Not through sys.stdin: a thread waiting in there upsets the interpreter's end.
        while os.read(0, 1024):
            self.begun.set()
        self.closed.set()
