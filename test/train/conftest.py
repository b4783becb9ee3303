"""What several test files of `train` use."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def topology():
    """Of the open hand."""
    from h2onet_ros.hand.model import open_hand
    from train.sources import topology_of

    return topology_of(open_hand())


@dataclass
class Trees:
    """Labelled miniature trees and the options that say where they are."""

    dexycb: Any
    ho3d: Any
    options: list[Any]


@pytest.fixture(scope="session")
def trees(tmp_path_factory):
    """Small DexYCB and HO3D trees with occlusion labels; not to be changed."""
    pytest.importorskip("scipy", reason="the miniature trees need SciPy (extra `train`)")
    import miniature
    from commands import call

    from train import label_occlusion

    folder = tmp_path_factory.mktemp("trees")
    dexycb = miniature.write_dexycb(folder, frames=6, test_frames=3)
    ho3d = miniature.write_ho3d(folder, frames=12, evaluation_frames=3)
    for name, tree in (("dexycb", dexycb), ("ho3d_v2", ho3d)):
        call(label_occlusion.main, [name, tree.root, "--mano", tree.mano, "--workers", "1"])
    return Trees(dexycb, ho3d, ["--dexycb", dexycb.root, "--ho3d", ho3d.root, "--mano", dexycb.mano])
