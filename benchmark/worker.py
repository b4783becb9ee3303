"""One subject in a process of its own, and the handle to it.

The process, `python -m benchmark.worker BUNDLE TITLE`, prints a JSON line with its start-up time and memory,
then for each action named on a line of its input the milliseconds of `TIMED` runs, as a JSON list.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmark.subjects import SUBJECTS, Action, Subject, make

START = time.perf_counter()

SETTLE_S = 0.05
"""Pause before a turn: the threads of the row before wait for more work spinning, for some milliseconds."""
UNTIMED, TIMED = 3, 5
"""Runs in a turn: the first find caches cold and threads asleep."""


class SubjectError(RuntimeError):
    """A subject cannot be made or run here; the message says why."""


class Worker:
    """A process that runs one subject's actions on demand.

    Raises:
        SubjectError: it did not start.
    """

    def __init__(self, subject: Subject, bundle: str | Path) -> None:
        self.subject = subject
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmark.worker", str(bundle), subject.title],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.facts = json.loads(self._answer())
        self.times: dict[str, list[float]] = {name: [] for name in self.facts["actions"]}

    def take_turn(self, action: str) -> None:
        """Time an action some more times."""
        assert self._process.stdin is not None
        print(action, file=self._process.stdin, flush=True)
        self.times[action] += json.loads(self._answer())

    def stop(self) -> None:
        """End the process by ending its input."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            error = self._process.communicate()[1].strip().splitlines()
            raise SubjectError(error[-1] if error else "the process ended")
        return line


def main() -> None:
    """Serve until the input ends."""
    bundle, title = sys.argv[1:]
    actions, facts = make(next(subject for subject in SUBJECTS if subject.title == title), bundle)
    for action in actions.values():
        action.prepare()
        action.run()
    facts |= {
        "actions": list(actions),
        "start_s": time.perf_counter() - START,
        "memory_mb": resident_megabytes(),
        "torch": "torch" in sys.modules,
    }
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        print(json.dumps(_turn(actions[line.strip()])), flush=True)


def _turn(action: Action) -> list[float]:
    """Milliseconds of the timed runs."""
    time.sleep(SETTLE_S)
    times = []
    due = time.perf_counter()
    for _ in range(UNTIMED + TIMED):
        action.prepare()
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        action.run()
        times.append(1e3 * (time.perf_counter() - start))
        due = start + action.period
    return times[UNTIMED:]


def resident_megabytes() -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
