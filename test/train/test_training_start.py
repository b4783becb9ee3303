"""First weights: of a single-frame run, of a network half as wide, of a bundle, of MobRecon's backbone."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

import parity_network as parity  # noqa: E402

from h2onet_ros.model import H2ONet, H2ONetConfig  # noqa: E402
from h2onet_ros.model.export import Provenance, export_bundle  # noqa: E402
from train.averaging import average  # noqa: E402
from train.checkpoint import TrainingError  # noqa: E402
from train.optimisation import Optimisation  # noqa: E402
from train.start import start_backbone, start_from  # noqa: E402
from train.trainer import Trainer  # noqa: E402

WIDTH = 0.125
needs_parity = pytest.mark.skipif(not parity.PARITY.is_dir(), reason="no shared/parity beside the checkout")


def network(topology, variant, seed, width=WIDTH):
    torch.manual_seed(seed)
    return H2ONet(H2ONetConfig(variant, width), topology)


@pytest.fixture(scope="module")
def single(topology, tmp_path_factory):
    """A run of a single-frame network, its folder and the network."""
    folder = tmp_path_factory.mktemp("single")
    trained = network(topology, "single_frame", 1)
    Trainer(trained, Optimisation(steps=1, bfloat16=False), 1, folder).save()
    return folder, trained


def test_a_multi_frame_network_begins_with_a_single_frame_one(topology, single):
    folder, trained = single
    begun = network(topology, "multi_frame", 2)
    fresh = {name: value.clone() for name, value in begun.state_dict().items()}
    said = start_from(begun, folder)
    assert "new: decoder3d.occ_pred, decoder3d.offset_pred, decoder3d.rot_reg" in said
    known = trained.state_dict()
    for name, value in begun.state_dict().items():
        assert torch.equal(value, known.get(name, fresh[name])), name


def test_a_bundle_can_be_trained_further(topology, single, tmp_path):
    _, trained = single
    export_bundle(trained, tmp_path / "bundle", Provenance("b", "open_hand", "none", "none"), "float32")
    begun = network(topology, "single_frame", 3)
    assert f"starts from {tmp_path / 'bundle'}" in start_from(begun, tmp_path / "bundle")
    for name, value in trained.named_parameters():
        torch.testing.assert_close(begun.get_parameter(name), value)


@pytest.mark.parametrize("variant", ["single_frame", "multi_frame"])
def test_a_wider_network_computes_at_first_what_the_narrow_one_did(topology, tmp_path, variant):
    narrow = network(topology, variant, 1)
    images = torch.rand(narrow.config.frames, 3, 3, 128, 128)
    # One pass moves the statistics of the normalisations away from what they begin with.
    narrow(images)
    Trainer(narrow, Optimisation(steps=1, bfloat16=False), 1, tmp_path).save()
    wide = network(topology, variant, 2, width=2 * WIDTH)
    assert "of width 0.125: each channel is there twice" in start_from(wide, tmp_path)
    for training in (True, False):
        given, expected = (part.train(training)(images)._asdict() for part in (wide, narrow))
        # Statistics of three pictures enlarge the rounding.
        close = 1e-3 if training else 1e-5
        for name, value in given.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=close, equal_nan=True)


def test_the_two_halves_of_a_widened_network_learn_different_things(topology, tmp_path):
    Trainer(network(topology, "single_frame", 1), Optimisation(steps=1, bfloat16=False), 1, tmp_path).save()
    wide = network(topology, "single_frame", 2, width=2 * WIDTH)
    start_from(wide, tmp_path)
    output = wide(torch.rand(1, 3, 3, 128, 128))
    sum(value.square().mean() for value in (output.vertices, output.uv, output.rotation_6d)).backward()
    for name in ("backbone.pre_layer.0.0", "backbone.mid_proj.0", "decoder3d.de_layer.2.conv.layer"):
        gradient = wide.get_submodule(name).weight.grad
        first, second = gradient[::2], gradient[1::2]
        assert (first - second).norm() > 0.1 * first.norm(), name


@pytest.mark.parametrize(
    ("variant", "width", "says"),
    [
        ("single_frame", 0.5, r"single_frame network of width 0\.125, the configuration's .* of 0\.5"),
        ("multi_frame", 0.25, r"single_frame network of width 0\.125, .* multi_frame one of 0\.25"),
    ],
)
def test_other_widths_are_refused(topology, single, variant, width, says):
    with pytest.raises(TrainingError, match=says):
        start_from(network(topology, variant, 3, width=width), single[0])


def test_a_width_whose_channels_are_rounded_is_not_widened(topology, tmp_path):
    odd = network(topology, "single_frame", 1, width=0.18)
    Trainer(odd, Optimisation(steps=1, bfloat16=False), 1, tmp_path).save()
    with pytest.raises(TrainingError, match="is not twice as wide as"):
        start_from(network(topology, "single_frame", 2, 0.36), tmp_path)


def test_parts_are_trained_on_top_of_the_same_network_only(topology, single):
    with pytest.raises(TrainingError, match=r"variant='single_frame'.*variant='multi_frame'"):
        start_from(network(topology, "multi_frame", 3), single[0], same=True)


def test_networks_of_different_kinds_have_no_mean(topology):
    with pytest.raises(ValueError, match="only networks of one kind have a mean"):
        average([network(topology, "multi_frame", 1), network(topology, "single_frame", 1)])


def test_nothing_to_start_from_is_named(topology, tmp_path):
    with pytest.raises(TrainingError, match="not a checkpoint"):
        start_from(network(topology, "single_frame", 3), tmp_path)
    (tmp_path / "densestack.pth").write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match="damaged or no PyTorch file"):
        start_backbone(network(topology, "single_frame", 3), tmp_path / "densestack.pth")


@needs_parity
def test_mobrecon_s_backbone_becomes_ours(topology, tmp_path):
    """MobRecon has the backbone's names without their prefix, and no orientation branch."""
    reference = parity.reference_state("single_frame")
    state = {
        name.removeprefix("backbone."): value
        for name, value in reference.items()
        if name.startswith("backbone.") and "dense_stack3" not in name
    }
    torch.save({"state_dict": state}, tmp_path / "densestack.pth")
    begun = network(topology, "single_frame", 4, width=1.0)
    fresh = begun.backbone.dense_stack3.state_dict()
    fresh = {name: value.clone() for name, value in fresh.items()}
    said = start_backbone(begun, tmp_path / "densestack.pth")
    assert "new: backbone.dense_stack3" in said
    for name, value in begun.backbone.dense_stack3.state_dict().items():
        assert torch.equal(value, fresh[name]), name
    own = begun.state_dict()
    same = [name for name in reference if "dense_stack2" in name and name in own]
    assert len(same) > 50
    # Space-to-depth and the convolution after it are one strided convolution here.
    for name in (*same, "backbone.thrink.0.weight"):
        torch.testing.assert_close(own[name].flatten(), reference[name].flatten())
    with pytest.raises(TrainingError, match=r"does not fit a network of width 0\.125"):
        start_backbone(network(topology, "single_frame", 4), tmp_path / "densestack.pth")
