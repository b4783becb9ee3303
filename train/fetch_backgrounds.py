"""Collect photographs and light panoramas for the synthetic renderer from installable packages.

    python -m train.fetch_backgrounds FOLDER

Takes images out of Debian packages (`apt-get download`, `dpkg -x`; nothing is installed) and of the npm
package `@pmndrs/assets` (`npm pack`), and writes `FOLDER/photos/*.jpg` and `FOLDER/panoramas/*.npz`. The
pictures keep their own licences, listed in `FOLDER/licences/`: they are used to train with and are not passed
on.
"""

from __future__ import annotations

import argparse
import base64
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import cv2
import numpy as np

DEBIAN_PACKAGES = (
    "plasma-workspace-wallpapers",
    "mate-backgrounds",
    "lomiri-wallpapers-16.04",
    "blender-data",
)
NPM_PACKAGE = "@pmndrs/assets"
PHOTO_SIZE, PANORAMA_WIDTH = 1280, 1024

# Drawings and logos of these packages, which look like no place a camera sees.
_SKIP = re.compile(
    r"screenshot|/icons?/|matcap|/abstract/|/desktop/|studiolights/studio|scripts/|images_dark|\d{3,4}x(1920|1440|2880)\.|"
    r"/(Cluster|ColdRipple|Elarun|FlyingKonqui|Kay|Opal|Flow|Shell|Volna|Patak|Kite|Altai|MilkyWay|PastelHills|"
    r"SafeLanding|Honeywave|Grey|DarkestHour|IceCold|Kokkini|Canopee|Cascade)/"
)


class FetchError(RuntimeError):
    """A package could not be fetched or holds nothing usable."""


def _run(*command: str, cwd: Path) -> None:
    if shutil.which(command[0]) is None:
        raise FetchError(f"`{command[0]}` is not installed; it is needed to fetch the packages.")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise FetchError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()}")


def fetch(folder: Path) -> tuple[int, int]:
    """Fill `folder`; returns how many photographs and panoramas it got."""
    photos, panoramas, licences = (folder / name for name in ("photos", "panoramas", "licences"))
    for place in (photos, panoramas, licences):
        place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for package in DEBIAN_PACKAGES:
            _run("apt-get", "download", package, cwd=work)
            archive = next(work.glob(f"{package}_*.deb"))
            _run("dpkg", "-x", archive.name, package, cwd=work)
            _take_photos(work / package, photos)
            for path in sorted((work / package).rglob("studiolights/world/*.exr")):
                _save_panorama(read_exr(path), panoramas / f"blender_{path.stem}.npz")
            for copyright_file in (work / package).rglob(f"doc/{package}/copyright"):
                shutil.copy(copyright_file, licences / f"{package}.txt")
        _run("npm", "pack", NPM_PACKAGE, cwd=work)
        with tarfile.open(next(work.glob("*.tgz"))) as archive_file:
            archive_file.extractall(work / "npm", filter="data")
        shutil.copy(work / "npm/package/LICENSE", licences / "pmndrs-assets.txt")
        _take_wrapped_panoramas(work / "npm/package/hdri", panoramas, work)
    return len(list(photos.iterdir())), len(list(panoramas.iterdir()))


def _take_photos(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if (
            path.suffix.lower() not in (".jpg", ".jpeg", ".png")
            or path.is_symlink()
            or _SKIP.search(str(path))
        ):
            continue
        image = cv2.imread(str(path))
        if image is None or min(image.shape[:2]) < 480:
            continue
        scale = PHOTO_SIZE / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        stem = path.stem if not re.fullmatch(r"\d+x\d+", path.stem) else path.parts[-4]
        cv2.imwrite(str(target / f"{stem}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])


def read_exr(path: Path) -> np.ndarray:
    """An OpenEXR panorama as linear RGB `(H, W, 3)` float32."""
    import OpenEXR

    with OpenEXR.File(str(path)) as image:
        channels = image.channels()
        if "RGB" in channels:
            return np.asarray(channels["RGB"].pixels, np.float32)
        if "RGBA" in channels:
            return np.asarray(channels["RGBA"].pixels, np.float32)[..., :3]
        return np.stack([np.asarray(channels[c].pixels, np.float32) for c in "RGB"], 2)


def _save_panorama(radiance: np.ndarray, path: Path) -> None:
    size = (PANORAMA_WIDTH, PANORAMA_WIDTH // 2)
    shrinks = radiance.shape[1] > PANORAMA_WIDTH
    radiance = cv2.resize(radiance, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    np.savez_compressed(path, radiance=np.clip(radiance, 0, 6e4).astype(np.float16))


def _take_wrapped_panoramas(source: Path, target: Path, scratch: Path) -> None:
    """The npm package wraps each file in a module as base64."""
    for path in sorted(source.glob("*.exr.js")):
        found = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text())
        if not found:
            raise FetchError(f"{path.name} of {NPM_PACKAGE} holds no base64 data; the package has changed.")
        plain = scratch / "panorama.exr"
        plain.write_bytes(base64.b64decode(found.group(1)))
        _save_panorama(read_exr(plain), target / f"pmndrs_{path.name.split('.')[0]}.npz")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where photos/, panoramas/ and licences/ are written")
    try:
        photographs, panoramas = fetch(parser.parse_args().folder)
    except FetchError as error:
        print(f"fetch_backgrounds: {error}", file=sys.stderr)
        return 1
    print(f"{photographs} photographs, {panoramas} panoramas")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
