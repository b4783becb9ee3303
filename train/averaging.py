"""One network from several: the mean of the weights of runs that continued one another.

Where a run ends depends on the samples that it saw last. The mean of such ends lies nearer to the middle of
the valley that they share, often does better than they do (SWA, "Averaging Weights Leads to Wider Optima and
Better Generalization", UAI 2018), and costs nothing when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from h2onet_ros.model import H2ONet


def average(networks: Sequence[H2ONet]) -> H2ONet:
    """The first network with the mean of all networks' weights and statistics of normalisation.

    Raises:
        ValueError: networks of different kinds or meshes.
    """
    first = networks[0]
    for other in networks[1:]:
        if other.config != first.config:
            raise ValueError(f"only networks of one kind have a mean, got {first.config} and {other.config}")
        if not np.array_equal(other.topology.faces, first.topology.faces):
            raise ValueError("only networks of one mesh have a mean; these have different faces")
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    first.load_state_dict(mean)
    return first
