"""Regions that another program has found -> what the pipeline takes in place of its own detector's."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from h2onet_msgs.msg import HandRegion, HandRegionArray
from h2onet_ros.perception.types import GivenRegion, Handedness, Region
from h2onet_ros.ros.parameters import ParameterError

_SIDES: dict[int, Handedness] = {HandRegion.LEFT: "left", HandRegion.RIGHT: "right"}


class RegionError(ValueError):
    """A message whose regions are none."""


def check_region_source(source: str) -> None:
    """Raise a `ParameterError` where the parameter `regions` names messages that are not installed."""
    if source == "detections" and importlib.util.find_spec("vision_msgs") is None:
        raise ParameterError(
            "parameter regions: detections need vision_msgs, which is not installed (apt install "
            "ros-$ROS_DISTRO-vision-msgs); or send h2onet_msgs/HandRegionArray and set it to topic"
        )


def regions_from_message(message: HandRegionArray) -> list[GivenRegion]:
    """The regions of an h2onet_msgs/HandRegionArray. Raises `RegionError` for numbers that are no squares."""
    return [
        _given(one.x, one.y, one.size, one.angle, one.is_upright, _SIDES.get(one.handedness), one.score)
        for one in message.regions
    ]


def regions_from_detections(message: Any) -> list[GivenRegion]:
    """The hands among the detections of a vision_msgs/Detection2DArray.

    A detection counts if its class id holds the word "hand", "left" or "right", which tell the side, or no
    words, or if it has no class at all. The box is made square about its centre.
    Boxes before version 4 of vision_msgs keep the centre in `center.x`, later ones in `center.position.x`.
    """
    regions = []
    for detection in message.detections:
        is_hand, side, score = _hypothesis(detection.results)
        if not is_hand:
            continue
        box = detection.bbox
        centre = getattr(box.center, "position", box.center)
        size = max(box.size_x, box.size_y)
        regions.append(_given(centre.x, centre.y, size, 0.0, False, side, score))
    return regions


def _hypothesis(results: Iterable[Any]) -> tuple[bool, Handedness | None, float]:
    """Whether it is a hand, its side where known, and the score, by the most probable hypothesis."""
    hypotheses = [getattr(result, "hypothesis", result) for result in results]
    if not hypotheses:
        return True, None, 1.0
    best = max(hypotheses, key=lambda one: one.score)
    name = str(getattr(best, "class_id", getattr(best, "id", ""))).lower()
    words = set(re.split(r"[^a-z]+", name))
    sides: list[Handedness] = [side for side in ("left", "right") if side in words]  # type: ignore[misc]
    is_hand = bool(sides) or bool(words & {"hand", "hands"}) or not re.search("[a-z]", name)
    return is_hand, sides[0] if len(sides) == 1 else None, float(best.score)


def _given(
    x: float,
    y: float,
    size: float,
    angle: float,
    is_upright: bool,
    handedness: Handedness | None,
    score: float,
) -> GivenRegion:
    numbers = np.array([x, y, size, angle, score])
    if not (np.isfinite(numbers).all() and size > 0):
        raise RegionError(
            f"expected a finite centre, angle and score and a positive size, got centre ({x}, {y}), "
            f"size {size}, angle {angle}, score {score}"
        )
    return GivenRegion(Region(x, y, size, angle), handedness, min(max(score, 0.0), 1.0), is_upright)
