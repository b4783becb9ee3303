"""The data sets of a run: those that its configuration names, from where the command line says they are."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from h2onet_ros.hand.mano import load_mano
from h2onet_ros.hand.model import HandModel, open_hand
from h2onet_ros.hand.topology import HandTopology
from train.batches import Ingredient
from train.config import RunConfig
from train.data import RealSource, SyntheticSource
from train.datasets import HandDataset, OrderedSource, open_dataset
from train.fit import Fits, fit
from train.real_crops import RealCrops

HO3D = ("ho3d_v2", "ho3d_v3")


class MissingDataError(ValueError):
    """A data set that the configuration names was not given."""


@dataclass
class RunData:
    """What a run is trained and validated on.

    Attributes:
        hand: the hand whose mesh all of it has.
        ingredients: the training sets by name.
        held_out: the validation sets by name.
    """

    hand: HandModel
    ingredients: dict[str, Ingredient] = field(default_factory=dict)
    held_out: dict[str, OrderedSource] = field(default_factory=dict)


_topologies: dict[bytes, HandTopology] = {}


def topology_of(hand: HandModel) -> HandTopology:
    """The hand's topology; made once for all stages of a configuration, since it takes seconds."""
    key = sha256(hand.template.tobytes() + hand.faces.tobytes()).digest()
    if key not in _topologies:
        _topologies[key] = HandTopology.from_hand(hand)
    return _topologies[key]


def add_data_options(parser: ArgumentParser) -> None:
    """The options that say where data sets lie."""
    group = parser.add_argument_group("where the data sets are (those that the configuration names)")
    group.add_argument("--dexycb", type=Path, metavar="FOLDER", help="DEX_YCB, with its annotations")
    group.add_argument("--ho3d", type=Path, metavar="FOLDER", help="HO3D v2 or v3, with its annotations")
    group.add_argument("--mano", type=Path, metavar="FILE", help="MANO_RIGHT.pkl, for DexYCB and HO3D")
    group.add_argument("--synthetic", type=Path, metavar="FOLDER", help="made by train.synthetic.render")
    group.add_argument("--test", type=Path, metavar="FOLDER", help="another such folder, not trained on")
    group.add_argument("--real", type=Path, metavar="PATH", help="folder or zip file of real crops")
    group.add_argument(
        "--fits",
        type=Path,
        metavar="FILE",
        help="of train.fit, for --real (default: made in the run's folder)",
    )


def open_data(config: RunConfig, where: Namespace, out: Path) -> RunData:
    """Open what a stage needs.

    Args:
        config: of the stage.
        where: the values of `add_data_options`.
        out: the run's folder, where fits are made if none are given.

    Raises:
        MissingDataError: a data set is not given.
        DataSetError, ShardError, RealCropsError, HandModelError: one cannot be used.
    """
    published = [name for name in config.data if name in ("dexycb", *HO3D)]
    if published and len(published) < len(config.data):
        raise ValueError(
            f"data: {', '.join(config.data)} have meshes of different hands (MANO and the open hand) and "
            "cannot be mixed"
        )
    data = _published(config, where, published) if published else _open_hand(config, where, out)
    if not data.ingredients:
        raise MissingDataError(f"nothing to train on: give {' or '.join(_options(config.data))}")
    return data


def _published(config: RunConfig, where: Namespace, names: list[str]) -> RunData:
    if where.mano is None:
        raise MissingDataError(
            f"{', '.join(names)} need the MANO hand: give --mano MANO_RIGHT.pkl (from mano.is.tue.mpg.de, "
            "after accepting its licence)"
        )
    mano = load_mano(where.mano)
    data = RunData(mano.hand)
    for name in names:
        options = config.data[name]
        root = where.dexycb if name == "dexycb" else where.ho3d
        if root is None:
            raise MissingDataError(f"the configuration trains on {name}: give {_options([name])[0]} FOLDER")

        def opened(split: str, name: str = name, root: Path = root) -> HandDataset:
            return open_dataset(
                name,
                root,
                split,
                mano,
                setup=config.data[name].setup,
                occlusion=config.network.multi_frame,
                on_error=config.data[name].on_error,
            )

        data.ingredients[name] = Ingredient(opened("train"), options.weight, options.photo)
        if options.validation:
            data.held_out[name] = opened(options.validation)
    return data


def _open_hand(config: RunConfig, where: Namespace, out: Path) -> RunData:
    hand = open_hand()
    data = RunData(hand)
    missing = [name for name in config.data if getattr(where, name) is None]
    if missing and not config.optional_data:
        raise MissingDataError(
            f"the configuration trains on {', '.join(missing)}: give {' and '.join(_options(missing))}"
        )
    if "synthetic" in config.data and where.synthetic:
        options = config.data["synthetic"]
        source = SyntheticSource(where.synthetic)
        data.ingredients["synthetic"] = Ingredient(source, options.weight, options.photo)
    if "real" in config.data and where.real:
        options = config.data["real"]
        crops = RealCrops.load(where.real)
        fits = load_fits(crops, hand, where.fits or out / "fits.npz")
        real, held_out = (RealSource(part, fits, hand, config.real_mesh_weight) for part in crops.split())
        data.ingredients["real"] = Ingredient(real, options.weight, options.photo)
        if len(held_out):
            data.held_out["real"] = held_out
    if where.test:
        data.held_out["synthetic"] = SyntheticSource(where.test)
    return data


def load_fits(crops: RealCrops, hand: HandModel, path: Path) -> Fits:
    """The fits in `path`, made now (minutes) if they are not there or not of these crops."""
    if path.exists():
        fits = Fits.load(path)
        if set(map(str, crops.names)) <= set(map(str, fits.names)):
            return fits
    fits = fit(crops, hand, progress=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.save(path)
    return fits


def _options(names: object) -> list[str]:
    return ["--ho3d" if name in HO3D else f"--{name}" for name in names]  # type: ignore[attr-defined]
