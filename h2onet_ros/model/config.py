"""Configuration of the network: which variant, and how wide."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

VARIANTS = ("single_frame", "multi_frame")
IMAGE_POINTS = ("regressed", "integral")
JOINTS = 21
IMAGE_SIZE = 128


def _scaled(channels: int, width: float, step: int = 8) -> int:
    """`channels * width`, rounded to the nearest multiple of `step`, at least one step."""
    return max(step, int(channels * width / step + 0.5) * step)


@dataclass(frozen=True)
class H2ONetConfig:
    """Variant and width of an H2ONet.

    Attributes:
        variant: "multi_frame" (occlusion classifier, finger-level and hand-level fusion over three frames)
            or "single_frame".
        width: factor on the number of channels of every hidden layer; 1.0 is the published network.
            The input (128 x 128) and the outputs keep their sizes.
        image_points: how a point's 16 x 16 map becomes its coordinates: "regressed" by fully connected
            layers, as published, or "integral", the mean of the map as a distribution over places ("Integral
            Human Pose Regression", ECCV 2018), which has nothing to learn.
    """

    variant: str = "multi_frame"
    width: float = 1.0
    image_points: str = "regressed"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}; got {self.variant!r}")
        if self.image_points not in IMAGE_POINTS:
            raise ValueError(
                f"image_points must be one of {', '.join(IMAGE_POINTS)}; got {self.image_points!r}"
            )
        if not 0.05 <= self.width <= 4.0:
            raise ValueError(
                f"width must lie between 0.05 and 4 (1.0 is the published network); got {self.width}"
            )

    @property
    def multi_frame(self) -> bool:
        return self.variant == "multi_frame"

    @property
    def frames(self) -> int:
        """Frames the network looks at: 3 (now, short-term past, long-term past) or 1."""
        return 3 if self.multi_frame else 1

    @property
    def base(self) -> int:
        """Channels at the input of the dense stacks (128); a multiple of 16 so that half of it stays even."""
        return _scaled(128, self.width, 16)

    @property
    def heatmaps(self) -> int:
        """Channels of a dense stack's decoder output (24). Never fewer, for 21 points are read from them."""
        return max(24, _scaled(24, self.width))

    @property
    def latent(self) -> int:
        """Channels of the feature map that is sampled at the 21 image points (256)."""
        return 2 * self.base

    @property
    def mesh_channels(self) -> tuple[int, int, int, int, int]:
        """Channels of the mesh features: before the first and after each of the four levels."""
        base = self.base
        return (2 * base, 2 * base, base, base // 2, base // 4)

    @property
    def vertex_features(self) -> int:
        """Channels of the finest mesh features (32): what the finger-level fusion works on."""
        return self.mesh_channels[-1]

    @property
    def orientation(self) -> int:
        """Length of the orientation feature (1024)."""
        return 8 * self.base

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
