import os
import sys
from pathlib import Path

import pytest

# PyTorch's idle threads spin, which on a machine busy with something else multiplies the time of the tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The networks under test are built by the helpers of the model's tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Function from a variant to (network, its bundle in float32); each is exported once."""
    import synthetic_hand

    from h2onet_ros.model.export import Provenance, export_bundle

    provenance = Provenance(name="test", hand="tube", licence="CC0-1.0", training_data="none")
    made = {}

    def get(variant: str):
        if variant not in made:
            network = synthetic_hand.small_network(variant)
            folder = tmp_path_factory.mktemp("weights") / variant
            made[variant] = network, export_bundle(network, folder, provenance, "float32")
        return made[variant]

    return get
