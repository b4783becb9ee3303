"""Looks for palms in whole images, in the background while other hands are being followed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from h2onet_ros.perception.background import Background
from h2onet_ros.perception.palm import PalmDetector, search_windows
from h2onet_ros.perception.types import Region


class PalmSearch:
    """Gives the palm detector one window of the image after another.

    The detector takes about half as long as the rest of a frame. A frame that needs its answer waits for it;
    otherwise it runs in the background and its answer counts one frame later.

    Args:
        detector: finds palms.
        worker: thread of the background; one of its own if None.
    """

    def __init__(self, detector: PalmDetector, worker: ThreadPoolExecutor | None = None) -> None:
        self._detector = detector
        self._looks = 0
        self._background: Background[list[Region]] = Background(worker or ThreadPoolExecutor(1))

    def reset(self) -> None:
        """Forget a search that is under way, and start with the whole image."""
        self._looks = 0
        self._background.forget()

    def now(self, rgb: NDArray[np.uint8]) -> list[Region]:
        """Regions of palms in the image `(H, W, 3)`, best first."""
        height, width = rgb.shape[:2]
        windows = search_windows(width, height)
        window = windows[self._looks % len(windows)]
        self._looks += 1
        regions = [palm.region for palm in self._detector.detect(rgb, window)]
        return [region for region in regions if not _is_cut(region, window, width, height)]

    def prepare(self, rgb: NDArray[np.uint8]) -> None:
        """Search in the background once started. The image must not be changed until `collect`."""
        self._background.prepare(lambda: self.now(rgb))

    @property
    def background_time(self) -> float:
        """Seconds that the last work in the background took."""
        return self._background.seconds

    def start(self) -> None:
        """Start what was prepared."""
        self._background.start()

    def collect(self) -> list[Region] | None:
        """What the search prepared before has found, waiting for it if need be; None if there was none."""
        return self._background.collect()


def _is_cut(region: Region, window: tuple[int, int, int, int], width: int, height: int) -> bool:
    """Whether the hand continues beyond the window, inside the image: its palm may be anything then."""
    left, top, right, bottom = region.corners
    return (
        (left < window[0] and window[0] > 0)
        or (top < window[1] and window[1] > 0)
        or (right > window[2] and window[2] < width)
        or (bottom > window[3] and window[3] < height)
    )
