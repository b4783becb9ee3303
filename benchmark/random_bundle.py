"""A bundle of random weights, 8 bit networks included: `python -m benchmark.random_bundle FOLDER [WIDTH]`.

Their values mean nothing, but they take the time that trained ones take.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from h2onet_ros.engines import EngineError
from h2onet_ros.engines.bundle import with_int8
from h2onet_ros.engines.quantise import TARGETS, quantised
from h2onet_ros.hand.model import open_hand
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig
from h2onet_ros.model.export import Provenance, export_bundle


def main() -> None:
    """Write the bundle."""
    folder = sys.argv[1]
    width = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    network = H2ONet(H2ONetConfig("multi_frame", width), HandTopology.from_hand(open_hand()))
    provenance = Provenance("random", "open_hand", "CC0-1.0", "none")
    crops = np.random.default_rng(0).random((4, 3, 128, 128), dtype=np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        bundle = export_bundle(network, Path(temporary) / "bundle", provenance)
        networks: dict[str, bytes] = {}
        made = []
        for target in TARGETS:
            try:
                networks |= quantised(bundle, target, crops)
                made.append(target)
            except EngineError as error:
                print(f"no 8 bit network: {error}", file=sys.stderr)
        with_int8(bundle, folder, networks, dict.fromkeys(made, 0.0))


if __name__ == "__main__":
    main()
