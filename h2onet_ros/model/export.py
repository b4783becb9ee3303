"""A trained network to a weights bundle: two ONNX networks and the topology."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx
import torch
from torch import Tensor, nn

from h2onet_ros.engines.base import encode_outputs, fuse_inputs, fuse_outputs
from h2onet_ros.engines.bundle import BundleInfo, WeightsBundle, write_bundle

from .config import IMAGE_SIZE
from .network import FrameFeatures, H2ONet
from .onnx_tidy import tidy

OPSET = 17
"""Old enough for the engines beside every supported ROS, new enough for GridSample."""

Precision = Literal["float16", "float32"]


@dataclass(frozen=True)
class Provenance:
    """What `bundle.json` tells beside the network's own facts; see `BundleInfo`."""

    name: str
    hand: str
    licence: str
    training_data: str
    temporal_offsets_s: tuple[float, float] = (0.17, 0.33)
    crop_scale: float = 1.5
    upright: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


def export_bundle(
    network: H2ONet,
    folder: str | Path,
    provenance: Provenance,
    precision: Precision = "float16",
    overwrite: bool = False,
) -> WeightsBundle:
    """Write `network` as a weights bundle; atomic.

    The networks compute in float32 whatever the precision. Initialisers keep the names of the state dict.

    Args:
        network: trained; its parameters must be finite.
        folder: where the bundle is to appear.
        provenance: name, licence, training data...
        precision: how weights are stored.
        overwrite: replace the bundle that is there.

    Raises:
        ValueError: a parameter is not finite.
        BundleError: the folder exists or cannot be written.
    """
    broken = [name for name, value in network.state_dict().items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"the weights hold NaN or infinity in {', '.join(broken[:5])}; nothing was exported")
    config = network.config
    info = BundleInfo(
        variant=config.variant,
        width=config.width,
        vertex_features=config.vertex_features if config.multi_frame else 0,
        orientation=config.orientation,
        precision=precision,
        image_size=IMAGE_SIZE,
        **vars(provenance),
    )
    encode, fuse = (tidy(model, network, precision) for model in export_onnx(network))
    return write_bundle(
        folder, info, network.topology, encode.SerializeToString(), fuse.SerializeToString(), overwrite
    )


def export_onnx(network: H2ONet) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The encoding and the fusing network, as the exporter makes them; batches of any size."""
    was_training = network.training
    network.eval()
    try:
        crops = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)
        multi_frame = network.config.multi_frame
        encode = _trace(_Encode(network), (crops,), ("crops",), encode_outputs(multi_frame))
        with torch.no_grad():
            features = network.encode(crops)
        inputs = fuse_inputs(multi_frame)
        samples = tuple(getattr(features, name.split("_", 1)[1]) for name in inputs)
        fuse = _trace(_Fuse(network), samples, inputs, fuse_outputs(multi_frame))
    finally:
        network.train(was_training)
    return encode, fuse


class _Encode(nn.Module):
    def __init__(self, network: H2ONet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        features = self.network.encode(crops)
        return tuple(getattr(features, name) for name in encode_outputs(self.network.config.multi_frame))


class _Fuse(nn.Module):
    def __init__(self, network: H2ONet) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        multi_frame = self.network.config.multi_frame
        named = dict(zip(fuse_inputs(multi_frame), inputs, strict=True))
        absent = inputs[0].new_full((inputs[0].shape[0], 2, 6), float("nan"))
        moments = [
            FrameFeatures(
                uv=absent,
                occlusion_logits=named.get(f"{moment}_occlusion_logits", absent),
                vertex_features=named.get(f"{moment}_vertex_features", absent),
                orientation=named.get(f"{moment}_orientation", absent),
                vertices=named.get(f"{moment}_vertices", absent),
            )
            for moment in ("now", "short", "long")
        ]
        hands = self.network.fuse(*moments)
        return tuple(getattr(hands, name) for name in fuse_outputs(multi_frame))


def _trace(
    module: nn.Module, samples: tuple[Tensor, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    # The TorchScript exporter: as fast a graph as the dynamo one (measured), made in a tenth of the time,
    # without another dependency. Without folding every weight keeps its name and can be read back; engines
    # fold at load.
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            samples,
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "hands"} for name in (*inputs, *outputs)},
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())
