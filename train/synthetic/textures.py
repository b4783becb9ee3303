"""The texture array of the renderer: skins (from files, or made here) and photographs for other surfaces.

Skins cover the rectangle of MakeHuman's texture space in which the hand lies; every layer is
`LAYER_SIZE` square RGB, row 0 at the lowest v.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from h2onet_ros.hand.model import HandModel
from train.synthetic.geometry import DORSAL, HandSurface

LAYER_SIZE = 512
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")

# Skin from very light to very dark, sRGB; tones between them are blends.
_TONES = np.array(
    [
        (244, 214, 196),
        (232, 190, 165),
        (214, 164, 132),
        (190, 136, 100),
        (150, 100, 70),
        (108, 70, 50),
        (70, 46, 36),
    ],
    np.float64,
)


@dataclass(frozen=True)
class TextureSet:
    """Layers `(n, LAYER_SIZE, LAYER_SIZE, 3)` uint8: first `skins` skins, then the other surfaces."""

    layers: np.ndarray
    skins: int

    def random_skin(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self.skins))

    def random_surface(self, rng: np.random.Generator) -> int:
        """A layer that is not skin."""
        return int(rng.integers(self.skins, len(self.layers)))


def image_files(folder: Path) -> list[Path]:
    """Images of a folder in a stable order.

    Raises:
        FileNotFoundError: there is none.
    """
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in _IMAGE_ENDINGS)
    if not files:
        raise FileNotFoundError(f"No {', '.join(_IMAGE_ENDINGS)} files in {folder}; name a folder of images.")
    return files


def read_rgb(path: Path) -> np.ndarray:
    """An image file as RGB `(H, W, 3)` uint8."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"{path} is not an image that OpenCV reads; remove it from the folder.")
    return image


def skin_from_file(path: Path, surface: HandSurface) -> np.ndarray:
    """The hand's part of a whole-body skin texture as a layer."""
    image = read_rgb(path)
    height, width = image.shape[:2]
    low, high = surface.uv_low, surface.uv_high
    step = (np.arange(LAYER_SIZE) + 0.5) / LAYER_SIZE
    x = (low[0] + step * (high[0] - low[0])) * width - 0.5
    y = (1 - (low[1] + step * (high[1] - low[1]))) * height - 0.5
    grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return cv2.remap(image, grid_x, grid_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


class SkinPainter:
    """Paints skins: tone, blotches, pores, lighter palms, redder knuckles and tips, creases, nails."""

    def __init__(self, surface: HandSurface) -> None:
        self._hand = surface.hand
        self._inside, self._position, self._normal, self._weights = _bake(surface)
        self._along = self._bone_coordinates(surface.hand)

    def paint(self, rng: np.random.Generator, tone: float | None = None) -> np.ndarray:
        """One random skin as a layer; `tone` from 0 (very light) to 6 (very dark) instead of a random one."""
        place = rng.uniform(0, len(_TONES) - 1) if tone is None else tone
        base = np.array([np.interp(place, range(len(_TONES)), _TONES[:, c]) for c in range(3)]) / 255
        base = np.clip(base * rng.normal(1, 0.02, 3), 0.05, 1)
        darkness = place / (len(_TONES) - 1)
        skin = np.broadcast_to(base, (*self._inside.shape, 3)).copy()
        palm = np.clip(0.5 - self._normal @ DORSAL * 1.2, 0, 1)[..., None]
        light_palm = np.clip(base * (1.05 + 0.6 * darkness) + (0.03, 0.0, 0.0), 0, 1)
        skin = skin * (1 - palm * 0.8) + light_palm * palm * 0.8
        blotch = (
            self._noise(rng, 0.012) * 0.022
            + self._noise(rng, 0.004) * 0.02
            + self._noise(rng, 0.0012) * 0.025
        )
        skin *= 1 + blotch[..., None]
        skin *= 1 + self._noise(rng, 0.02)[..., None] * np.array([0.01, -0.012, -0.01])
        knuckle, crease, tip, nail = self._along
        red = (knuckle * (1 - palm[..., 0]) * rng.uniform(0.2, 1) + tip * rng.uniform(0, 0.8))[..., None]
        skin *= 1 - red * np.array([0.0, 0.12, 0.13]) * rng.uniform(0.4, 1.2)
        skin *= 1 - (crease * (0.35 + 0.65 * palm[..., 0]))[..., None] * rng.uniform(0.06, 0.22)
        veins = np.exp(-np.square(self._noise(rng, 0.011) / 0.16)) * (1 - palm[..., 0]) * (1 - knuckle)
        skin *= 1 - veins[..., None] * np.array([0.09, 0.05, 0.02]) * rng.uniform(0, 1)
        nail_colour = np.clip(base * 0.75 + np.array([0.26, 0.2, 0.2]), 0, 1)
        if tone is None and rng.random() < 0.12:
            nail_colour = rng.uniform(0.05, 0.9, 3)
        skin = skin * (1 - nail[..., None]) + nail_colour * nail[..., None]
        layer = np.clip(skin * 255, 0, 255).astype(np.uint8)
        return _spread_outwards(layer, self._inside)

    def _noise(self, rng: np.random.Generator, size: float) -> np.ndarray:
        """Smooth noise over the hand's surface with features of `size` metres, about unit spread."""
        position = self._position[self._inside]
        low = position.min(0)
        cells = np.ceil((position.max(0) - low) / size).astype(int) + 2
        lattice = rng.normal(0, 1.7, tuple(cells)).astype(np.float32)
        at = (position - low) / size
        whole = np.floor(at).astype(int)
        part = at - whole
        part = part * part * (3 - 2 * part)
        value = map_coordinates(lattice, (whole + part).T, order=1)
        out = np.zeros(self._inside.shape)
        out[self._inside] = value
        return out

    def _bone_coordinates(self, hand: HandModel) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Masks in [0, 1] of knuckles, creases, fingertips and nails, by place along the finger."""
        template = np.asarray(hand.template, np.float64)
        joints = hand.joints(template)
        knuckle, crease, tip, nail = (np.zeros(self._inside.shape) for _ in range(4))
        position = self._position
        for finger in range(5):
            own = self._weights == finger
            chain = joints[1 + 4 * finger : 5 + 4 * finger]
            for joint in chain[0 if finger else 1 : 3]:
                distance = np.linalg.norm(position - joint, axis=2)
                knuckle += np.exp(-np.square(distance / 0.012))
                bone = chain[-1] - chain[-2]
                along = (position - joint) @ (bone / np.linalg.norm(bone))
                crease += own * (
                    np.exp(-np.square(along / 0.0012)) + 0.6 * np.exp(-np.square((along - 0.004) / 0.001))
                )
            bone = chain[3] - chain[2]
            length = np.linalg.norm(bone)
            along = (position - chain[2]) @ (bone / length) / length
            tip += own * np.clip((along - 0.55) / 0.35, 0, 1)
            # The nail faces away from the pad, to which flexion turns the tip.
            flexion = np.asarray(hand.joint_axes)[[15, 3, 6, 12, 9][finger], :, 0]
            back = -np.cross(flexion, bone / length)
            facing = np.clip((self._normal @ back - 0.62) / 0.12, 0, 1)
            length_wise = np.clip((along - 0.48) / 0.06, 0, 1) * np.clip((1.03 - along) / 0.04, 0, 1)
            nail += own * facing * length_wise
        return tuple(np.clip(mask, 0, 1) for mask in (knuckle, crease, tip, nail))  # type: ignore[return-value]


def _bake(surface: HandSurface) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What each texel is: inside a face, its rest position and normal `(N, N, 3)`, and its part."""
    size = LAYER_SIZE
    template = np.asarray(surface.hand.template, np.float32)
    normals = surface.normals(template[None])[0]
    inside = np.zeros((size, size), bool)
    position, normal = np.zeros((size, size, 3)), np.zeros((size, size, 3))
    part = np.full((size, size), 5)
    corners = (surface.texture * size - 0.5).reshape(-1, 3, 2)
    for face, (a, b, c) in enumerate(corners):
        low = np.floor(np.minimum(np.minimum(a, b), c)).astype(int).clip(0)
        high = np.ceil(np.maximum(np.maximum(a, b), c)).astype(int).clip(None, size - 1)
        y, x = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
        area = np.linalg.det(np.stack([b - a, c - a]))
        if abs(area) < 1e-9:
            continue
        wb = ((x - a[0]) * (c - a)[1] - (y - a[1]) * (c - a)[0]) / area
        wc = ((b - a)[0] * (y - a[1]) - (b - a)[1] * (x - a[0])) / area
        weights = np.stack([1 - wb - wc, wb, wc], 2)
        hit = (weights > -0.02).all(2)
        rows, columns = y[hit], x[hit]
        vertices = surface.faces[face]
        inside[rows, columns] = True
        position[rows, columns] = weights[hit] @ template[vertices]
        normal[rows, columns] = weights[hit] @ normals[vertices]
        part[rows, columns] = surface.face_part[face]
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-9)
    return inside, position, normal, part


def _spread_outwards(layer: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fill what lies outside the texture's islands with the nearest colour, lest mipmaps bleed at seams."""
    _, nearest = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    palette = np.zeros((nearest.max() + 1, 3), np.uint8)
    palette[nearest[inside]] = layer[inside]
    return palette[nearest]


def noise_surface(rng: np.random.Generator) -> np.ndarray:
    """A made-up surface as a layer: noise of several sizes, stripes, checks or cloth in two colours."""
    size = LAYER_SIZE
    value = np.zeros((size, size), np.float32)
    for octave in range(2, 8):
        cells = rng.random((2**octave, 2**octave)).astype(np.float32)
        value += cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC) * rng.uniform(0, 1) / octave
    y, x = np.mgrid[:size, :size] / size
    kind = rng.integers(4)
    if kind == 1:
        value += rng.uniform(1, 4) * (
            np.sin(2 * np.pi * int(rng.integers(2, 24)) * (x if rng.random() < 0.5 else y)) > 0
        )
    elif kind == 2:
        count = int(rng.integers(2, 16))
        value += rng.uniform(1, 4) * ((np.floor(x * count * 2) + np.floor(y * count * 2)) % 2)
    elif kind == 3:
        value = value * 0.2 + rng.random((size, size)).astype(np.float32) * 0.5
    value = (value - value.min()) / np.ptp(value)
    first, second = rng.uniform(0, 255, (2, 3)) * rng.uniform(0.2, 1)
    return (first + (second - first) * value[..., None]).astype(np.uint8)


def build_textures(
    surface: HandSurface,
    skins_folder: Path | None,
    photographs: list[np.ndarray],
    painted: int,
    seed: int = 1,
) -> TextureSet:
    """All layers: skins from `skins_folder` (if any) and `painted` ones, then photographs and made-up
    surfaces.

    `photographs` are RGB uint8 images. The same arguments give the same layers.
    """
    rng = np.random.default_rng(seed)
    skins = [skin_from_file(path, surface) for path in image_files(skins_folder)] if skins_folder else []
    painter = SkinPainter(surface)
    skins += [painter.paint(rng) for _ in range(painted)]
    surfaces = []
    for photograph in photographs:
        side = min(photograph.shape[:2])
        top = rng.integers(photograph.shape[0] - side + 1)
        left = rng.integers(photograph.shape[1] - side + 1)
        square = photograph[top : top + side, left : left + side]
        surfaces.append(cv2.resize(square, (LAYER_SIZE, LAYER_SIZE), interpolation=cv2.INTER_AREA))
    surfaces += [noise_surface(rng) for _ in range(24)]
    return TextureSet(np.stack(skins + surfaces), len(skins))
