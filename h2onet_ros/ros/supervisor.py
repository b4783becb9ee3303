"""Child processes that are told apart, listened to, and always ended."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

# What a process gets to end after each of the signals, seconds.
PATIENCE = ((signal.SIGINT, 10.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))

_PR_SET_PDEATHSIG = 1
_LOG_LINES = 8
# rcutils' console format: [FATAL] [1700000000.123] [node]: message
_FATAL = re.compile(r"^\[FATAL\] \[[\d.]+\] \[[^\]]*\]: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Event:
    """Something a child told (a JSON line with "event"), or its end ("exit", with "code")."""

    child: str
    kind: str
    values: dict[str, Any]


class Child:
    """A process in a process group of its own.

    Attributes:
        name: for people.
        log: file with what it printed.
        was_told_to_stop: its end is no surprise.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        events: SimpleQueue[Event],
    ) -> None:
        self.name = name
        self.log = log
        self.was_told_to_stop = False
        self._events = events
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                # Ctrl-C in the terminal reaches the parent only, which ends the children in order.
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        Thread(target=self._listen, name=f"{name} events", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def send_line(self, line: str) -> None:
        """Write a line to its standard input, if it still listens."""
        assert self._process.stdin
        with suppress(OSError, ValueError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def close_input(self) -> None:
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()

    def signal(self, number: int) -> None:
        self.was_told_to_stop = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def last_words(self) -> str:
        """The message it ended with, or else its log's last lines; empty where it printed nothing."""
        with suppress(OSError):
            text = self.log.read_text(encoding="utf-8", errors="replace").strip()
            fatal = _FATAL.findall(text)
            return fatal[-1] if fatal else "\n".join(text.splitlines()[-_LOG_LINES:])
        return ""

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with suppress(ValueError, KeyError, TypeError):
                values = json.loads(line)
                self._events.put(Event(self.name, values.pop("event"), values))
        self._events.put(Event(self.name, "exit", {"code": self._process.wait()}))


class Supervisor:
    """Starts children, passes their events on, ends them: `with Supervisor() as children`."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        self._events: SimpleQueue[Event] = SimpleQueue()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
        child = Child(name, command, environment, log, self._events)
        self.children[name] = child
        return child

    def next_event(self, timeout: float) -> Event | None:
        """The next thing that happened, None where nothing did for `timeout` seconds."""
        with suppress(Empty):
            return self._events.get(timeout=timeout)
        return None

    def stop(
        self,
        names: Sequence[str],
        is_urgent: Callable[[], bool],
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """End these children, all at the same time: politely first, and not so when it takes long.

        Args:
            names: which.
            is_urgent: asked again and again; once true, they are killed at once.
            on_event: gets what all children tell meanwhile.
        """
        children = [self.children[name] for name in names if name in self.children]
        for number, patience in PATIENCE:
            running = [child for child in children if child.exit_code is None]
            for child in running:
                child.signal(number)
            until = time.monotonic() + patience
            while any(child.exit_code is None for child in children) and time.monotonic() < until:
                if is_urgent() and number != signal.SIGKILL:
                    break
                event = self.next_event(0.05)
                if event:
                    on_event(event)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        running = [name for name, child in self.children.items() if child.exit_code is None]
        self.stop(running, is_urgent=lambda: False)


def explain_exit(code: int) -> str:
    """What an exit code means, in words."""
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    meanings = {
        "SIGKILL": "it was killed (SIGKILL): by hand, or by the system for want of memory",
        "SIGSEGV": "it crashed in compiled code (SIGSEGV)",
        "SIGABRT": "it crashed in compiled code (SIGABRT)",
        "SIGILL": "its compiled code uses instructions that this processor lacks (SIGILL)",
        "SIGBUS": "it crashed (SIGBUS): is the disk or /dev/shm full?",
    }
    return meanings.get(name, f"it was ended by {name}")


def _die_with_parent() -> Callable[[], None] | None:
    """Lets Linux end a child whose parent was killed without a chance to do so itself."""
    if sys.platform != "linux":
        return None
    # Loaded here: between fork and exec nothing may be imported or allocated that needs a lock.
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return in_child
