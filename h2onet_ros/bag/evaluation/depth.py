"""Depth images of a recording, each with the image it belongs to, as the node joins them: by stamp."""

from __future__ import annotations

from collections.abc import Iterator

from h2onet_ros.bag.cdr import header_stamp
from h2onet_ros.bag.errors import BagError
from h2onet_ros.bag.evaluation.along import Along
from h2onet_ros.bag.evaluation.settings import EvaluationSettings
from h2onet_ros.bag.message_types import IMAGE
from h2onet_ros.bag.reader import BagReader, Message
from h2onet_ros.bag.sources import BagSource
from h2onet_ros.bag.units import SECOND

_LOOK_BACK = SECOND // 2
"""Depth images wait serialised, so not many of them may."""


class DepthImages:
    """Depth messages by the stamps of the images, read along with them.

    Attributes:
        topic: theirs.
    """

    def __init__(self, source: BagSource, topic: str, tolerance: float) -> None:
        """See `open_depth`; `tolerance` in seconds."""
        self.topic = topic
        self._reader = BagReader(source.bag.path)
        self._depths = Along(self._stamped(), round(tolerance * SECOND), _LOOK_BACK)
        self._asked = self._found = 0
        self._last = 0
        self._damage = ""

    def at(self, stamp: int) -> Message | None:
        """The depth message of the image with that stamp (nanoseconds), if there is one."""
        message = self._depths.at(stamp)
        self._asked, self._last = self._asked + 1, stamp
        self._found += message is not None
        return message

    def problems(self) -> list[str]:
        """What speaks against the depth, a sentence each; to be asked at the end."""
        found = list(self._reader.warnings)
        if self._damage:
            found.append(f"Depth ends before the images do: {self._damage}")
        if not self._found and self._asked:
            found.append(self._no_match())
        return found

    def note(self) -> str:
        """What was used."""
        return f"Depth from {self.topic}: there is some for {self._found} of {self._asked} images."

    def close(self) -> None:
        self._reader.close()

    def _no_match(self) -> str:
        begin, end = self._depths.stamps or (0, 0)
        return (
            f"No image has depth: {self.topic} has the stamps {begin / SECOND:.3f} to {end / SECOND:.3f} s, "
            f"as far as it was read, the last image has {self._last / SECOND:.3f} s, and they must be within "
            f"{self._depths.tolerance / SECOND:g} s of each other (--depth-tolerance-s)."
        )

    def _stamped(self) -> Iterator[tuple[int, Message]]:
        try:
            for message in self._reader.messages([self.topic]):
                try:
                    stamp = header_stamp(message.data)
                except ValueError:  # The image that gets it will say so.
                    stamp = 0
                yield stamp or message.time, message
        except BagError as error:  # The images may be whole.
            self._damage = str(error)


def open_depth(source: BagSource, settings: EvaluationSettings) -> DepthImages | None:
    """The depth that the settings ask for, None where they ask for none.

    Raises:
        BagError: for a topic that is not there or holds other messages, and where it is not clear which one
            belongs to the images.
    """
    if settings.depth_topic is not None:
        topic = source.bag.require_topic(settings.depth_topic, "depth images", IMAGE)
        return DepthImages(source, topic.name, settings.depth_tolerance_s)
    if not settings.depth:
        return None
    # Depth that is registered to an image has its frame (REP 118).
    frame = source.bag.first_frame(source.topic.name)
    names = [topic.name for topic in source.bag.depth_topics() if source.bag.first_frame(topic.name) == frame]
    if len(names) != 1:
        found = f"{len(names)} of them ({', '.join(names)})" if names else "none"
        raise BagError(
            f"Depth is asked for (--depth, or by the parameter file). Expected one topic of {IMAGE}, with "
            f"depth in its name and in the frame of {source.topic.name} ({frame!r}), found {found}; the "
            f"recording {source.bag.path} has {source.bag.describe_topics()}. Name the topic of depth that "
            "is registered to the images with --depth-topic, or do without: --no-depth."
        )
    return DepthImages(source, names[0], settings.depth_tolerance_s)
