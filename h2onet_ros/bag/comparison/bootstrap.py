"""How sure a difference is: bootstrap over blocks of images.

Images that follow each other resemble each other, so whole stretches are drawn, the same ones for both runs
(Künsch, "The jackknife and the bootstrap for general stationary observations", 1989; blocks here do not
overlap).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.bag.comparison.measures import Measure

BLOCK_SECONDS = 1.0
LEAST_BLOCKS = 20
"""A short recording is cut into shorter blocks, down to single images."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A measure of both runs; None where it cannot be told.

    Attributes:
        measure: what it is.
        a, b: its values.
        difference: b - a.
        low, high: ends of the confidence interval of the difference.
        verdict: "better" or "worse" where the interval leaves out 0 (b than a), else "".
    """

    measure: Measure
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


def blocks_of(times: NDArray[np.floating]) -> NDArray[np.int64]:
    """The block `(N,)`, from 0, of each image at `times` (seconds, ascending)."""
    span = float(times[-1] - times[0]) if len(times) else 0.0
    length = min(BLOCK_SECONDS, span / LEAST_BLOCKS) if span > 0 else 1.0
    # The last image may lie on the end of the last block.
    last = max(np.ceil(span / length - 1e-6) - 1, 0)
    return np.unique(np.minimum((times - times[:1]) // length, last), return_inverse=True)[1]


def compare(measures: list[Measure], blocks: NDArray[np.int64], samples: int, seed: int) -> list[Difference]:
    """Each measure with the interval of its difference; the same for the same arguments.

    Args:
        measures: of N images.
        blocks: `(N,)` as of `blocks_of`.
        samples: how often blocks are drawn.
        seed: of the drawing.
    """
    count = int(blocks.max()) + 1 if len(blocks) else 0
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), samples).astype(float)
    return [_difference(measure, blocks, count, draws) for measure in measures]


def _difference(
    measure: Measure, blocks: NDArray[np.int64], count: int, draws: NDArray[np.float64]
) -> Difference:
    sums = [_by_block(part, blocks, count) for part in (measure.sums_a, measure.sums_b)]
    a, b = (_known(measure.combine(part.sum(0))) for part in sums)
    if a is None or b is None:
        return Difference(measure, a, b, None, None, None, "")
    drawn = measure.combine(draws @ sums[1]) - measure.combine(draws @ sums[0])
    drawn = drawn[np.isfinite(drawn)]
    if count < 2 or not len(drawn):
        return Difference(measure, a, b, b - a, None, None, "")
    low, high = (float(end) for end in np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    verdict = ""
    if low > 0 or high < 0:
        verdict = "better" if (b - a) * measure.figure.better > 0 else "worse"
    return Difference(measure, a, b, b - a, low, high, verdict)


def _by_block(values: NDArray[np.float64], blocks: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    sums = np.zeros((count, values.shape[-1]))
    np.add.at(sums, blocks, values)
    return sums


def _known(value: NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None
