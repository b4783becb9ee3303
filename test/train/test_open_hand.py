"""The program that makes the open hand: simplification, regressor, the whole way from people to a hand."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from h2onet_ros.hand.joints import MANO_PARENTS
from h2onet_ros.hand.model import HandModel, open_hand

pytest.importorskip("scipy", reason="SciPy (extra 'train') is not installed")

from train.open_hand.build import OpenHandBuild, Recipe, build_hand, palm_lengths
from train.open_hand.poses import POSE_NAMES, named_angles, pose_limits, random_angles
from train.open_hand.regressor import fit_regressor
from train.open_hand.simplify import SimplifiedMesh, simplify
from train.open_hand.source import HandSamples


class Globe:
    """A sphere of quads halved into triangles, with a texture cut along one meridian and around the poles."""

    def __init__(self, rows: int = 16, columns: int = 24):
        polar = np.pi * np.arange(1, rows + 1) / (rows + 1)
        azimuth = 2 * np.pi * np.arange(columns) / columns
        x, y = np.outer(np.sin(polar), np.cos(azimuth)), np.outer(np.sin(polar), np.sin(azimuth))
        z = np.repeat(np.cos(polar)[:, None], columns, axis=1)
        self.vertices = np.concatenate([np.stack([x, y, z], -1).reshape(-1, 3), [[0, 0, 1.0], [0, 0, -1.0]]])
        # Texture points: a grid one column wider than the sphere, then one for each triangle at the poles.
        grid = np.stack(np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0.9, 0.1, rows)), -1)
        caps = [[(j + 0.5) / columns, v] for v in (1.0, 0.0) for j in range(columns)]
        self.uv = np.concatenate([grid.reshape(-1, 2), caps])
        north, first_cap = rows * columns, rows * (columns + 1)
        faces, uv_faces = [], []
        for j in range(columns):
            here, there = j, (j + 1) % columns
            for i in range(rows - 1):
                a, b = i * columns + here, i * columns + there
                c, d = a + columns, b + columns
                s, t = i * (columns + 1) + j, i * (columns + 1) + j + 1
                u, v = s + columns + 1, t + columns + 1
                faces += [(a, c, d), (a, d, b)]
                uv_faces += [(s, u, v), (s, v, t)]
            faces.append((north, here, there))
            uv_faces.append((first_cap + j, j, j + 1))
            last, last_uv = (rows - 1) * columns, (rows - 1) * (columns + 1)
            faces.append((north + 1, last + there, last + here))
            uv_faces.append((first_cap + columns + j, last_uv + j + 1, last_uv + j))
        self.faces, self.uv_faces = np.array(faces), np.array(uv_faces)

    def simplified(self, count: int, locked: tuple[int, ...] = ()) -> SimplifiedMesh:
        squeezed = self.vertices * [1.0, 1.0, 0.6]
        return simplify(
            np.stack([self.vertices, squeezed]), self.faces, self.uv, self.uv_faces, count, locked
        )


def uv_areas(uv: np.ndarray, uv_faces: np.ndarray) -> np.ndarray:
    a, b, c = uv[uv_faces].transpose(1, 0, 2)
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


class TestSimplify:
    def test_mesh_stays_closed_and_near(self) -> None:
        globe = Globe()
        mesh = globe.simplified(150)
        assert len(mesh.kept) == 150
        directed = {(int(f[i]), int(f[(i + 1) % 3])) for f in mesh.faces for i in range(3)}
        assert len(mesh.faces) == 2 * 150 - 4
        assert len(directed) == 3 * len(mesh.faces)
        assert {(b, a) for a, b in directed} == directed
        corners = globe.vertices[mesh.kept][mesh.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert np.all(np.sum(normals * corners.mean(axis=1), axis=1) > 0), "faces keep looking outwards"
        volume = np.sum(corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])) / 6
        assert volume > 0.9 * 4 / 3 * np.pi

    def test_texture_keeps_its_seams_and_its_area(self) -> None:
        globe = Globe()
        mesh = globe.simplified(150)
        original = {(int(v), int(t)) for f, u in zip(globe.faces, globe.uv_faces) for v, t in zip(f, u)}
        now = {(int(mesh.kept[v]), int(t)) for f, u in zip(mesh.faces, mesh.uv_faces) for v, t in zip(f, u)}
        assert now <= original, "every corner has a texture point its vertex had before"
        areas = uv_areas(globe.uv, mesh.uv_faces)
        assert areas.min() > 0
        assert areas.sum() == pytest.approx(uv_areas(globe.uv, globe.uv_faces).sum(), rel=0.02)

    def test_locked_vertices_stay(self) -> None:
        locked = (3, 50, 51, 200)
        assert set(locked) <= set(Globe().simplified(60, locked).kept.tolist())

    def test_says_when_nothing_is_left_to_collapse(self) -> None:
        globe = Globe(4, 6)
        with pytest.raises(ValueError, match="were asked for"):
            globe.simplified(5, locked=tuple(range(20)))

    def test_tells_its_progress(self) -> None:
        globe, calls = Globe(6, 8), []
        simplify(
            globe.vertices[None], globe.faces, globe.uv, globe.uv_faces, 40, progress=lambda: calls.append(1)
        )
        assert len(calls) == len(globe.vertices) - 40


def test_regressor_finds_the_weights_the_joints_were_made_with() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.normal(0, 0.05, (40, 30, 3))
    truth = np.zeros((2, 30))
    truth[0, [2, 5, 7]] = [0.5, 0.3, 0.2]
    truth[1, [11, 20]] = [0.9, 0.1]
    found = fit_regressor(vertices, truth @ vertices, [np.arange(10), np.arange(10, 30)])
    np.testing.assert_allclose(found, truth, atol=1e-6)


@pytest.mark.parametrize("name", POSE_NAMES)
def test_named_poses_lie_within_the_limits(name: str) -> None:
    angles, limits = named_angles(name), pose_limits()
    assert np.all(angles >= limits[..., 0] - 1e-9)
    assert np.all(angles <= limits[..., 1] + 1e-9)


def test_random_poses_use_the_limits() -> None:
    angles, limits = random_angles(np.random.default_rng(0), 500), pose_limits()
    assert np.all(angles[:, 0] == 0)
    assert np.all((angles >= limits[..., 0]) & (angles <= limits[..., 1]))
    np.testing.assert_allclose(
        np.ptp(angles[:, 1:], axis=0), np.ptp(limits[1:], axis=-1), rtol=0.05, atol=1e-9
    )


def people_of(hand: HandModel, count: int) -> HandSamples:
    """People on an open mesh: the open hand without its wrist fan, a little larger, off the origin."""
    shapes = np.random.default_rng(0).standard_normal((count, hand.shape_count))
    shapes[0] = 0
    vertices = 1.1 * hand.shaped(shapes) + [0.01, 0.02, 0.03]
    (apex,) = set(hand.faces[np.isin(hand.faces, hand.wrist_ring).sum(axis=1) == 2].ravel()) & {
        hand.vertex_count - 1
    }
    opened = ~np.any(hand.faces == apex, axis=1)
    axes = hand.joint_axes.astype(np.float64)
    return HandSamples(
        vertices=vertices[:, :apex],
        bone_heads=hand.joint_regressor.astype(np.float64) @ vertices,
        bone_axes=np.stack([axes[..., 0], axes[..., 2], -axes[..., 1]], axis=-1),
        weights=hand.skin_weights[:apex].astype(np.float64),
        faces=hand.faces[opened].astype(np.int64),
        uv=hand.uv.astype(np.float64),
        uv_faces=hand.uv_faces[opened].astype(np.int64),
    )


@pytest.fixture(scope="module")
def smaller() -> OpenHandBuild:
    return build_hand(
        people_of(open_hand(), 60), Recipe(vertex_count=400, component_count=5, palm_length=0.09)
    )


class TestBuild:
    def test_has_the_size_asked_for(self, smaller: OpenHandBuild) -> None:
        hand = smaller.hand
        assert (hand.vertex_count, len(hand.faces), hand.shape_count) == (400, 796, 5)
        assert palm_lengths(smaller.people).mean() == pytest.approx(0.09)
        assert hand.joint_regressor[0] @ hand.template == pytest.approx(np.zeros(3), abs=1e-7)
        np.testing.assert_array_equal(hand.parents, MANO_PARENTS)

    def test_keeps_vertices_with_all_that_belongs_to_them(self, smaller: OpenHandBuild) -> None:
        hand, ours = smaller.hand, open_hand()
        kept = smaller.kept
        np.testing.assert_allclose(hand.skin_weights[:-1], ours.skin_weights[kept[:-1]], atol=1e-6)
        np.testing.assert_array_equal(kept[hand.tip_vertices], ours.tip_vertices)
        assert set(kept[hand.wrist_ring]) == set(ours.wrist_ring)
        np.testing.assert_allclose(hand.joint_axes[1:], ours.joint_axes[1:], atol=1e-6)
        assert hand.wrist_ring.tolist() == np.searchsorted(kept, kept[hand.wrist_ring]).tolist()

    def test_joints_and_surface_follow_the_people(self, smaller: OpenHandBuild) -> None:
        hand, people = smaller.hand, smaller.people
        joints = hand.joint_regressor.astype(np.float64) @ people.vertices[:, smaller.kept]
        assert 1000 * np.linalg.norm(joints - people.bone_heads, axis=-1).mean() < 0.6
        assert smaller.variance[:5].sum() > 0.99
        assert np.all(np.diff(smaller.variance) <= 0)


def test_the_committed_hand_is_what_the_program_makes(tmp_path: Path) -> None:
    pytest.importorskip("anny", reason="anny (extra 'assets') is not installed")
    path = tmp_path / "hand.npz"
    command = [sys.executable, "-m", "train.open_hand.make", "--output", str(path), "--held-out", "10"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "800 vertices, 1596 triangles" in done.stdout
    made, committed = HandModel.load(path), open_hand()
    for item in fields(HandModel):
        ours, theirs = getattr(made, item.name), getattr(committed, item.name)
        if ours is None or ours.dtype.kind == "i":
            np.testing.assert_array_equal(ours, theirs, err_msg=item.name)
        else:
            np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=item.name)
