"""DexYCB and HO3D, measured as published: frame by frame, wrists together, plain and after Procrustes."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from train.datasets import HandDataset
from train.evaluation.errors import SampleErrors
from train.evaluation.pictures import draw_predictions
from train.evaluation.plots import plot_errors
from train.evaluation.predictions import Samples, predict, spread
from train.evaluation.predictors import Subject
from train.evaluation.report import Found

SHOWN = 24
BATCH = 32


def evaluate_published(subject: Subject, dataset: HandDataset, count: int | None = None) -> Found:
    """Figures of a split with truth, also by occlusion level; pictures of typical and of the worst samples.

    Left hands are mirrored, the network's way of seeing them: no error changes by it.

    Args:
        subject: what is measured. A mesh that is not the data set's is judged by its joints alone.
        dataset: opened split.
        count: only so many samples, evenly spread.
    """
    samples = Samples(dataset, subject.frames, spread(dataset, count))
    name = dataset.name.replace(" ", "_")
    errors = _errors(subject, samples, dataset)
    parts = {name: errors}
    parts |= {f"{name}_{level}": errors.select(mask) for level, mask in errors.levels().items()}
    found = Found({part: values.figures() for part, values in parts.items()}, {})
    order = np.argsort(-errors.mean["pa_mpjpe"], kind="stable")
    chosen = {"typical": spread(samples, SHOWN), "worst": order[:SHOWN]}
    for kind, rows in chosen.items():
        shown = [samples[int(row)] for row in rows]
        p = predict(subject, shown, dataset.hand.standard_regressor())
        found.pictures[f"{name}_{kind}"] = draw_predictions(p, subject, shown, np.arange(len(shown)))
    found.pictures[f"{name}_errors"] = plot_errors(parts)
    found.worst[name] = {
        dataset.names[dataset.rows[samples.rows[row]]]: round(1e3 * float(errors.mean["pa_mpjpe"][row]), 2)
        for row in order[:SHOWN]
    }
    return found


def _errors(subject: Subject, samples: Samples, dataset: HandDataset) -> SampleErrors:
    regressor, same_mesh = dataset.hand.standard_regressor(), subject.has_mesh_of(dataset.hand)
    parts = []
    with tqdm(total=len(samples), desc=dataset.name, unit="sample") as bar:
        for begin in range(0, len(samples), BATCH):
            part = [samples[i] for i in range(begin, min(begin + BATCH, len(samples)))]
            p = predict(subject, part, regressor, begin)
            parts.append(SampleErrors.of(p, same_mesh))
            bar.update(len(part))
    return SampleErrors.joined(parts)
