"""What lies behind the hand, and the light that comes with it.

A backgrounds folder holds `photos/*.jpg` and `panoramas/*.npz` (`radiance` `(H, W, 3)` float16, linear,
equirectangular, row 0 up); `python -m train.fetch_backgrounds FOLDER` makes one. Without a folder, made-up
surfaces and light serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from train.synthetic.textures import image_files, noise_surface, read_rgb

SH_COUNT = 9


@dataclass(frozen=True)
class Light:
    """Light of a scene in camera axes, linear RGB.

    `ambient` `(9, 3)`: irradiance as spherical harmonics, ready for `sh_basis`; `sun_direction` `(3,)` points
    to the sun, `sun` `(3,)` is its irradiance on a surface that faces it.
    """

    ambient: np.ndarray
    sun_direction: np.ndarray
    sun: np.ndarray


def sh_basis(direction: np.ndarray) -> np.ndarray:
    """The nine real spherical harmonics `(..., 9)` up to order two at unit vectors `(..., 3)`."""
    x, y, z = np.moveaxis(np.asarray(direction), -1, 0)
    one = np.ones_like(x)
    return np.stack(
        [
            0.282095 * one,
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        axis=-1,
    )


# Convolution of radiance with the clamped cosine, divided by pi (Ramamoorthi and Hanrahan, 2001).
_COSINE = np.array([1.0] + [2 / 3] * 3 + [0.25] * 5)


class Panorama:
    """A panorama as background and as light; world axes x right, y down, z forward (the image's centre)."""

    def __init__(self, radiance: np.ndarray) -> None:
        radiance = np.nan_to_num(radiance.astype(np.float32), posinf=6e4)
        height, width = radiance.shape[:2]
        small = cv2.resize(radiance, (128, 64), interpolation=cv2.INTER_AREA)
        azimuth = ((np.arange(128) + 0.5) / 128 - 0.5)[None, :] * 2 * np.pi + np.zeros((64, 1))
        elevation = (0.5 - (np.arange(64) + 0.5) / 64)[:, None] * np.pi + np.zeros((1, 128))
        direction = self._direction(azimuth, elevation)
        solid = np.cos(elevation) * (2 * np.pi / 128) * (np.pi / 64)
        mean = (small * solid[..., None]).sum((0, 1)) / (4 * np.pi)
        scale = 1.0 / max(float(mean.mean()), 1e-6)
        # The brightest spot becomes the sun, which casts the shadow; what is left lights from everywhere.
        luminance = small.mean(2) * scale
        cap = max(float(np.quantile(luminance, 0.985)), 1.0) * 1.5
        excess = np.clip(luminance - cap, 0, None)
        weight = excess * solid
        total = float(weight.sum())
        rest = small * scale * np.minimum(1.0, cap / np.maximum(luminance, 1e-6))[..., None]
        self.sun_direction = (
            (direction * weight[..., None]).sum((0, 1)) if total > 0 else np.array([0, -1.0, 0])
        )
        self.sun_direction /= max(float(np.linalg.norm(self.sun_direction)), 1e-9)
        colour = (small * scale * weight[..., None]).sum((0, 1)) / max(total, 1e-9)
        colour = 0.5 + 0.5 * colour / max(float(colour.mean()), 1e-6)
        self.sun = colour * min(total / np.pi, 6.0)
        # A camera's white balance takes half of the light's tint away.
        rest = 0.5 * rest + 0.5 * rest.mean(2, keepdims=True)
        self.harmonics = np.einsum("hwk,hwc,hw->kc", sh_basis(direction), rest, solid) * _COSINE[:, None]
        bright = np.clip(radiance * scale * 0.6, 0, None)
        shown = np.clip(bright / (1 + bright * 0.35), 0, 1) ** (1 / 2.2)
        self.image = (shown * 255).astype(np.uint8)
        self._size = (height, width)

    @staticmethod
    def _direction(azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
        flat = np.cos(elevation)
        return np.stack([np.sin(azimuth) * flat, -np.sin(elevation), np.cos(azimuth) * flat], -1)

    def view(self, camera: np.ndarray, size: tuple[int, int], rotation: np.ndarray) -> np.ndarray:
        """What a camera with intrinsics `(3, 3)` and camera-to-world `rotation` `(3, 3)` sees, RGB.

        `size` is (width, height).
        """
        u, v = np.meshgrid(np.arange(size[0], dtype=np.float64), np.arange(size[1], dtype=np.float64))
        rays = np.stack(
            [(u - camera[0, 2]) / camera[0, 0], (v - camera[1, 2]) / camera[1, 1], np.ones_like(u)], -1
        )
        rays = rays @ rotation.T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        height, width = self._size
        x = (np.arctan2(rays[..., 0], rays[..., 2]) / (2 * np.pi) + 0.5) * width - 0.5
        y = (0.5 + np.arcsin(np.clip(rays[..., 1], -1, 1)) / np.pi) * height - 0.5
        grid = (np.mod(x, width - 1).astype(np.float32), y.astype(np.float32))
        return cv2.remap(self.image, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def light(self, rotation: np.ndarray) -> Light:
        """Its light in the axes of a camera with camera-to-world `rotation`."""
        probes = _PROBES
        values = sh_basis(probes @ rotation.T) @ self.harmonics
        ambient = np.linalg.lstsq(sh_basis(probes), values, rcond=None)[0]
        return Light(ambient, rotation.T @ self.sun_direction, self.sun)


_PROBES = Rotation.random(40, random_state=0).apply(np.array([0, 0, 1.0]))


def random_light(rng: np.random.Generator, tint: np.ndarray | None = None) -> Light:
    """Light made up: one to three soft sources over a base, and a sun of random strength.

    `tint` is the mean linear colour of the background, which indoors and outdoors alike colours the light.
    """
    base = np.array([1.0, 1.0, 1.0]) if tint is None else tint / max(float(tint.mean()), 0.05)
    warmth = rng.normal(0, 0.12)
    base = (0.85 + 0.15 * np.clip(base, 0.4, 1.8)) * (1 + np.array([warmth, 0, -warmth]))
    radiance = np.tile(base * rng.uniform(0.35, 0.9), (len(_PROBES), 1))
    for _ in range(rng.integers(1, 4)):
        direction = rng.normal((0, -0.6, -0.3), 1)
        direction /= np.linalg.norm(direction)
        lobe = np.clip(_PROBES @ direction, 0, 1) ** 2
        shift = rng.normal(0, 0.08)
        radiance += lobe[:, None] * base * (1 + np.array([shift, 0, -shift])) * rng.uniform(0, 1.4)
    ambient = np.linalg.lstsq(sh_basis(_PROBES), radiance, rcond=None)[0]
    direction = rng.normal((0, -0.9, -0.5), 1)
    direction /= np.linalg.norm(direction)
    strength = rng.uniform(0, 0.5) if rng.random() < 0.4 else rng.uniform(0.3, 2.2)
    shift = rng.normal(0.04, 0.1)
    return Light(ambient, direction, np.clip(base * (1 + np.array([shift, 0, -shift])), 0, None) * strength)


@dataclass(frozen=True)
class Backdrop:
    """One choice of background and its light. `turn` is a panorama's camera-to-world rotation."""

    kind: str
    index: int
    turn: np.ndarray
    light: Light
    zoom: float
    corner: tuple[float, float]
    flip: bool
    softness: float


class BackgroundLibrary:
    """Photographs and panoramas of a folder, or made-up surfaces if it is None."""

    def __init__(self, folder: Path | None, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.photographs: list[np.ndarray] = []
        self.panoramas: list[Panorama] = []
        if folder is not None:
            self.photographs = [_limited(read_rgb(path)) for path in image_files(folder / "photos")]
            for path in sorted((folder / "panoramas").glob("*.npz")):
                with np.load(path, allow_pickle=False) as archive:
                    self.panoramas.append(Panorama(archive["radiance"]))
        self.surfaces = [noise_surface(rng) for _ in range(16)]

    def draw(self, rng: np.random.Generator) -> Backdrop:
        """Choose a background, its crop and its light."""
        kinds, weights = ["surface", "plain"], [0.08, 0.08]
        if self.photographs:
            kinds.append("photo")
            weights.append(0.5)
        if self.panoramas:
            kinds.append("panorama")
            weights.append(0.34)
        kind = str(rng.choice(kinds, p=np.asarray(weights) / sum(weights)))
        turn = Rotation.from_euler(
            "yxz", [rng.uniform(-180, 180), rng.normal(-5, 25), rng.normal(0, 8)], degrees=True
        ).as_matrix()
        index = int(rng.integers(2**31))
        if kind == "panorama":
            index %= len(self.panoramas)
            light = self.panoramas[index].light(turn)
        elif kind == "plain":
            light = random_light(rng)
        else:
            pool = self._pool(kind)
            index %= len(pool)
            light = random_light(rng, np.square(pool[index][::16, ::16].reshape(-1, 3) / 255.0).mean(0))
        return Backdrop(
            kind=kind,
            index=index,
            turn=turn,
            light=light,
            zoom=float(rng.uniform(0.3, 1.0)),
            corner=(float(rng.random()), float(rng.random())),
            flip=bool(rng.random() < 0.5),
            softness=float(max(0.0, rng.normal(0.3, 1.2))),
        )

    def _pool(self, kind: str) -> list[np.ndarray]:
        return self.photographs if kind == "photo" else self.surfaces

    def view(
        self, backdrop: Backdrop, camera: np.ndarray, size: int, shift: tuple[float, float]
    ) -> np.ndarray:
        """The background behind a crop: RGB `(size, size, 3)` uint8.

        `camera` `(3, 3)` are the crop's intrinsics; `shift` (fractions of the crop) moves a photograph along
        with the camera's own shaking.
        """
        if backdrop.kind == "panorama":
            image = self.panoramas[backdrop.index].view(camera, (size, size), backdrop.turn)
        elif backdrop.kind == "plain":
            image = _plain(backdrop.index, size)
        else:
            image = _window(self._pool(backdrop.kind)[backdrop.index], backdrop, size, shift)
        if backdrop.softness > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), backdrop.softness)
        return image[:, ::-1] if backdrop.flip and backdrop.kind != "panorama" else image


def _limited(image: np.ndarray, longest: int = 1280) -> np.ndarray:
    scale = longest / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _window(image: np.ndarray, backdrop: Backdrop, size: int, shift: tuple[float, float]) -> np.ndarray:
    side = max(size * 0.6, min(image.shape[:2]) * backdrop.zoom)
    x = np.clip(backdrop.corner[0] * (image.shape[1] - side) + shift[0] * side, 0, image.shape[1] - side)
    y = np.clip(backdrop.corner[1] * (image.shape[0] - side) + shift[1] * side, 0, image.shape[0] - side)
    part = image[int(y) : int(y + side), int(x) : int(x + side)]
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)


def _plain(seed: int, size: int) -> np.ndarray:
    """A wall: one colour, a soft gradient."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(0, 255) + rng.normal(0, 18, 3)
    corners = (colour + rng.normal(0, 22, (2, 2, 1)) + rng.normal(0, 4, (2, 2, 3))).clip(0, 255)
    return cv2.resize(corners.astype(np.uint8), (size, size), interpolation=cv2.INTER_LINEAR)
