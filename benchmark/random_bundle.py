"""A bundle of random weights of the published width: `python -m benchmark.random_bundle FOLDER [WIDTH]`."""

import sys

from h2onet_ros.hand.model import open_hand
from h2onet_ros.hand.topology import HandTopology
from h2onet_ros.model import H2ONet, H2ONetConfig
from h2onet_ros.model.export import Provenance, export_bundle

if __name__ == "__main__":
    width = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    network = H2ONet(H2ONetConfig("multi_frame", width), HandTopology.from_hand(open_hand()))
    export_bundle(network, sys.argv[1], Provenance("random", "open_hand", "CC0-1.0", "none"))
