"""One process or many: Lightning Fabric set up for this machine, or as torchrun asks."""

from __future__ import annotations

import logging
import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy


def make_fabric(device: str = "auto", bfloat16: bool = False, all_gradients: bool = False) -> Fabric:
    """Fabric for one device, or, under torchrun, for this process of many; launched.

    Args:
        device: "cpu", "cuda", or "auto": a GPU where there is one.
        bfloat16: mixed precision.
        all_gradients: every parameter gets a gradient in every step, which several processes can use.

    Raises:
        ValueError: the device is not there.
    """
    kind = device.split(":")[0]
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"--device {device}: expected cpu, cuda, cuda:N or auto")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: PyTorch finds no GPU here; use --device cpu")
    # Fabric tells on its own which seeds and processes it uses; the program says so once.
    for name in ("lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
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
            strategy=DDPStrategy(find_unused_parameters=not all_gradients),
            precision=precision,  # type: ignore[arg-type]
        )
    fabric.launch()
    return fabric
