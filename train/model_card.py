"""Put what train.evaluate measured into the model card, beside what is wanted.

    python -m train.evaluate --bundle FOLDER --test data/synthetic_test --real real_hands.zip \\
        --video VIDEO --mediapipe WHEEL --json evaluation.json
    python -m train.model_card evaluation.json [--card docs/weights.md]

Replaces the lines between the two marks in the card; with `--print`, only prints them. Of several files the
later ones complete or replace the earlier ones' figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from h2onet_ros.hand.joints import FINGER_NAMES

CARD = Path(__file__).parents[1] / "docs" / "weights.md"
BEGIN, END = "<!-- figures: begin (python -m train.model_card) -->", "<!-- figures: end -->"
MISSING = "-"

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One line: what it is, our figure and MediaPipe's, how they are written, and what is wanted.

    Attributes:
        ours, rival: keys of the evaluation's JSON file; "" where there is none.
        wanted: the limit, as it is written.
        met: whether our figure meets it, given all figures; None: nothing is wanted.
    """

    name: str
    ours: str
    rival: str = ""
    form: str = "{:.1f} mm"
    factor: float = 1.0
    wanted: str = ""
    met: Callable[[float, Figures], bool] | None = None


def _at_most(limit: float) -> Callable[[float, Figures], bool]:
    return lambda value, figures: value <= limit


def _at_least(limit: float) -> Callable[[float, Figures], bool]:
    return lambda value, figures: value >= limit


def _percent(name: str, ours: str, rival: str = "", wanted: float | None = None) -> Row:
    limit = {} if wanted is None else {"wanted": f"<= {wanted:g} %", "met": _at_most(wanted / 100)}
    return Row(name, ours, rival, "{:.1f} %", 100, **limit)  # type: ignore[arg-type]


def _not_behind(other: str, tolerance: float) -> Callable[[float, Figures], bool]:
    return lambda value, figures: other in figures and value <= figures[other] * tolerance


ROWS: tuple[tuple[str, tuple[Row, ...]], ...] = (
    (
        "Rendered hands not trained on",
        (
            Row("PA-MPJPE", "synthetic_pa_mpjpe_mm", "synthetic_mediapipe_pa_mpjpe_mm",
                wanted="<= 6 mm", met=_at_most(6)),
            Row("PA-MPVPE", "synthetic_pa_mpvpe_mm", wanted="<= 6 mm", met=_at_most(6)),
            Row("MPJPE, wrists together", "synthetic_mpjpe_mm", "synthetic_mediapipe_mpjpe_mm"),
            Row("orientation off, median", "synthetic_rotation_median_deg", form="{:.1f} degrees"),
            _percent("image points off, median, of the hand's box", "synthetic_uv_median",
                     "synthetic_mediapipe_uv_median"),
            Row("no finger hidden: PA-MPJPE", "synthetic_visible_pa_mpjpe_mm",
                "synthetic_mediapipe_visible_pa_mpjpe_mm"),
            Row("two or more fingers hidden, three frames: PA-MPJPE", "synthetic_occluded_pa_mpjpe_mm",
                "synthetic_mediapipe_occluded_pa_mpjpe_mm", wanted="0.1 mm less than of one frame",
                met=lambda value, f: value + 0.1 <= f.get("synthetic_single_occluded_pa_mpjpe_mm", 0)),
            Row("the same, one frame: PA-MPJPE", "synthetic_single_occluded_pa_mpjpe_mm"),
            Row("a finger hidden that the past shows, three frames: PA-MPJPE",
                "synthetic_revealed_pa_mpjpe_mm", "synthetic_mediapipe_revealed_pa_mpjpe_mm"),
            Row("the same, one frame: PA-MPJPE", "synthetic_single_revealed_pa_mpjpe_mm"),
            Row("palm to the camera: PA-MPJPE", "synthetic_palm_pa_mpjpe_mm"),
            Row("back to the camera: PA-MPJPE", "synthetic_back_pa_mpjpe_mm"),
            Row("edge to the camera: PA-MPJPE", "synthetic_edge_pa_mpjpe_mm"),
            *(
                Row(f"hidden or not, {finger}: F1", f"synthetic_occlusion_f1_{finger}", form="{:.2f}",
                    wanted=">= 0.85", met=_at_least(0.85))
                for finger in FINGER_NAMES
            ),
        ),
    ),
    (
        "Held-out photographs (points by MediaPipe, whose own column shows how well it repeats itself)",
        (
            _percent("image points off, median, of the hand's box", "real_uv_median",
                     "real_mediapipe_uv_median", 5),
            _percent("more than 15 % off", "real_uv_failures", "real_mediapipe_uv_failures", 5),
            _percent("palm to the camera, median", "real_palm_uv_median"),
            _percent("back to the camera, median", "real_back_uv_median"),
            _percent("edge to the camera, median", "real_edge_uv_median"),
            _percent("right hands, median", "real_right_uv_median"),
            Row("left hands, median", "real_left_uv_median", form="{:.1f} %", factor=100,
                wanted="<= 1.05 x right", met=_not_behind("real_right_uv_median", 1.05)),
            *(
                row
                for name, key in (
                    ("whole pipeline, the photograph alone given", "real_photos"),
                    ("the same, a square about the hand given", "real_stills"),
                )
                for row in (
                    _percent(f"{name}: found", f"{key}_found"),
                    _percent("side told rightly", f"{key}_side"),
                    _percent("image points off, median", f"{key}_uv_median"),
                    _percent("more than 15 % off, or not found", f"{key}_uv_failures"),
                )
            ),
        ),
    ),
    (
        "A real video, judged by MediaPipe",
        (
            Row("frames with a hand", "video_frames_with_a_hand", form="{:.0f}", wanted="all",
                met=lambda value, f: value == f.get("video_frames")),
            Row("identities", "video_identities", form="{:.0f}", wanted="1", met=_at_most(1)),
            _percent("projected joints off, mean, of the hand's box", "video_distance_mean", wanted=5),
            _percent("image points off, mean", "video_points_mean"),
            Row("mirrored: a left hand", "video_mirrored_distance_mean", form="{:.1f} %", factor=100,
                wanted="<= 1.05 x right", met=_not_behind("video_distance_mean", 1.05)),
            Row("jitter of a still hand, joints, RMS", "video_jitter_mm", form="{:.2f} mm",
                wanted="<= 1 mm", met=_at_most(1)),
            Row("the same, relative to the wrist", "video_jitter_relative_mm", form="{:.2f} mm"),
        ),
    ),
)  # fmt: skip


def card_table(figures: Figures) -> str:
    """The figures as Markdown; rows that were not measured are left out."""
    lines = []
    for title, rows in ROWS:
        known = [row for row in rows if row.ours in figures]
        if not known:
            continue
        lines += ["", f"| {title} | ours | MediaPipe | wanted | |", "|---|---|---|---|---|"]
        for row in known:
            value = figures[row.ours]
            verdict = "" if row.met is None else "met" if row.met(value, figures) else "missed"
            rival = MISSING
            if row.rival in figures:
                rival = row.form.format(figures[row.rival] * row.factor)
            ours = row.form.format(value * row.factor)
            lines.append(f"| {row.name} | {ours} | {rival} | {row.wanted} | {verdict} |")
    return "\n".join([*lines[1:], ""])


def updated(card: str, figures: Figures) -> str:
    """The card's text with new figures.

    Raises:
        ValueError: the marks are not there, once and in order.
    """
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the card lacks the marks {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{card_table(figures)}{END}{after}"


def _read(path: Path) -> Figures:
    figures = json.loads(path.read_text())
    if not isinstance(figures, dict) or not all(isinstance(v, int | float) for v in figures.values()):
        raise ValueError(f"{path}: expected the flat figures that train.evaluate --json writes")
    return figures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train.model_card",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", type=Path, nargs="+", help="JSON files of train.evaluate")
    parser.add_argument("--card", type=Path, default=CARD, help="Markdown file to change")
    parser.add_argument("--print", action="store_true", help="print the tables, change nothing")
    options = parser.parse_args(arguments)
    try:
        figures: Figures = {}
        for path in options.figures:
            figures |= _read(path)
        if options.print:
            print(card_table(figures))
            return 0
        options.card.write_text(updated(options.card.read_text(), figures))
    except (OSError, ValueError) as error:
        print(f"model_card: {error}", file=sys.stderr)
        return 1
    print(f"{options.card}: figures replaced")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
