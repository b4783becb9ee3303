"""One subject in a process of its own, and the handle to it.

The process, `python -m benchmark.worker BUNDLE TITLE`, prints a JSON line with its start-up time and memory,
then for each action named on a line of its input how many milliseconds that took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmark.subjects import SUBJECTS, Subject, make

START = time.perf_counter()


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

    def run(self, action: str, keep: bool) -> None:
        """Time an action once."""
        assert self._process.stdin is not None
        print(action, file=self._process.stdin, flush=True)
        taken = float(self._answer())
        if keep:
            self.times[action].append(taken)

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
        action = actions[line.strip()]
        action.prepare()
        start = time.perf_counter()
        action.run()
        print(1e3 * (time.perf_counter() - start), flush=True)


def resident_megabytes() -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
