"""Crops of hands from what users have: folders and zip files of pictures, recordings and videos."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from h2onet_ros.engines import Engine, FrameFeatures, FusedHands, WeightsBundle

PICTURES = (".jpg", ".jpeg", ".png")
LABELS = "labels.npz"


class CropError(ValueError):
    """There are no crops to be had from a path; the message says why."""


@dataclass(frozen=True)
class CropSamples:
    """Crops as the network takes them, and the truth as far as it is known.

    Attributes:
        crops: (N, 3, size, size) float32 RGB in 0..1.
        joints: (N, 21, 3) metres, or None.
    """

    crops: np.ndarray
    joints: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.crops)

    def every(self, step: int, start: int = 0) -> CropSamples:
        """One in so many."""
        joints = None if self.joints is None else self.joints[start::step]
        return CropSamples(self.crops[start::step], joints)


def load_crops(
    path: str | Path, bundle: WeightsBundle, most: int, extent: float | None, engine: Engine | None = None
) -> CropSamples:
    """Up to `most` crops, spread evenly over what there is.

    Args:
        path: a folder or zip file of square pictures of right hands, with a `labels.npz` beside them or not
            (arrays `image`, names of pictures, and `joints` or `joints3d_world`, (N, 21, 3) metres); or a
            recording or a video, whose hands are found first.
        bundle: says how large a crop is.
        extent: side of a picture over the longer side of the hand in it; the bundle's own if None.
        engine: follows the hands of recordings.

    Raises:
        CropError: nothing usable is there.
    """
    path = Path(path)
    if not path.exists():
        raise CropError(
            f"{path} does not exist; give a folder or zip file of pictures, a recording or a video"
        )
    files = _files(path)
    names = sorted(name for name in files if name.lower().endswith(PICTURES))
    if not names:
        if engine is None:
            raise CropError(f"{path} holds no pictures ({', '.join(PICTURES)})")
        return CropSamples(_followed(path, engine, most))
    truth = _truth(files, path)
    if truth is not None:
        names = [name for name in names if name in truth]
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).astype(int))]
    scale = bundle.info.crop_scale / (extent or bundle.info.crop_scale)
    crops = np.stack([_crop(files[name].read(), path / name, bundle.image_size, scale) for name in chosen])
    return CropSamples(crops, None if truth is None else np.stack([truth[name] for name in chosen]))


class _File:
    """A file in a folder or in a zip file."""

    def __init__(self, path: Path, member: str | None = None) -> None:
        self._path, self._member = path, member

    def read(self) -> bytes:
        if self._member is None:
            return self._path.read_bytes()
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(self._member)


def _files(path: Path) -> dict[str, _File]:
    if path.is_dir():
        return {x.relative_to(path).as_posix(): _File(x) for x in path.rglob("*") if x.is_file()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name: _File(path, name) for name in archive.namelist()}
    return {}


def _truth(files: dict[str, _File], path: Path) -> dict[str, np.ndarray] | None:
    if LABELS not in files:
        return None
    try:
        with np.load(io.BytesIO(files[LABELS].read()), allow_pickle=False) as arrays:
            joints = arrays["joints" if "joints" in arrays else "joints3d_world"].astype(np.float64)
            names = [str(name) for name in arrays["image"]]
            right = arrays["right_hand_score"] > 0.5 if "right_hand_score" in arrays else np.ones(len(names))
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise CropError(f"{path}/{LABELS} needs image (N,) and joints (N, 21, 3): {error}") from error
    if joints.shape != (len(names), 21, 3):
        raise CropError(f"{path}/{LABELS}: expected joints ({len(names)}, 21, 3), got {joints.shape}")
    return {name: joints[i] for i, name in enumerate(names) if right[i] and np.isfinite(joints[i]).all()}


def _crop(content: bytes, name: Path, size: int, scale: float) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None or picture.shape[0] != picture.shape[1]:
        what = "no picture" if picture is None else f"{picture.shape[1]} x {picture.shape[0]}, not square"
        raise CropError(f"{name} is {what}")
    margin = round(len(picture) * max(0.0, 1 - scale) / 2)
    inner = picture[margin : len(picture) - margin, margin : len(picture) - margin, ::-1]
    return (
        cv2.resize(inner, (size, size), interpolation=cv2.INTER_AREA).transpose(2, 0, 1).astype(np.float32)
        / 255
    )


class _Collector:
    """An engine that keeps crops it is given: all at first, later every other one and so on, so that those
    kept are spread over all and are never more than twice as many as wanted."""

    def __init__(self, engine: Engine, wanted: int) -> None:
        self._engine = engine
        self.name, self.description, self.bundle = engine.name, engine.description, engine.bundle
        self.crops: list[np.ndarray] = []
        self._wanted = wanted
        self._seen, self._step = 0, 1

    def encode(self, crops: np.ndarray) -> FrameFeatures:
        for crop in crops:
            if self._seen % self._step == 0:
                self.crops.append(crop.copy())
            self._seen += 1
            if len(self.crops) > 2 * self._wanted:
                self.crops = self.crops[::2]
                self._step *= 2
        return self._engine.encode(crops)

    def fuse(self, now: FrameFeatures, short: FrameFeatures, long: FrameFeatures) -> FusedHands:
        return self._engine.fuse(now, short, long)


def _followed(path: Path, engine: Engine, most: int) -> np.ndarray:
    from h2onet_ros.perception.camera import Camera
    from h2onet_ros.perception.pipeline import HandPipeline
    from h2onet_ros.perception.types import Frame

    collector = _Collector(engine, most)
    pipeline = HandPipeline(collector)
    try:
        for stamp, rgb in _pictures(path):
            camera = Camera.assumed(rgb.shape[1], rgb.shape[0])
            pipeline.process(Frame(rgb, stamp, camera, "camera"))
    finally:
        pipeline.close()
    if not collector.crops:
        raise CropError(f"no hands were found in {path}")
    chosen = np.unique(np.linspace(0, len(collector.crops) - 1, min(most, len(collector.crops))).astype(int))
    return np.stack([collector.crops[i] for i in chosen])


def _pictures(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Stamps and RGB pictures of a recording or a video, with a progress bar."""
    from h2onet_ros.bag.errors import BagError
    from h2onet_ros.bag.progress import image_bar
    from h2onet_ros.bag.sources import BagSource, VideoSource
    from h2onet_ros.perception.image import ImageError, compressed_to_rgb, image_to_rgb

    try:
        if path.is_file() and path.suffix not in (".mcap", ".db3", ".bag"):
            video = VideoSource(path)
            with image_bar(video.frame_count) as bar:
                for picture in video.pictures():
                    assert picture.bgr is not None
                    yield picture.time, picture.bgr[..., ::-1].copy()
                    bar.update()
            return
        with closing(BagSource(path)) as bag, image_bar(bag.frame_count) as bar:
            for picture in bag.pictures():
                assert picture.image is not None
                message = bag.deserialize(picture.image)
                yield picture.time, compressed_to_rgb(message) if bag.is_compressed else image_to_rgb(message)
                bar.update()
    except (BagError, ImageError) as error:
        raise CropError(str(error)) from error
