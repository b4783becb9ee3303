"""Training configurations: YAML files that name a network, its data, and one or more stages of training."""

from __future__ import annotations

import types
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from h2onet_ros.model import H2ONetConfig
from train.augment import PhotoJitter
from train.batches import Mixture
from train.optimisation import Optimisation

FOLDER = Path(__file__).resolve().parents[1] / "config" / "train"
"""Where the configurations lie that come along."""

DATA_SETS = ("synthetic", "real", "dexycb", "ho3d_v2", "ho3d_v3")


@dataclass(frozen=True)
class DataOptions:
    """One data set of a mixture.

    Attributes:
        weight: how often it is drawn from, relative to the others.
        setup: of DexYCB, s0 to s3.
        validation: split that the run is validated on; nothing: not on this data set.
        on_error: "stop" at a sample that cannot be used, or "skip" it with a warning.
        photo: how its pictures vary, if not as the mixture says (upright crops only).
    """

    weight: float = 1.0
    setup: str = "s0"
    validation: str = ""
    on_error: Literal["stop", "skip"] = "stop"
    photo: PhotoJitter | None = None


@dataclass(frozen=True)
class RunConfig:
    """One stage of training; the YAML files hold these names.

    Attributes:
        optimisation: length, learning rate, losses.
        network: variant and width.
        data: the data sets, by name; where they lie says the command line.
        mixture: batches and augmentation.
        description: a line for `--list`.
        start: what the weights are taken from: another stage of the same file, or FILE/STAGE.
        seed: of the first weights and of all batches.
        real_mesh_weight: weight of the 3D terms where the mesh was fitted to landmarks.
        best: validation figure of which the smallest makes the best checkpoint; nothing: the first that
            ends in pa_mpjpe_mm, else in uv_mean.
        log_every, save_every, validate_every: steps between them.
        validation_samples: of each held-out set.
        workers, threads: loading processes, threads of the computation.
        optional_data: data sets that are not given are left out, instead of stopping.
    """

    optimisation: Optimisation
    network: H2ONetConfig = field(default_factory=H2ONetConfig)
    data: dict[str, DataOptions] = field(
        default_factory=lambda: {"synthetic": DataOptions(), "real": DataOptions()}
    )
    mixture: Mixture = field(default_factory=Mixture)
    description: str = ""
    start: str = ""
    seed: int = 1
    real_mesh_weight: float = 0.5
    best: str = ""
    log_every: int = 20
    save_every: int = 200
    validate_every: int = 1000
    validation_samples: int = 256
    workers: int = 1
    threads: int = 2
    optional_data: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.data) - set(DATA_SETS))
        if unknown:
            raise ValueError(f"data: unknown {', '.join(unknown)}; known are {', '.join(DATA_SETS)}")

    @classmethod
    def load(cls, path: str | Path) -> RunConfig:
        """Read the YAML file of one stage, such as a run folder's.

        Raises:
            ValueError: an unknown name or a wrong value, named with its place; or several stages.
            OSError: the file cannot be read.
        """
        plan = Plan.load(path)
        if len(plan.stages) != 1:
            raise ValueError(f"{path} has several stages ({', '.join(plan.stages)})")
        return next(iter(plan.stages.values()))

    def save(self, path: Path) -> None:
        """Write the configuration so that `load` gives it again."""
        path.write_text(yaml.safe_dump(_plain(asdict(self)), sort_keys=False, width=110))


@dataclass(frozen=True)
class Plan:
    """A configuration file: its stages in order. A file without stages is one stage without a name."""

    name: str
    stages: dict[str, RunConfig]

    @classmethod
    def load(cls, which: str | Path, changes: Sequence[str] = ()) -> Plan:
        """Read a configuration.

        Args:
            which: the name of one that comes along, or a file.
            changes: `NAME=VALUE` with dots between names, for all stages, or `STAGE:NAME=VALUE`.

        Raises:
            ValueError: an unknown name or a wrong value, named with its place.
            OSError: the file cannot be read.
        """
        path = find(which)
        try:
            content = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected names and values, got {content!r}")
        stages = content.pop("stages", None) or {"": {}}
        if not isinstance(stages, dict) or not all(isinstance(own, dict | None) for own in stages.values()):
            raise ValueError(f"{path}: stages must be names with their own values below, got {stages!r}")
        configs = {}
        for name, own in stages.items():
            merged = _merged(content, own or {})
            for change in changes:
                _apply(change, name, list(stages), merged)
            configs[str(name)] = _build(RunConfig, merged, f"{path}{f', {name}' if name else ''}")
        return cls(path.stem, configs)


def find(which: str | Path) -> Path:
    """The file of a configuration, by path or by the name of one that comes along."""
    path = Path(which)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = {p.stem: p for p in FOLDER.glob("*.yaml")}
    if str(which) not in known:
        raise ValueError(
            f"no configuration {str(which)!r}: give a .yaml file or one of {', '.join(sorted(known))}"
        )
    return known[str(which)]


def changed(old: RunConfig, new: RunConfig) -> list[str]:
    """What differs between two configurations, as `name: old -> new`."""
    before, after = (_flat(_plain(asdict(config))) for config in (old, new))
    names = dict.fromkeys([*before, *after])
    return [
        f"{name}: {before.get(name)} -> {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _apply(change: str, stage: str, stages: list[str], content: dict[str, Any]) -> None:
    target, equals, text = change.partition("=")
    if not equals:
        raise ValueError(f"--set {change}: expected NAME=VALUE, for example optimisation.learning_rate=0.001")
    only, colon, name = target.partition(":")
    if colon and only not in stages:
        raise ValueError(f"--set {change}: no stage {only!r}; there are {', '.join(filter(None, stages))}")
    if colon and only != stage:
        return
    *outer, last = (name if colon else target).split(".")
    place = content
    for part in outer:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise ValueError(f"--set {change}: {part} has no names below it")
    place[last] = yaml.safe_load(text)
    length = {"steps": "epochs", "epochs": "steps"}
    if outer == ["optimisation"] and last in length:
        place.pop(length[last], None)
        if last == "steps":
            place.pop("milestones", None)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = deepcopy(base)
    for name, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        # A stage that names its data sets means these alone.
        merged[name] = _merged(merged[name], value) if both and name != "data" else deepcopy(value)
    return merged


def _build(kind: Any, content: Any, where: str) -> Any:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected names and values, got {content!r}")
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in content.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type that a field asks for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}: expected {' or '.join(map(repr, arguments))}, got {value!r}")
        return value
    if is_dataclass(hint):
        return _build(hint, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected names and values, got {value!r}")
        return {
            str(key): _value(arguments[1], {} if item is None else item, f"{where}: {key}")
            for key, item in value.items()
        }
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, got {value!r}")
        return tuple(_value(arguments[0], item, where) for item in value)
    if hint is float and isinstance(value, str | int) and not isinstance(value, bool):
        # YAML reads 1e-3, without a dot, as text.
        try:
            return float(value)
        except ValueError:
            pass
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: expected {hint.__name__}, got {value!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
