"""Times the reference, the engines, the other parts and the whole pipeline in one run.

Every subject has a process of its own, and all take turns, so that whatever else the machine does hits all
alike. A turn is a pause until nobody else's threads spin, some runs that warm up, and some that count. Prints
the tables and writes benchmark.md, benchmark.json and benchmark.png.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from benchmark import report
from benchmark.subjects import CACHE, GROUPS, REFERENCE, SUBJECTS, Subject
from benchmark.worker import TIMED, SubjectError, Worker
from h2onet_ros.engines import WeightsBundle

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- benchmark: begin -->\n", "<!-- benchmark: end -->\n"


def main() -> int:
    """Exit code."""
    options = _parser().parse_args()
    subjects = [x for x in SUBJECTS if _is_wanted(x, options.only)]
    if options.list:
        print("\n".join(f"{subject.group:<10} {subject.title}" for subject in subjects))
        return 0
    if not subjects:
        print(f"benchmark: nothing is called {', '.join(options.only)}; --list tells what there is")
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        os.environ[CACHE] = str(Path(temporary) / "cache")
        folder = Path(options.bundle) if options.bundle else _random_bundle(Path(temporary))
        workers, left_out = _start(subjects, folder)
        try:
            _time(workers, options.rounds)
        except KeyboardInterrupt:
            print("benchmark: interrupted; figures of the rounds so far", file=sys.stderr)
        finally:
            for worker in workers:
                worker.stop()
        timed = [worker for worker in workers if all(worker.times.values())]
        if not timed:
            return 1
        rounds = min(len(times) for worker in timed for times in worker.times.values()) // TIMED
        width = WeightsBundle.load(folder).info.width
        _write(report.document(timed, left_out, width, rounds), Path(options.out), options.docs)
    return 0


def _is_wanted(subject: Subject, only: list[str] | None) -> bool:
    return not only or any(word == subject.group or word in subject.title for word in only)


def _random_bundle(temporary: Path) -> Path:
    """Random weights of the published width, made in a process that goes away with PyTorch."""
    folder = temporary / "bundle"
    subprocess.run([sys.executable, "-m", "benchmark.random_bundle", str(folder)], check=True)
    return folder


def _start(subjects: list[Subject], folder: Path) -> tuple[list[Worker], dict[str, str]]:
    workers, left_out = [], {}
    for subject in tqdm(subjects, "starting", leave=False, disable=None):
        try:
            if subject.is_cached:
                Worker(subject, folder).stop()
            workers.append(Worker(subject, folder))
        except SubjectError as error:
            left_out[subject.title] = re.sub(r"^[\w.]+Error: ", "", str(error))
    return workers, left_out


def _time(workers: list[Worker], rounds: int) -> None:
    for _ in tqdm(range(rounds), "rounds", leave=False, disable=None):
        for worker in workers:
            for action in worker.times:
                worker.take_turn(action)


def _write(result: dict, out: Path, into_docs: bool) -> None:
    text = report.markdown(result)
    print(text)
    out = PAGE.parent / "images" if into_docs else out
    out.mkdir(parents=True, exist_ok=True)
    (out / "benchmark.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    written = [out / "benchmark.json"]
    if any(row["group"] == "engines" for row in result["rows"]):
        try:
            report.plot(result, out / "benchmark.png")
            written.append(out / "benchmark.png")
        except ImportError as error:
            print(f"no plot: {error}; install matplotlib", file=sys.stderr)
    if into_docs:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
        written.append(PAGE)
    else:
        (out / "benchmark.md").write_text(text, encoding="utf-8")
        written.append(out / "benchmark.md")
    print(f"written: {', '.join(map(str, written))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WORD",
        help=f"groups ({', '.join(GROUPS)}) or parts of titles; ratios need the {REFERENCE.group}",
    )
    parser.add_argument("--rounds", type=int, default=10, help="turns of each (default: %(default)s)")
    parser.add_argument("--bundle", help="weights to run; random ones of width 1 if left out")
    parser.add_argument("--out", default="output", help="folder for what is written (default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="write into docs/performance.md and docs/images")
    parser.add_argument("--list", action="store_true", help="only tell what would be timed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
