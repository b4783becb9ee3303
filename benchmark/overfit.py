"""Whether the network learns: 64 rendered hands by heart, `python -m benchmark.overfit FOLDER`.

Renders the hands, trains on them without varying anything, and measures on the same hands. Done when their
PA-MPJPE is below 3 mm. Takes some ten minutes on one core; can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from train.curve import LOG
from train.data import SyntheticSource
from train.evaluation.pictures import draw_predictions
from train.evaluation.plots import rendered
from train.evaluation.predictions import Samples, predict, spread
from train.evaluation.predictors import run_subject

SAMPLES = 64
LIMIT_MM = 3.0
SHOWN = 8


def draw(run: Path, data: Path) -> np.ndarray:
    """Errors over the steps, and hands learned, BGR."""
    entries = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    checks = [(e["step"], e["validation"]) for e in entries if "validation" in e]
    figure = Figure(figsize=(12, 4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in (
        ("pa_mpjpe_mm", "joints, aligned"),
        ("pa_mpvpe_mm", "vertices, aligned"),
        ("mpjpe_mm", "joints"),
    ):
        left.plot(*zip(*((s, f[f"synthetic_{name}"]) for s, f in checks)), marker=".", label=label)
    left.axhline(LIMIT_MM, color="grey", linestyle=":", label=f"{LIMIT_MM:g} mm")
    left.set(yscale="log", title=f"mean error on the {SAMPLES} hands, mm", xlabel="step")
    left.legend()
    losses = [(e["step"], e["total"]) for e in entries if "total" in e]
    right.plot(*zip(*losses))
    right.set(yscale="log", title="loss", xlabel="step")
    curves = rendered(figure)
    subject = run_subject(run)
    source = SyntheticSource(data)
    samples = Samples(source, 1, spread(source, SHOWN))
    p = predict(subject.predictor, samples, subject.topology.joint_regressor)
    hands = draw_predictions(p, samples, np.arange(len(samples)), subject.topology.faces)
    hands = cv2.resize(hands, (curves.shape[1], round(hands.shape[0] * curves.shape[1] / hands.shape[1])))
    return np.concatenate([curves, hands])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for the hands and the run")
    parser.add_argument("--picture", type=Path, help="curve and hands (default: FOLDER/overfit.png)")
    arguments = parser.parse_args()
    data, run = arguments.folder / "data", arguments.folder / "run"
    python = [sys.executable, "-m"]
    options = ["--count", str(SAMPLES), "--triplets", "0", "--workers", "1"]
    subprocess.run([*python, "train.synthetic.render", "--out", str(data), *options], check=True)
    sets = ["--synthetic", str(data), "--test", str(data)]
    subprocess.run([*python, "train.run", "overfit", *sets, "--out", str(run)], check=True)
    picture = arguments.picture or arguments.folder / "overfit.png"
    cv2.imwrite(str(picture), draw(run, data))
    entries = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    found = [e["validation"] for e in entries if "validation" in e][-1]
    error = found["synthetic_pa_mpjpe_mm"]
    print(
        f"PA-MPJPE {error:.2f} mm, PA-MPVPE {found['synthetic_pa_mpvpe_mm']:.2f} mm, MPJPE "
        f"{found['synthetic_mpjpe_mm']:.2f} mm on {SAMPLES} hands; wanted: below {LIMIT_MM:g} mm; {picture}"
    )
    return 0 if error < LIMIT_MM else 1


if __name__ == "__main__":
    sys.exit(main())
