"""What training relies on: shapes, where gradients stop, mixed precision, widths."""

from __future__ import annotations

import pytest
import synthetic_hand
import torch

from h2onet_ros.model import H2ONet, H2ONetConfig
from h2onet_ros.model.backbone import IntegralPoints
from h2onet_ros.model.orientation import rotation_from_6d


def touched(network: H2ONet, loss: torch.Tensor) -> set[str]:
    """Names of the parameters that a loss teaches."""
    network.zero_grad(set_to_none=True)
    loss.backward(retain_graph=True)
    return {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.fixture(scope="module")
def trained():
    network = synthetic_hand.small_network("multi_frame").train()
    torch.manual_seed(0)
    return network, network(torch.rand(3, 4, 3, 128, 128))


def test_output_shapes(trained):
    _, output = trained
    shapes = {name: tuple(value.shape) for name, value in output._asdict().items()}
    assert shapes == {
        "uv": (3, 4, 21, 2),
        "occlusion_logits": (3, 4, 2, 6),
        "vertices": (3, 4, 240, 3),
        "joints": (3, 4, 21, 3),
        "rotation": (3, 4, 3, 3),
        "rotation_offset": (4, 3, 3),
        "vertices_oriented": (3, 4, 240, 3),
        "joints_oriented": (3, 4, 21, 3),
        "rotation_6d": (3, 4, 6),
        "rotation_offset_6d": (4, 6),
    }


@pytest.mark.parametrize("output_name", ["vertices_oriented", "joints_oriented", "rotation"])
def test_oriented_terms_teach_the_orientation_branch_alone(trained, output_name):
    network, output = trained
    names = touched(
        network, (getattr(output, output_name) ** 2 * torch.rand(1)).sum() + output.rotation_6d.sum()
    )
    assert names
    assert all(name.startswith(("backbone.dense_stack3.", "decoder3d.rot_reg.")) for name in names), names


def test_the_occlusion_term_teaches_the_classifier_alone(trained):
    network, output = trained
    names = touched(network, output.occlusion_logits.square().sum())
    assert names
    assert all(name.startswith("decoder3d.occ_pred.") for name in names), names


def test_the_canonical_mesh_teaches_neither_classifier_nor_orientation(trained):
    network, output = trained
    names = touched(network, output.vertices.square().sum())
    assert "decoder3d.offset_pred.head.layer.weight" in names
    assert "backbone.pre_layer.0.0.weight" in names
    forbidden = ("backbone.dense_stack3.", "decoder3d.rot_reg.", "decoder3d.occ_pred.")
    assert not [name for name in names if name.startswith(forbidden)]


def test_every_parameter_learns_from_the_whole(trained):
    network, output = trained
    names = touched(network, sum(value.square().sum() for value in output))
    silent = {name for name, _ in network.named_parameters()} - names
    # A bias before batch normalisation has no effect.
    silent = {name for name in silent if not name.startswith("decoder3d.occ_pred.") or "weight" in name}
    assert silent == set()


def test_bfloat16_autocast_keeps_the_geometry_in_float32():
    network = synthetic_hand.small_network("multi_frame")
    images = torch.rand(3, 2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(images)
    for name in ("vertices", "joints", "rotation", "vertices_oriented", "uv"):
        actual, wanted = getattr(output, name), getattr(expected, name)
        assert actual.dtype == torch.float32, name
        assert (actual - wanted).square().mean().sqrt() < 0.1 * wanted.std(), name
    identity = output.rotation @ output.rotation.transpose(-1, -2)
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["single_frame", "multi_frame"])
def test_a_new_network_starts_near_a_still_hand(variant):
    torch.manual_seed(0)
    network = H2ONet(H2ONetConfig(variant, 0.5), synthetic_hand.tube_topology())
    output = network(torch.rand(network.config.frames, 8, 3, 128, 128))
    assert output.vertices.abs().max() < 0.3
    angle = torch.acos(((output.rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
    assert angle.rad2deg().mean() < 45


@pytest.mark.parametrize(("width", "base"), [(0.25, 32), (0.5, 64), (0.6, 80), (1.0, 128), (1.25, 160)])
def test_widths_scale_the_channels(width, base):
    config = H2ONetConfig("multi_frame", width)
    assert (config.base, config.latent, config.orientation) == (base, 2 * base, 8 * base)
    assert config.mesh_channels == (2 * base, 2 * base, base, base // 2, base // 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "five_frame"}, "single_frame, multi_frame"),
        ({"width": 0.0}, "between 0.05 and 4"),
        ({"image_points": "guessed"}, "regressed, integral"),
    ],
)
def test_impossible_configurations_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        H2ONetConfig(**arguments)


def test_integral_points_are_the_mean_places_of_their_maps():
    maps = torch.full((1, 2, 16, 16), -100.0)
    maps[0, 0, 10, 3] = 0.0
    maps[0, 1, 4, 2] = maps[0, 1, 4, 12] = 0.0
    points = IntegralPoints(16)(maps.flatten(2))
    # Pixels' middles, x before y.
    expected = torch.tensor([[[3.5, 10.5], [7.5, 4.5]]]) / 16
    torch.testing.assert_close(points, expected)


def test_images_of_another_shape_are_refused():
    network = synthetic_hand.small_network("multi_frame")
    with pytest.raises(ValueError, match=r"needs images .*got \(2, 2, 3, 128, 128\)"):
        network(torch.zeros(2, 2, 3, 128, 128))


def test_one_frame_stands_for_all_three():
    network = synthetic_hand.small_network("multi_frame")
    image = torch.rand(1, 2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        once, thrice = network(image), network(image.repeat(3, 1, 1, 1, 1))
    for name in once._fields:
        torch.testing.assert_close(getattr(once, name), getattr(thrice, name), atol=1e-4, rtol=1e-4)


def test_the_6d_rotation_uses_rows_and_is_a_rotation():
    rotation = rotation_from_6d(
        torch.tensor([[2.0, 0.0, 0.0, 5.0, 3.0, 0.0], [0.0, 1.0, 1.0, 0.3, 0.0, -2.0]])
    )
    torch.testing.assert_close(rotation[0], torch.eye(3))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2))
    torch.testing.assert_close(rotation[1, 0], torch.tensor([0.0, 0.5**0.5, 0.5**0.5]))
