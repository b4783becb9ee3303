"""MANO's file is read without chumpy and without trust; smplx makes the same hand of the same data."""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mano_file import mano_content, write_mano

from h2onet_ros.hand.joints import MANO_TO_STANDARD
from h2onet_ros.hand.mano import TIP_VERTICES, ManoFile, ManoFileError, load_mano
from h2onet_ros.hand.model import HandModel, open_hand

REFERENCE = Path(__file__).parents[3] / "shared" / "parity" / "reference_topology.npz"
TIPS = tuple(open_hand().tip_vertices.tolist())


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    hand = open_hand()
    return mano_content(
        hand,
        pose_basis=1e-3 * rng.standard_normal((hand.vertex_count, 3, 135)),
        mean_pose=0.1 * rng.standard_normal((15, 3)),
    )


@pytest.fixture(scope="module")
def mano(content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> ManoFile:
    path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl"
    write_mano(path, content)
    return load_mano(path, TIPS)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_arrays_come_out_as_they_went_in(tmp_path: Path, content: dict[str, Any], protocol: int) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path, content, protocol)
    assert b"chumpy" in path.read_bytes()
    mano = load_mano(path, TIPS)
    ours = open_hand()
    for name in (
        "template",
        "faces",
        "shape_basis",
        "joint_regressor",
        "skin_weights",
        "parents",
        "tip_vertices",
    ):
        np.testing.assert_array_equal(getattr(mano.hand, name), getattr(ours, name), err_msg=name)
    np.testing.assert_allclose(mano.hand.pose_basis, content["posedirs"], rtol=1e-6)
    np.testing.assert_allclose(mano.mean_pose.ravel(), content["hands_mean"], rtol=1e-6)
    np.testing.assert_allclose(mano.pose_components, content["hands_components"], rtol=1e-6)


def test_parts_follow_the_skin_weights(mano: ManoFile) -> None:
    np.testing.assert_array_equal(mano.hand.vertex_part, open_hand().vertex_part)
    np.testing.assert_array_equal(mano.hand.face_part, open_hand().face_part)


def test_hand_with_pose_correction_is_saved_and_loaded(mano: ManoFile, tmp_path: Path) -> None:
    mano.hand.save(tmp_path / "hand.npz")
    loaded = HandModel.load(tmp_path / "hand.npz")
    pose = np.random.default_rng(0).normal(0, 0.5, (16, 3))
    np.testing.assert_array_equal(loaded.pose(pose).vertices, mano.hand.pose(pose).vertices)


def test_full_pose_adds_the_mean_to_the_fingers_only(mano: ManoFile) -> None:
    pose = np.random.default_rng(0).standard_normal((2, 48))
    full = mano.full_pose(pose)
    assert full.shape == (2, 16, 3)
    np.testing.assert_array_equal(full[:, 0], pose[:, :3])
    np.testing.assert_allclose(
        full[:, 1:].reshape(2, 45) - pose[:, 3:], np.tile(mano.mean_pose.ravel(), (2, 1))
    )


def test_smplx_makes_the_same_hand_of_the_same_data(mano: ManoFile, content: dict[str, Any]) -> None:
    smplx = pytest.importorskip("smplx", reason="smplx (research licence, extra 'mano') is not installed")
    torch = pytest.importorskip("torch")
    layer = smplx.MANO(
        "", data_struct=smplx.utils.Struct(**content), use_pca=False, flat_hand_mean=False, batch_size=4
    )
    rng = np.random.default_rng(5)
    pose, shape = (
        rng.normal(0, 0.5, (4, 48)).astype(np.float32),
        rng.standard_normal((4, 10)).astype(np.float32),
    )
    with torch.no_grad():
        theirs = layer(
            betas=torch.as_tensor(shape),
            global_orient=torch.as_tensor(pose[:, :3]),
            hand_pose=torch.as_tensor(pose[:, 3:]),
        )
    ours = mano.hand.pose(mano.full_pose(pose), shape)
    assert 1000 * np.abs(ours.vertices - theirs.vertices.numpy()).max() < 1e-3, "millimetres"
    skeleton = ours.joints[:, np.argsort(MANO_TO_STANDARD)[:16]]
    assert 1000 * np.abs(skeleton - theirs.joints.numpy()[:, :16]).max() < 1e-3, "millimetres"


class Hostile:
    """Runs a command when an ordinary unpickler opens it."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["v_template", "extra", "whole"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_hostile_file_is_refused_and_runs_nothing(
    tmp_path: Path, content: dict[str, Any], place: str, protocol: int
) -> None:
    trace = tmp_path / "it_ran"
    hostile = Hostile(f"touch {trace}")
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(
        pickle.dumps(hostile if place == "whole" else {**content, place: hostile}, protocol=protocol)
    )
    with pytest.raises(ManoFileError, match=r"asks for (posix|os|nt)\.system"):
        load_mano(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the file would have run its command elsewhere"


@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cchumpy.ch\nCh\n(S'1'\ntRcos\nsystem\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cbuiltins\ngetattr\ntR.",
        b"c_codecs\nencode\n(N}S'__new__'\nNstb.",
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        b"ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",
        b"cnumpy\nload\n(S'x'\ntR.",
    ],
    ids=["eval", "chumpy then os", "getattr", "patching", "codec", "reconstructor", "numpy function"],
)
def test_tricks_are_refused(tmp_path: Path, code: bytes, content: dict[str, Any]) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(code)
    with pytest.raises(ManoFileError):
        load_mano(path)
    write_mano(path, content)
    assert load_mano(path, TIPS).hand.vertex_count == 800


def mirrored(content: dict[str, Any]) -> dict[str, Any]:
    flip = np.array([-1.0, 1, 1])
    return {
        **content,
        "v_template": content["v_template"] * flip,
        "shapedirs": content["shapedirs"] * flip[:, None],
        "f": content["f"][:, ::-1],
    }


def test_left_hand_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "MANO_LEFT.pkl"
    write_mano(path, mirrored(content))
    with pytest.raises(ManoFileError, match="left hand"):
        load_mano(path, TIPS)


@pytest.mark.skipif(
    not REFERENCE.exists(), reason="MANO's template (research licence) is not beside the checkout"
)
@pytest.mark.parametrize("left", [False, True])
def test_manos_own_geometry_tells_right_from_left(
    tmp_path: Path, content: dict[str, Any], left: bool
) -> None:
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        vertices, faces = arrays["vertices_0"].astype(np.float64), arrays["faces_0"].astype(np.uint32)
    directed = {(a, b) for f in faces.tolist() for a, b in zip(f, (*f[1:], f[0]))}
    border = sorted({a for a, b in directed if (b, a) not in directed})
    regressor = np.zeros((16, len(vertices)))
    regressor[:, border] = 1 / len(border)
    real = {
        **content,
        "v_template": vertices,
        "f": faces,
        "shapedirs": np.zeros((len(vertices), 3, 10)),
        "posedirs": np.zeros((len(vertices), 3, 135)),
        "weights": np.eye(16)[np.arange(len(vertices)) % 16],
        "J_regressor": regressor,
    }
    path = tmp_path / "MANO.pkl"
    write_mano(path, mirrored(real) if left else real)
    if left:
        with pytest.raises(ManoFileError, match="left hand"):
            load_mano(path)
    else:
        assert load_mano(path).hand.tip_vertices.tolist() == list(TIP_VERTICES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v_template": np.zeros((800, 2))}, r"'v_template' must have the shape"),
        ({"f": "faces"}, "'f' is no array"),
        ({"f": np.full((10, 3), 800)}, "'f' holds indices outside"),
        ({"posedirs": np.zeros((800, 3, 10))}, "'posedirs' must have the shape"),
        ({"kintree_table": np.zeros((2, 16))}, "joint tree"),
        ({"weights": np.zeros((800, 16))}, "rows of skin_weights"),
    ],
    ids=["template", "faces", "indices", "pose basis", "tree", "weights"],
)
def test_wrong_entries_are_named(
    tmp_path: Path, content: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path, {**content, **change})
    with pytest.raises(ManoFileError, match=message):
        load_mano(path, TIPS)


def test_missing_entry_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path, {name: value for name, value in content.items() if name != "hands_mean"})
    with pytest.raises(ManoFileError, match="lacks 'hands_mean'"):
        load_mano(path, TIPS)


@pytest.mark.parametrize("data", [b"", b"hello", pickle.dumps([1, 2])], ids=["empty", "text", "list"])
def test_other_files_are_told(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(data)
    with pytest.raises(ManoFileError, match=r"MANO_RIGHT\.pkl"):
        load_mano(path)


def test_truncated_file_is_told(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "MANO_RIGHT.pkl"
    write_mano(path, content)
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(ManoFileError, match=r"MANO_RIGHT\.pkl"):
        load_mano(path, TIPS)


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="MANO_RIGHT"):
        load_mano(tmp_path / "MANO_RIGHT.pkl")


def test_replacing_arrays_keeps_the_pose_correction(mano: ManoFile) -> None:
    smaller = replace(mano.hand, template=mano.hand.template * 0.9)
    np.testing.assert_array_equal(smaller.pose_basis, mano.hand.pose_basis)
