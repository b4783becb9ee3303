"""`h2onet compare`: two evaluations of one recording side by side: other weights, engine or settings.

  h2onet evaluate-bag my_recording --out output/old
  h2onet evaluate-bag my_recording --weights runs/new --out output/new
  h2onet compare output/old output/new

Images are matched by their stamps, hands by their true identity, or without ground truth by their place in
the image. Errors are means over the hands that both evaluations found. The intervals tell how much of a
difference may be chance: they come from drawing stretches of the recording again and again (bootstrap).
Written are comparison.json and report.html, with the images that differ most side by side.

RUN_A and RUN_B are evaluations of one recording each. Of evaluations of many recordings, compare the folders
of one recording after the other: h2onet compare output/old/drive_1 output/new/drive_1.

Exit code: 0 the evaluations were compared, 1 pictures or files could not be made, 2 they cannot be compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from h2onet_ros.command import EXIT_FAILURE, EXIT_OK, EXIT_USAGE

PROGRAM = "h2onet compare"
REPORT, SUMMARY = "report.html", "comparison.json"
_POINTS = 400
"""Points of a line over time."""


def arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_a", metavar="RUN_A", type=Path, help="output folder of h2onet evaluate-bag")
    parser.add_argument("run_b", metavar="RUN_B", type=Path, help="another one, of the same recording")
    parser.add_argument(
        "--names", nargs=2, metavar=("A", "B"), help="what to call them (their folders' names)"
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where to write (output/compare/A_B)")
    parser.add_argument("--force", action="store_true", help="replace a comparison that is there")
    parser.add_argument(
        "--bag", metavar="BAG", type=Path, help="the recording, where it is not where it was any more"
    )
    parser.add_argument("--frames", type=int, default=6, metavar="N", help="images shown (%(default)s)")
    parser.add_argument(
        "--samples", type=int, default=4000, metavar="N", help="bootstrap draws (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    parsed = parser.parse_args(args)
    for name, least in (("frames", 0), ("samples", 100), ("seed", 0)):
        if getattr(parsed, name) < least:
            parser.error(f"argument --{name}: expected {least} or more, got {getattr(parsed, name)}")
    parsed.names = parsed.names or _names(parsed.run_a, parsed.run_b)
    parsed.out = parsed.out or Path("output") / "compare" / "_".join(parsed.names).replace("/", "-")
    return parsed


def main(args: Sequence[str] | None = None) -> int:
    """Compare two evaluations; the exit code."""
    try:
        options = arguments(args)
        # Imports take a while; --help shall not.
        from h2onet_ros.bag.errors import BagError

        try:
            problems = _compare(options)
        except BagError as error:
            print(f"{PROGRAM}: {error}", file=sys.stderr)
            return EXIT_USAGE
        for problem in problems:
            print(f"{PROGRAM}: {problem}", file=sys.stderr)
        return EXIT_FAILURE if problems else EXIT_OK
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: stopped", file=sys.stderr)
        return 130


def _compare(options: argparse.Namespace) -> list[str]:
    """Do it; what could not be done, a sentence each."""
    from h2onet_ros.bag.comparison import pictures
    from h2onet_ros.bag.comparison.bootstrap import blocks_of, compare
    from h2onet_ros.bag.comparison.measures import disagreement, measures
    from h2onet_ros.bag.comparison.pairing import pair
    from h2onet_ros.bag.comparison.report import comparison_text, write_comparison_page
    from h2onet_ros.bag.comparison.runs import differing_settings, load_run, require_same_recording
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.evaluation.folder import write_json

    a, b = (load_run(folder, name) for folder, name in zip((options.run_a, options.run_b), options.names))
    require_same_recording(a, b)
    pairing = pair(a, b)
    _prepare(options.out, options.force)
    blocks = blocks_of(pairing.times)
    differences = compare(measures(a, b, pairing), blocks, options.samples, options.seed)
    bag = options.bag or Path(b.run["bag"])
    summary: dict[str, Any] = {
        "format": 1,
        "names": options.names,
        "folders": [str(a.folder.absolute()), str(b.folder.absolute())],
        "recording": a.run["evaluation"]["recording"],
        "images": len(pairing.stamps),
        "images_only_in": [pairing.only_a, pairing.only_b],
        "hands": len(pairing.rows_a),
        "has_truth": pairing.has_truth,
        "samples": options.samples,
        "seed": options.seed,
        "blocks": int(blocks.max()) + 1,
        "differing_settings": differing_settings(a, b),
        "disagreement": disagreement(a, b, pairing),
        "measures": {
            one.measure.figure.name: {
                "a": one.a,
                "b": one.b,
                "difference": one.difference,
                "low": one.low,
                "high": one.high,
                "verdict": one.verdict,
            }
            for one in differences
        },
        "notes": _notes(a, b, pairing),
    }
    print(comparison_text(differences, tuple(options.names)))
    for note in summary["notes"]:
        print(note)
    problems, shown = [], []
    chosen = pictures.choose(a, b, pairing, options.frames)
    if chosen:
        try:
            shown = pictures.draw(a, b, pairing, chosen, bag)
        except BagError as error:
            problems.append(f"No pictures: {error} Give the recording with --bag.")
    write_json(options.out / SUMMARY, summary)
    over_time = _over_time(a, b, pairing)
    write_comparison_page(options.out / REPORT, summary, differences, shown, over_time)
    print(f"written to {options.out / REPORT}")
    return problems


def _notes(a: Any, b: Any, pairing: Any) -> list[str]:
    notes = []
    for run, only in ((a, pairing.only_a), (b, pairing.only_b)):
        if only:
            notes.append(f"{only} images are in {run.name} alone and were not compared.")
        if not run.metrics["is_complete"]:
            notes.append(f"{run.name} was not finished.")
    if a.has_truth != b.has_truth:
        with_truth = a.name if a.has_truth else b.name
        notes.append(f"Only {with_truth} has ground truth, so errors are not compared.")
    if int(pairing.times[-1] - pairing.times[0]) < 5:
        notes.append("The recording is shorter than five seconds: intervals of so little are rough.")
    return notes


def _over_time(a: Any, b: Any, pairing: Any) -> str:
    """The error of the joints, or what stands for it without truth, as a plot; "" without hands."""
    import numpy as np

    from h2onet_ros.bag.comparison.report import lines

    if not len(pairing.rows_a):
        return ""
    column, unit, factor = (
        ("mpjpe", "MPJPE, mm", 1e3) if pairing.has_truth else ("reprojection_error", "px", 1.0)
    )
    count = len(pairing.stamps)
    bins = np.minimum((np.arange(count) * _POINTS) // max(count, _POINTS), _POINTS - 1)
    of_pairs = bins[pairing.images]
    number = np.bincount(of_pairs, minlength=bins.max() + 1)
    with np.errstate(invalid="ignore"):
        times = np.bincount(bins, pairing.times) / np.bincount(bins)
        values = {
            f"{run.name}": np.bincount(
                of_pairs, np.nan_to_num(factor * run.table[column][rows]), minlength=len(number)
            )
            / number
            for run, rows in ((a, pairing.rows_a), (b, pairing.rows_b))
        }
    if not pairing.has_truth:
        unit = f"reprojection error, {unit}"
    return lines(times, values, unit)


def _names(a: Path, b: Path) -> list[str]:
    """The folders' names, with as many of those above as tells them apart."""
    parts = [path.absolute().resolve().parts for path in (a, b)]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if names[0] != names[1]:
            return names
    return [f"{parts[0][-1]} (1)", f"{parts[1][-1]} (2)"]


def _prepare(out: Path, is_forced: bool) -> None:
    from h2onet_ros.bag.errors import BagError

    there = [name for name in (SUMMARY, REPORT) if (out / name).exists()]
    if there and not is_forced:
        raise BagError(
            f"Expected a folder without a report, {out} has {', '.join(there)}; name another with --out, or "
            "replace it with --force."
        )
    if any((out / name).exists() for name in ("metrics.json", "recordings.json")):
        raise BagError(
            f"{out} holds an evaluation, whose report would be lost; name another folder with --out."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BagError(f"Expected a folder to write to, cannot use {out}: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
