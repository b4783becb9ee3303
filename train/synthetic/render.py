"""Render a data set of synthetic hands with exact labels.

    python -m train.synthetic.render --out FOLDER --count 20000 --seed 1 --workers 2 \\
        --skins SKINS --backgrounds BACKGROUNDS

The same seed and options give the same data, whatever the number of workers. Shards that exist are kept, so a
run that was interrupted (Ctrl-C is safe at any time) continues where it stopped, and a larger --count extends
a data set.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from h2onet_ros.hand.model import HandModel, open_hand
from train.synthetic.assemble import CROP_SIZE, SUPERSAMPLING, Assembler, RenderedFrame
from train.synthetic.backgrounds import BackgroundLibrary
from train.synthetic.geometry import HandSurface
from train.synthetic.poses import FAMILIES, PoseSampler
from train.synthetic.renderer import Renderer
from train.synthetic.sampler import SceneSampler
from train.synthetic.shards import FORMAT, shard_path, write_shard
from train.synthetic.textures import build_textures

GENERATOR = 4
"""Raised whenever a seed gives other data than before, so that no data set is continued with other rules."""

STORED_QUALITY = 92
# Scenes that hide the hand altogether are drawn anew, at most this often.
_ATTEMPTS = 4


@dataclass(frozen=True)
class Recipe:
    """What decides the content of a data set; stored beside it, and refused to be mixed with another."""

    seed: int = 1
    triplets: float = 0.5
    shard_size: int = 256
    skins: Path | None = None
    backgrounds: Path | None = None
    painted_skins: int = 16
    poses: Mapping[str, float] = field(default_factory=lambda: FAMILIES)

    def description(self, hand: HandModel) -> dict[str, Any]:
        """The content of `dataset.json`."""
        names = {
            key: sorted(p.name for p in folder.rglob("*") if p.is_file()) if folder else []
            for key, folder in (("skins", self.skins), ("backgrounds", self.backgrounds))
        }
        return {
            "format": FORMAT,
            "generator": GENERATOR,
            "image_size": CROP_SIZE,
            "hand_vertices": len(hand.template),
            "hand_sha256": sha256(np.ascontiguousarray(hand.template).tobytes()).hexdigest(),
            **{k: v for k, v in asdict(self).items() if k not in names},
            **names,
        }


class Factory:
    """Makes shards; one a process, since it owns a renderer."""

    def __init__(
        self, recipe: Recipe, hand: HandModel | None = None, tiles: tuple[int, int] = (8, 8)
    ) -> None:
        self.recipe = recipe
        surface = HandSurface(hand or open_hand())
        backgrounds = BackgroundLibrary(recipe.backgrounds)
        textures = build_textures(surface, recipe.skins, backgrounds.photographs, recipe.painted_skins)
        side = round(CROP_SIZE * SUPERSAMPLING)
        poses = PoseSampler(surface.hand, recipe.poses)
        self.sampler = SceneSampler(poses, textures, backgrounds, recipe.triplets)
        self.assembler = Assembler(surface, Renderer(textures.layers, (side, side), *tiles), backgrounds)

    def samples(self, first: int, count: int) -> list[list[RenderedFrame]]:
        """Samples `first` .. `first + count - 1` of the data set: each a list of one or three frames."""
        samples: dict[int, list[RenderedFrame]] = {}
        wanted = list(range(first, first + count))
        for attempt in range(_ATTEMPTS):
            scenes = []
            for index in wanted:
                rng = np.random.default_rng([self.recipe.seed, index, attempt])
                scenes.append((self.sampler.draw(rng), rng))
            samples.update(zip(wanted, self.assembler.render(scenes)))
            wanted = [index for index in wanted if not shows_a_hand(samples[index])]
            if not wanted:
                break
        return [samples[index] for index in range(first, first + count)]

    def shard(self, index: int, count: int) -> dict[str, np.ndarray]:
        """Arrays of shard `index` holding `count` samples, as `shards` describes."""
        samples: list[list[RenderedFrame]] = []
        first = index * self.recipe.shard_size
        for begin in range(0, count, 64):
            samples += self.samples(first + begin, min(64, count - begin))
        frames = [frame for sample in samples for frame in sample]
        lengths = np.array([len(sample) for sample in samples], np.int32)
        files = [_jpeg(frame.image) for frame in frames]
        return {
            "first_frame": (np.cumsum(lengths) - lengths).astype(np.int32),
            "frame_count": lengths,
            "jpeg": np.concatenate(files),
            "jpeg_offset": np.cumsum([0] + [len(file) for file in files]).astype(np.int64),
            **{key: np.stack([frame.labels[key] for frame in frames]) for key in frames[0].labels},
        }


def shows_a_hand(frames: list[RenderedFrame]) -> bool:
    """Whether there is something to see: a part of the hand now, or most of it a moment ago."""
    now, past = frames[0], frames[1:]
    seen = float(now.labels["visible_share"]) * now.in_view
    return seen > 0.25 or any(float(f.labels["visible_share"]) * f.in_view > 0.4 for f in past)


def _jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, STORED_QUALITY])[1].reshape(-1)


_factory: Factory | None = None


def _start_worker(recipe: Recipe) -> None:
    global _factory
    # Ctrl-C is the parent's business: it ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _factory = Factory(recipe)


def _make_shard(job: tuple[Path, int, int]) -> tuple[int, int]:
    folder, index, count = job
    assert _factory is not None
    arrays = _factory.shard(index, count)
    write_shard(shard_path(folder, index), arrays)
    return count, int(arrays["frame_count"].sum())


def missing_jobs(folder: Path, count: int, shard_size: int) -> list[tuple[Path, int, int]]:
    """Shards of a data set of `count` samples that are not on disk: (folder, index, samples)."""
    jobs = []
    for index in range(-(-count // shard_size)):
        if not shard_path(folder, index).exists():
            jobs.append((folder, index, min(shard_size, count - index * shard_size)))
    return jobs


def prepare_folder(folder: Path, description: dict[str, Any]) -> None:
    """Create the data set's folder, or check that it was begun with the same recipe.

    Raises:
        ValueError: it holds another data set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dataset.json"
    if path.exists():
        found = json.loads(path.read_text())
        different = sorted(key for key in description if found.get(key) != description[key])
        if different:
            raise ValueError(f"{folder} was begun with other {', '.join(different)}; choose another --out.")
    path.write_text(json.dumps(description, indent=1) + "\n")
    for leftover in folder.glob("*.partial"):
        leftover.unlink()


def render(folder: Path, count: int, recipe: Recipe, workers: int) -> tuple[int, int]:
    """Render what is missing of a data set; returns samples and frames made now."""
    from tqdm import tqdm

    os.environ["LP_NUM_THREADS"] = "0"
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    prepare_folder(folder, recipe.description(open_hand()))
    jobs = missing_jobs(folder, count, recipe.shard_size)
    samples = frames = 0
    pool = multiprocessing.get_context("spawn").Pool(workers, _start_worker, (recipe,))
    try:
        with tqdm(
            total=count, initial=count - sum(job[2] for job in jobs), unit="sample", smoothing=0.1
        ) as bar:
            for made, drawn in pool.imap_unordered(_make_shard, jobs):
                samples, frames = samples + made, frames + drawn
                bar.update(made)
                rate = bar.format_dict["rate"] or 0.0
                bar.set_postfix_str(f"{rate * frames / samples:.0f} frames/s")
        pool.close()
    finally:
        pool.terminate()
        pool.join()
    return samples, frames


def _family(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    if name not in FAMILIES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(FAMILIES)}, got {name!r}")
    try:
        share = float(weight or 1.0)
    except ValueError:
        share = np.nan
    if not 0 < share < np.inf:
        raise argparse.ArgumentTypeError(f"expected a positive weight, got {text!r}")
    return name, share


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--count", type=int, required=True, help="samples in all (a sample is 1 or 3 frames)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes, best one a core")
    parser.add_argument("--triplets", type=float, default=0.5, help="share of samples with two past frames")
    parser.add_argument("--shard-size", type=int, default=256, help="samples in a file")
    parser.add_argument(
        "--skins", type=Path, help="folder of MakeHuman skin textures (besides painted skins)"
    )
    parser.add_argument("--painted-skins", type=int, default=16, help="skins that the renderer makes up")
    parser.add_argument("--backgrounds", type=Path, help="folder made by train.fetch_backgrounds")
    parser.add_argument(
        "--poses",
        nargs="+",
        type=_family,
        metavar="NAME[=WEIGHT]",
        help=f"these families of poses only, as often as their weights tell, of {', '.join(FAMILIES)}",
    )
    arguments = parser.parse_args()
    for name in ("skins", "backgrounds"):
        folder = getattr(arguments, name)
        if folder is not None and not folder.is_dir():
            parser.error(f"--{name} {folder}: expected a folder, found none")
    if arguments.painted_skins < 1 and arguments.skins is None:
        parser.error("--painted-skins 0 leaves no skin: give --skins too")
    recipe = Recipe(
        seed=arguments.seed,
        triplets=arguments.triplets,
        shard_size=arguments.shard_size,
        skins=arguments.skins,
        backgrounds=arguments.backgrounds,
        painted_skins=arguments.painted_skins,
        poses=dict(arguments.poses) if arguments.poses else FAMILIES,
    )
    # Being ended by another program is no different from Ctrl-C, even where the shell has masked that.
    for cause in (signal.SIGINT, signal.SIGTERM):
        signal.signal(cause, signal.default_int_handler)
    try:
        samples, frames = render(arguments.out, arguments.count, recipe, arguments.workers)
    except KeyboardInterrupt:
        print("Stopped; finished shards are kept, the same command continues.", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(f"render: {error}", file=sys.stderr)
        return 1
    print(f"{samples} samples ({frames} frames) made in {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
