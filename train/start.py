"""Where a run's first weights come from: another run, a bundle, or the backbone of MobRecon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from h2onet_ros.engines import BundleError
from h2onet_ros.model import H2ONet
from h2onet_ros.model.reference import ReferenceImportError, convert_state_dict, load_checkpoint
from h2onet_ros.model.weights import load_network as load_bundle_network
from train.checkpoint import TrainingError, best_checkpoint, load_network
from train.widen import widen

BACKBONE = "backbone."


def start_from(network: H2ONet, source: Path, same: bool = False) -> str:
    """Take over the weights of another network as far as names and shapes are the same.

    A multi-frame network can begin with a single-frame one: what it has beyond that keeps its first weights.
    One of half the width is widened, which changes nothing in what it computes.

    Args:
        network: changed in place.
        source: a run (its best checkpoint), a checkpoint file of a run, or a weights bundle.
        same: it must be a network of the same configuration.

    Returns:
        What was taken, for the log.

    Raises:
        TrainingError: nothing to start from there, or it is a network of a width neither equal nor half.
    """
    if (source / "bundle.json").exists():
        try:
            other = load_bundle_network(source)
        except BundleError as error:
            raise TrainingError(str(error)) from error
    else:
        other, _ = load_network(best_checkpoint(source) if source.is_dir() else source)
    if same and other.config != network.config:
        raise TrainingError(
            f"{source} is {other.config}, the configuration's is {network.config}: parts of a network are "
            "trained on top of the same network's other parts; change `network` to its values"
        )
    if replace(other.config, width=2 * other.config.width) == network.config:
        try:
            network.load_state_dict(widen(other, network))
        except ValueError as error:
            raise TrainingError(f"{source}: {error}") from error
        return f"starts from {source}, of width {other.config.width:g}: each channel is there twice now"
    if other.config.width != network.config.width:
        raise TrainingError(
            f"{source} is a {other.config.variant} network of width {other.config.width:g}, the "
            f"configuration's is a {network.config.variant} one of {network.config.width:g}: a network "
            "of the same width fits, or one of half the width that is otherwise the same, which is widened"
        )
    return _take(network, other.state_dict(), source)


def start_backbone(network: H2ONet, path: Path) -> str:
    """Take over MobRecon's pre-trained backbone, `densestack.pth`; the file is untrusted, no code in it runs.

    Returns:
        What was taken, for the log.

    Raises:
        TrainingError: not such a file, or the network is not of the published width.
    """
    try:
        state = load_checkpoint(path)
    except (OSError, ReferenceImportError) as error:
        raise TrainingError(f"densestack: {error}") from error
    named = {f"{BACKBONE}{name.removeprefix(BACKBONE)}": value for name, value in state.items()}
    return _take(network, convert_state_dict(named), path)


def _take(network: H2ONet, state: dict[str, Tensor], source: Path) -> str:
    own = network.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    wrong = [name for name, value in state.items() if name in own and own[name].shape != value.shape]
    if not fitting or len(wrong) > len(fitting):
        example = f", for example {wrong[0]} of shape {tuple(state[wrong[0]].shape)}" if wrong else ""
        raise TrainingError(
            f"{source} does not fit a network of width {network.config.width:g}: {len(fitting)} of "
            f"{len(own)} entries have the same name and shape, {len(wrong)} another shape{example}"
        )
    network.load_state_dict(fitting, strict=False)
    parameters = sum(value.numel() for value in fitting.values()) / 1e6
    fresh = sorted({".".join(name.split(".")[:2]) for name in own.keys() - fitting.keys()})
    rest = f"; new: {', '.join(fresh[:4])}{' ...' if len(fresh) > 4 else ''}" if fresh else ""
    return f"starts from {source}: {len(fitting)} of {len(own)} entries ({parameters:.1f} M numbers){rest}"
