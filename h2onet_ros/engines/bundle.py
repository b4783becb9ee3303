"""Weights bundles: a folder with the exported networks and everything needed to run them.

bundle.json     what this is, where it comes from, and the SHA-256 of the other files
encode.onnx     one crop of one moment -> features
fuse.onnx       features of three moments -> oriented mesh
topology.npz    template, faces, parts, joint regressor, mesh hierarchy
README.md       the same as bundle.json tells, for people; not needed
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from h2onet_ros.engines.bundle_readme import README, bundle_readme
from h2onet_ros.hand.topology import HandTopology

FORMAT = "h2onet_ros weights"
VERSION = 1
PACKAGED = Path(__file__).resolve().parents[1] / "assets" / "weights"
ENCODE, FUSE, TOPOLOGY, INFO = "encode.onnx", "fuse.onnx", "topology.npz", "bundle.json"
CONTENT = (ENCODE, FUSE, TOPOLOGY)
INT8_SUFFIXES = {"openvino": (".xml", ".bin"), "onnxruntime": (".onnx",), "tensorrt": (".onnx",)}


_ALL_INT8_FILES = {
    f"encode.int8-{engine}{suffix}" for engine, suffixes in INT8_SUFFIXES.items() for suffix in suffixes
}


class BundleError(ValueError):
    """A folder is not a usable weights bundle. The message says why and what to do."""


def packaged_bundles() -> dict[str, Path]:
    """Folders of the weights that come with the package, by name; `default` is first."""
    folders = [path.parent for path in PACKAGED.glob(f"*/{INFO}")]
    return {f.name: f for f in sorted(folders, key=lambda f: (f.name != "default", f.name))}


def bundle_path(given: str | Path | None = None) -> Path:
    """The folder of a bundle.

    Args:
        given: a folder, the name of weights that come with the package (a folder of that name goes first), or
            nothing for the package's default.
    """
    packaged = PACKAGED / (given or "default")
    if not given or (len(Path(given).parts) == 1 and not Path(given).exists() and packaged.is_dir()):
        return packaged
    return Path(given)


def int8_files(engine: str) -> tuple[str, ...]:
    """Names of the files that hold an engine's 8 bit encoding network; the first is the one to open."""
    return tuple(f"encode.int8-{engine}{suffix}" for suffix in INT8_SUFFIXES.get(engine, ()))


@dataclass(frozen=True)
class BundleInfo:
    """What `bundle.json` tells.

    Attributes:
        name: of the weights.
        variant: "single_frame" or "multi_frame".
        width: of the network; 1.0 as published.
        hand: which hand the mesh is, "open_hand" for ours.
        licence: of the weights.
        training_data: what they were trained on.
        vertex_features: channels of the mesh features of a moment (0 in single-frame bundles).
        orientation: length of the orientation feature.
        precision: how the weights are stored, "float16" or "float32"; computed in float32 either way.
        temporal_offsets_s: age of the short-term and the long-term past moment, seconds.
        crop_scale: side of the crop over the longer side of the box of the hand's image points.
        image_size: side of the crop, pixels.
        upright: whether crops are turned until the hand stands upright; the published weights' are not.
        metrics: measured errors, name to value, as far as known.
        int8_loss_mm: engines that the bundle holds an 8 bit encoding network for, and the PA-MPJPE that it
            costs, millimetres.
    """

    name: str
    variant: str
    width: float
    hand: str
    licence: str
    training_data: str
    vertex_features: int
    orientation: int
    precision: str = "float16"
    temporal_offsets_s: tuple[float, float] = (0.17, 0.33)
    crop_scale: float = 1.5
    image_size: int = 128
    upright: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    int8_loss_mm: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.variant not in ("single_frame", "multi_frame"):
            raise ValueError(f"variant must be single_frame or multi_frame, got {self.variant!r}")
        short, long = self.temporal_offsets_s
        if not 0 < short < long:
            raise ValueError(
                f"temporal_offsets_s must be (short, long) with 0 < short < long, got {short}, {long}"
            )
        if self.crop_scale <= 0 or self.image_size <= 0:
            raise ValueError("crop_scale and image_size must be positive")


@dataclass(frozen=True)
class WeightsBundle:
    """A checked weights bundle.

    Attributes:
        folder: where it lies.
        info: what `bundle.json` tells.
        topology: mesh and joints of the hand it predicts.
        digest: hexadecimal SHA-256 over the content, for caches.
    """

    folder: Path
    info: BundleInfo
    topology: HandTopology
    digest: str

    @property
    def multi_frame(self) -> bool:
        return self.info.variant == "multi_frame"

    @property
    def image_size(self) -> int:
        return self.info.image_size

    @property
    def vertex_features(self) -> int:
        return self.info.vertex_features

    @property
    def orientation(self) -> int:
        return self.info.orientation

    def int8_path(self, engine: str) -> Path | None:
        """The 8 bit encoding network for an engine, if the bundle holds one."""
        return self.folder / int8_files(engine)[0] if engine in self.info.int8_loss_mm else None

    @property
    def encode_path(self) -> Path:
        return self.folder / ENCODE

    @property
    def fuse_path(self) -> Path:
        return self.folder / FUSE

    @classmethod
    def load(cls, given: str | Path | None = None) -> WeightsBundle:
        """Read and check a bundle.

        Args:
            given: as of `bundle_path`.

        Raises:
            BundleError: missing, of another kind, made by a newer version, or damaged.
        """
        folder = bundle_path(given)
        document = _read_document(folder)
        checksums = document.get("sha256")
        if not isinstance(checksums, dict) or not all(
            isinstance(checksums.get(name), str) for name in CONTENT
        ):
            raise BundleError(
                f"{folder / INFO} lists no checksums of {', '.join(CONTENT)}; export the weights again"
            )
        digest = hashlib.sha256()
        for name in (*CONTENT, *sorted(set(checksums) & _ALL_INT8_FILES)):
            actual = _checksum(folder / name)
            if actual != checksums[name]:
                raise BundleError(
                    f"{folder / name} is damaged: its SHA-256 is {actual[:12]}..., the bundle says "
                    f"{checksums[name][:12]}...; copy or export the weights again"
                )
            digest.update(actual.encode())
        try:
            info = _parse_info(document.get("info"))
            topology = HandTopology.load(folder / TOPOLOGY)
        except (ValueError, TypeError, OSError, BadZipFile) as error:
            raise BundleError(f"weights bundle {folder}: {error}; export the weights again") from error
        absent = {name for engine in info.int8_loss_mm for name in int8_files(engine)} - set(checksums)
        if absent:
            raise BundleError(
                f"{folder / INFO} lists no checksums of {', '.join(sorted(absent))}; export again"
            )
        return cls(folder, info, topology, digest.hexdigest())


def with_int8(
    bundle: WeightsBundle,
    folder: str | Path,
    networks: Mapping[str, bytes],
    loss_mm: Mapping[str, float],
    overwrite: bool = False,
) -> WeightsBundle:
    """A copy of a bundle with other 8 bit networks; atomic.

    Args:
        networks: files by the names of `int8_files`.
        loss_mm: what they cost, by engine.

    Raises:
        BundleError: as `write_bundle`.
    """
    info = replace(bundle.info, int8_loss_mm=dict(loss_mm))
    encode, fuse = bundle.encode_path.read_bytes(), bundle.fuse_path.read_bytes()
    return write_bundle(folder, info, bundle.topology, encode, fuse, overwrite, networks)


def write_bundle(
    folder: str | Path,
    info: BundleInfo,
    topology: HandTopology,
    encode: bytes,
    fuse: bytes,
    overwrite: bool = False,
    int8: Mapping[str, bytes] | None = None,
) -> WeightsBundle:
    """Write a bundle; the folder appears complete or not at all.

    Args:
        encode, fuse: serialised ONNX networks.
        overwrite: replace the bundle that is there. A folder that is no bundle is never replaced.
        int8: files of 8 bit networks, by the names of `int8_files`; `info.int8_loss_mm` tells of them.

    Raises:
        BundleError: the folder exists, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (overwrite and (folder / INFO).is_file()):
        hint = (
            "choose another folder or allow overwriting"
            if (folder / INFO).is_file()
            else "it is no weights bundle"
        )
        raise BundleError(f"{folder} exists already; {hint}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise BundleError(f"cannot write weights bundle {folder}: {error}") from error
    try:
        (partial / ENCODE).write_bytes(encode)
        (partial / FUSE).write_bytes(fuse)
        topology.save(partial / TOPOLOGY)
        for name, content in (int8 or {}).items():
            (partial / name).write_bytes(content)
        document = {
            "format": FORMAT,
            "version": VERSION,
            "info": asdict(info),
            "sha256": {name: _checksum(partial / name) for name in (*CONTENT, *(int8 or {}))},
        }
        (partial / INFO).write_text(
            json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (partial / README).write_text(bundle_readme(info), encoding="utf-8")
        partial.chmod(0o755)
        for path in partial.iterdir():
            _flush_to_disk(path)
        _replace_folder(partial, folder)
    except OSError as error:
        raise BundleError(f"cannot write weights bundle {folder}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return WeightsBundle.load(folder)


def _replace_folder(new: Path, folder: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
    folder.rename(old / folder.name)
    try:
        new.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError as error:
        raise BundleError(
            f"weights bundle {path.parent} lacks {path.name}; copy or export it again"
        ) from error
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error}") from error
    return digest.hexdigest()


def _read_document(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise BundleError(
            f"weights bundle {folder} {what}; give the folder that holds {INFO}, or the name of weights that "
            f"come along: {', '.join(packaged_bundles()) or 'none do'}"
        )
    try:
        document = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{folder} is no weights bundle: it has no {INFO}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder / INFO} cannot be read: {error}; copy or export it again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise BundleError(
            f"{folder / INFO} does not describe weights: expected format {FORMAT!r}, found {found!r}"
        )
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise BundleError(f"{folder / INFO}: version must be a positive number, found {version!r}")
    if version > VERSION:
        raise BundleError(
            f"weights bundle {folder} has format version {version}, this software reads up to {VERSION}; "
            "update the software"
        )
    return document


def _parse_info(values: Any) -> BundleInfo:
    if not isinstance(values, dict):
        raise ValueError(f"{INFO} has no 'info'")
    known = {f.name for f in fields(BundleInfo)}
    missing = {"name", "variant", "width", "hand", "licence", "training_data"} - values.keys()
    if missing:
        raise ValueError(f"{INFO} lacks {', '.join(sorted(missing))}")
    chosen = {name: value for name, value in values.items() if name in known}
    offsets = chosen.get("temporal_offsets_s", (0.17, 0.33))
    chosen["temporal_offsets_s"] = tuple(float(x) for x in offsets)
    return BundleInfo(**chosen)
