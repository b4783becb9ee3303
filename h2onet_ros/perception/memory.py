"""What the network computed for a hand in past frames, and which of them to look back to.

The multi-frame network looks at now and at two past frames (H2ONet, section 3.2), which were a fixed number
of frames back in its training videos. Cameras differ, so the past is chosen by time here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from h2onet_ros.engines.base import FrameFeatures

_KEEP = 1.5  # times the long offset: frames older than this are forgotten
_SPACING = 1 / 20  # of the long offset: frames closer than this to the last kept one are not kept


class TemporalMemory:
    """Features of one hand in the last half second or so.

    Args:
        offsets: seconds back to the short-term and to the long-term past, as the weights were trained with.
    """

    def __init__(self, offsets: Sequence[float]) -> None:
        short, long = offsets
        if not 0 < short <= long:
            raise ValueError(f"TemporalMemory: expected 0 < short <= long offsets in seconds, got {offsets}")
        self._short, self._long = short * 1e9, long * 1e9
        self._frames: deque[tuple[int, FrameFeatures]] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    def clear(self) -> None:
        """Forget everything."""
        self._frames.clear()

    def remember(self, stamp: int, now: FrameFeatures) -> None:
        """Keep the features of the frame taken at `stamp` (ns), one hand (leading dimension 1).

        A second call with the same stamp replaces the first.
        """
        if self._frames and stamp <= self._frames[-1][0]:
            if stamp < self._frames[-1][0]:
                raise ValueError(f"TemporalMemory: time went from {self._frames[-1][0]} back to {stamp} ns")
            self._frames.pop()
        while self._frames and stamp - self._frames[0][0] > _KEEP * self._long:
            self._frames.popleft()
        # A fast camera would fill the memory without telling more about the past.
        if len(self._frames) >= 2 and self._frames[-1][0] - self._frames[-2][0] < _SPACING * self._long:
            self._frames.pop()
        self._frames.append((stamp, now.as_past()))

    def past(self) -> tuple[FrameFeatures, FrameFeatures]:
        """Short-term and long-term past of the frame remembered last.

        With less history than the long offset, the long-term past is the oldest frame there is and the
        short-term one lies in proportion (about half way). The first frame is its own past. So is a frame
        after a gap.
        """
        now = self._frames[-1][0]
        stamps = np.array([stamp for stamp, _ in self._frames])
        reach = min(1.0, (now - stamps[0]) / self._long)
        short, long = (int(np.abs(now - stamps - reach * age).argmin()) for age in (self._short, self._long))
        return self._frames[short][1], self._frames[long][1]
