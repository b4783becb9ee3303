"""Access to the parity cases (numbers computed with the published implementation)."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from h2onet_ros.hand.hierarchy import MeshHierarchy
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig
from h2onet_ros.model.reference import convert_state_dict

PARITY = Path(__file__).resolve().parents[2].parent / "shared" / "parity"

needs_parity = pytest.mark.skipif(
    not PARITY.is_dir(), reason=f"no parity cases at {PARITY.name} beside the checkout"
)

RELATIVE_TOLERANCE = 1e-4


def case(name: str) -> dict[str, np.ndarray]:
    with np.load(PARITY / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


@cache
def reference_state(variant: str) -> dict[str, torch.Tensor]:
    """The published names and shapes with the deterministic weights of the cases."""
    spec = importlib.util.spec_from_file_location("make_state_dict", PARITY / "make_state_dict.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    keys = json.loads((PARITY / "reference_keys.json").read_text())[variant]
    return {name: torch.from_numpy(array) for name, array in module.make_state_dict(keys).items()}


@cache
def reference_network(variant: str) -> H2ONet:
    """Our network, in evaluation mode, with the weights and topology of the cases."""
    arrays, parts, state = case("reference_topology"), case("mano_parts"), reference_state(variant)
    topology = HandTopology(
        template=arrays["vertices_0"],
        faces=arrays["faces_0"],
        vertex_part=parts["vertex_part"],
        face_part=parts["face_part"],
        joint_regressor=state["mano_joint_reg"].numpy(),
        hierarchy=MeshHierarchy.from_arrays(arrays),
    )
    network = H2ONet(H2ONetConfig(variant), topology).eval()
    network.load_state_dict(convert_state_dict(state), strict=True)
    return network


def enlarged(small: np.ndarray) -> torch.Tensor:
    """(B, 3, 16, 16) uint8 to (B, 3, 128, 128) float in 0..1."""
    return torch.from_numpy(small.repeat(8, 2).repeat(8, 3).astype(np.float32) / 255.0)


def assert_close(actual: torch.Tensor | np.ndarray, expected: np.ndarray, name: str) -> None:
    """Within 1e-4 of the spread of the expected values."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, expected {expected.shape}"
    error = np.abs(actual - expected).max() / expected.std()
    assert error <= RELATIVE_TOLERANCE, f"{name}: off by {error:.2e} of its spread"
