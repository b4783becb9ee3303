"""What the demo says at its end: a table for people, `summary.json` for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class DemoReport:
    """What happened, as far as it came.

    Attributes:
        source: what was played, in words.
        weights: name of the weights.
        images_sent: images that the player published.
        images_late: those of them that the player itself published late.
        hands: the recorder's summary (`bag.statistics.StreamSummary` as a dictionary).
        video_images, video_dropped: images in the overlay video, and such that came too fast for it.
        failure: why it stopped early; empty where it did not.
        exit_code: of the demo.
        files: what was written, by name.
    """

    source: str
    weights: str = ""
    images_sent: int = 0
    images_late: int = 0
    hands: dict[str, Any] = field(default_factory=dict)
    video_images: int = 0
    video_dropped: int = 0
    failure: str = ""
    exit_code: int = 0
    files: dict[str, str] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        return int(self.hands.get("answers", 0))

    @property
    def lost(self) -> int:
        """Images that were neither answered nor, as the node says, skipped."""
        return max(self.images_sent - self.answers - int(self.hands.get("skipped", 0)), 0)

    def table(self) -> str:
        """The report as lines of text."""
        hands = self.hands
        rows = [("source", self.source), ("weights", self.weights or "unknown")]
        rows.append(("images sent", f"{self.images_sent}" + _late(self.images_late)))
        rows.append(("images answered", f"{self.answers}{_share(self.answers, self.images_sent)}"))
        rows.append(("skipped by the node", f"{hands.get('skipped', 0)} (late, it takes the newest)"))
        rows.append(("lost on the way", f"{self.lost}"))
        with_hands = int(hands.get("answers_with_hands", 0))
        share = _share(with_hands, self.images_sent)
        rows.append(
            (
                "images with hands",
                f"{with_hands}{share}, {hands.get('hands', 0)} hands",
            )
        )
        rows.append(("tracks", _tracks(hands.get("tracks", []), with_hands)))
        rows.append(("stamp to publish", _times(hands, "latency")))
        rows.append(("stamp to recorder", _times(hands, "arrival")))
        rate = hands.get("answers_per_second")
        rows.append(("answers a second", "unknown" if rate is None else f"{rate:.1f}"))
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)

    def write(self, path: Path) -> None:
        """Write it as JSON. Raises OSError."""
        content = asdict(self) | {"images_lost": self.lost}
        partial = path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def _late(count: int) -> str:
    return f" ({count} of them late: the player could not keep the pace)" if count else ""


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""


def _times(hands: dict[str, Any], name: str) -> str:
    median, p95 = hands.get(f"{name}_median"), hands.get(f"{name}_p95")
    if median is None or p95 is None:
        return "unknown"
    return f"median {1e3 * median:.1f} ms, 95 % within {1e3 * p95:.1f} ms"


def _tracks(tracks: list[dict[str, int]], images: int) -> str:
    if not tracks or not images:
        return "none"
    longest = f"the longest in {100 * tracks[0]['images'] / images:.1f} % of the images with hands"
    return f"{len(tracks)}, {longest}"
