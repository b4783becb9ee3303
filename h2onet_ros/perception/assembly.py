"""From what the network said about one crop to a hand in the camera's frame: mirrored back, turned to the
camera's axes, sized, placed, aligned, smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from h2onet_ros.engines.base import FusedHands
from h2onet_ros.perception.alignment import ImageAlignment
from h2onet_ros.perception.depth import fit_depth
from h2onet_ros.perception.hand_size import LearntLength, hand_length
from h2onet_ros.perception.memory import TemporalMemory
from h2onet_ros.perception.placement import TURN_PRIOR, place
from h2onet_ros.perception.smoothing import HandPose, HandSmoother, SmoothingConfig
from h2onet_ros.perception.track import Track
from h2onet_ros.perception.types import FloatArray, Frame, Hand, Region

MIRROR = np.array([-1, 1, 1], np.float32)


class HandState:
    """What is kept for one identity between frames.

    Args:
        offsets: ages of the past that the network looks back to, seconds.
        smoothing: how results are calmed.
    """

    def __init__(self, offsets: Sequence[float], smoothing: SmoothingConfig) -> None:
        self.memory = TemporalMemory(offsets)
        self.smoother = HandSmoother(smoothing)
        self.length = LearntLength()


@dataclass(frozen=True)
class AssemblyOptions:
    """Attributes:
    turn_to_view: turn the network's answer by the angle between the optical axis and the ray to the crop.
    fit_rotation: correct the rotation by the image points (and depth).
    hand_scale: factor on the size of the network's hands.
    hand_length: metres; not None: every hand is made this long.
    image_alignment: how far bones are turned towards the image points, 0 to 1.
    aligner: turns them.
    """

    turn_to_view: bool
    fit_rotation: bool
    hand_scale: float
    hand_length: float | None
    image_alignment: float
    aligner: ImageAlignment


def assemble(
    frame: Frame,
    track: Track,
    region: Region,
    points: FloatArray,
    fused: FusedHands,
    row: int,
    state: HandState,
    options: AssemblyOptions,
) -> Hand | None:
    """The hand of `track` in `frame`, from row `row` of what the network said; None for no believable hand.

    Args:
        region: what the network looked at.
        points: `(21, 2)` the network's image points, pixels of the image.
    """
    vertices, joints, rotation = fused.vertices[row], fused.joints[row], fused.rotation[row]
    if track.handedness == "left":
        vertices, joints = vertices * MIRROR, joints * MIRROR
        rotation = rotation * np.outer(MIRROR, MIRROR)
    turn = _roll(region.angle)
    if options.turn_to_view:
        turn = frame.camera.view_rotation(np.array([region.x, region.y])).astype(np.float32) @ turn
    vertices, joints, rotation = vertices @ turn.T, joints @ turn.T, turn @ rotation
    raw_length = hand_length(joints)
    if not (np.isfinite(vertices).all() and raw_length > 0):
        return None

    prior = TURN_PRIOR if options.fit_rotation else None
    placement = place(joints, points, frame.camera, prior)
    if placement is None:
        return None
    fit = None
    if frame.depth is not None:
        expected = state.length.expected(raw_length, options.hand_scale) / raw_length
        if options.hand_length is not None:
            expected = options.hand_length / raw_length
        fit = fit_depth(
            vertices,
            joints,
            points,
            frame.camera,
            frame.depth,
            placement,
            prior,
            expected,
            state.length.is_known,
        )
        if fit is not None:
            placement = fit.placement
            state.length.add(fit.scale * raw_length)
    if options.hand_length is not None:
        scale = options.hand_length / raw_length
    else:
        scale = state.length.expected(raw_length, options.hand_scale) / raw_length
    # Without depth a hand that is so many times larger is so many times farther away.
    position = placement.position if fit is not None else placement.position * np.float32(scale)
    change = (scale * placement.turn).astype(np.float32)
    vertices, joints = vertices @ change.T, joints @ change.T
    if options.image_alignment > 0:
        seen = frame.camera.normalise(points)
        visible = 1 - np.nan_to_num(fused.occlusion[row, :5])
        vertices, joints = options.aligner(vertices, joints, position, seen, visible, options.image_alignment)
    pose = HandPose(position, placement.turn.astype(np.float32) @ rotation, vertices, joints)
    pose = state.smoother(pose, frame.stamp)
    return Hand(
        track_id=track.track_id,
        handedness=track.handedness,
        handedness_score=max(track.handedness_score, 0.5),
        detection_score=track.presence,
        region=region,
        position=pose.position,
        rotation=pose.rotation,
        joints=pose.joints + pose.position,
        vertices=pose.vertices + pose.position,
        occlusion=fused.occlusion[row],
        image_points=points,
        reprojection_error=placement.reprojection_error,
        raw_length=raw_length,
        depth_scale=float("nan") if fit is None else fit.scale,
    )


def _roll(angle: float) -> FloatArray:
    """Rotation `(3, 3)` about the viewing axis that undoes turning the picture anti-clockwise by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
