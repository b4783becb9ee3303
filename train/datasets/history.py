"""Which frames of a recording go with a frame as its past (H2ONet, section 4.1 and its data loaders)."""

from __future__ import annotations

import numpy as np

from train.datasets.layout import Layout


class History:
    """Frames of recordings, ordered in time.

    `sequence` and `number` `(N,)` tell recording and frame number of each sample; `usable` `(N,)` which
    samples may serve as the past of another.
    """

    def __init__(self, sequence: np.ndarray, number: np.ndarray, usable: np.ndarray) -> None:
        rows = np.flatnonzero(usable)
        order = np.lexsort((number[rows], sequence[rows]))
        self._rows = rows[order]
        self._numbers = number[self._rows].astype(np.int64)
        ends = np.searchsorted(sequence[self._rows], np.unique(sequence[self._rows]), side="right")
        self._spans = dict(
            zip(
                np.unique(sequence[self._rows]).tolist(),
                zip(np.concatenate([[0], ends[:-1]]).tolist(), ends.tolist()),
            )
        )

    def past(self, row: int, sequence: int, number: int, short: int, long: int) -> tuple[int, int]:
        """Rows of the short-term and the long-term past of `row`, which is frame `number` of `sequence`.

        They lie `short` and `long` frames back. Where the recording does not go back that far, the long-term
        frame is its first one and the short-term one lies half way. A missing frame is replaced by the
        nearest one that is not later than `row`; without any, `row` stands for its own past.
        """
        begin, end = self._spans.get(sequence, (0, 0))
        end = begin + int(np.searchsorted(self._numbers[begin:end], number, side="right"))
        if begin == end:
            return row, row
        available = number - int(self._numbers[begin])
        if available < long:
            short, long = available // 2, available
        return self._nearest(row, begin, end, number, short), self._nearest(row, begin, end, number, long)

    def _nearest(self, row: int, begin: int, end: int, number: int, back: int) -> int:
        if back <= 0:
            return row
        numbers = self._numbers[begin:end]
        right = int(np.searchsorted(numbers, number - back))
        left = max(right - 1, 0)
        right = min(right, len(numbers) - 1)
        nearer = left if number - back - numbers[left] <= numbers[right] - (number - back) else right
        return int(self._rows[begin + nearer])


def jittered(layout: Layout, rng: np.random.Generator) -> tuple[int, int]:
    """How many frames back the past lies in training.

    The published loader rounds towards zero, so the short-term frame moves by less than `short_jitter`.
    """
    short = layout.short + int(rng.uniform(-layout.short_jitter, layout.short_jitter))
    return short, layout.long - int(rng.integers(0, layout.long_jitter + 1))
