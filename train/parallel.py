"""One process or many: Lightning Fabric set up for this machine, or as torchrun asks."""

from __future__ import annotations

import logging
import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy


def make_fabric(device: str = "auto", bfloat16: bool = False) -> Fabric:
    """Fabric for one device, or, under torchrun, for this process of many; launched.

    Args:
        device: "cpu", "cuda", or "auto": a GPU where there is one.
        bfloat16: mixed precision.

    Raises:
        ValueError: the device is not there.
    """
    kind = device.split(":")[0]
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: PyTorch finds no GPU here; use --device cpu")
    # Fabric tells on its own which seeds and processes it uses; the program says so once.
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    precision = "bf16-mixed" if bfloat16 else "32-true"
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        devices = [int(device.split(":")[1])] if ":" in device else 1
        fabric = Fabric(accelerator=kind, devices=devices, precision=precision)  # type: ignore[arg-type]
    else:
        local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        fabric = Fabric(
            accelerator=kind,
            devices=local,
            num_nodes=max(1, world // local),
            # Stage 1 leaves the orientation branch without gradients.
            strategy=DDPStrategy(find_unused_parameters=True),
            precision=precision,  # type: ignore[arg-type]
        )
    fabric.launch()
    return fabric
