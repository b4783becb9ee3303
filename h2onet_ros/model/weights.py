"""A weights bundle back to a PyTorch network, for evaluation, further training and the torch engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from h2onet_ros.engines.bundle import BundleError, WeightsBundle

from .config import H2ONetConfig
from .network import H2ONet


def load_network(bundle: WeightsBundle | str | Path) -> H2ONet:
    """The network of a bundle, in evaluation mode, with the weights as stored (half precision or not).

    Raises:
        BundleError: no bundle, or its networks lack weights.
    """
    if not isinstance(bundle, WeightsBundle):
        bundle = WeightsBundle.load(bundle)
    state = read_weights(bundle.encode_path) | read_weights(bundle.fuse_path)
    regressed = any(name.startswith("backbone.uv_reg.") for name in state)
    config = H2ONetConfig(
        bundle.info.variant, bundle.info.width, image_points="regressed" if regressed else "integral"
    )
    network = H2ONet(config, bundle.topology)
    expected = network.state_dict()
    state = {name: value for name, value in state.items() if name in expected}
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    wrong = [name for name, value in state.items() if value.shape != expected[name].shape]
    if missing or wrong:
        raise BundleError(
            f"weights bundle {bundle.folder} does not hold a {bundle.info.variant} network of width "
            f"{bundle.info.width:g}: {len(missing)} entries missing ({', '.join(missing[:3])}), "
            f"{len(wrong)} of another shape ({', '.join(wrong[:3])}); export the weights again"
        )
    network.load_state_dict(state, strict=False)
    return network.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Initialisers of an ONNX network by name, as float32 where they are numbers.

    Raises:
        BundleError: not an ONNX file.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's errors share no base with other libraries'
        raise BundleError(f"{path} is no ONNX network: {error}; export the weights again") from error
    weights = {}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if np.issubdtype(array.dtype, np.floating):
            weights[tensor.name] = torch.from_numpy(array.astype(np.float32))
    return weights
