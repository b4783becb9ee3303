"""Mesh hierarchy: equal to the published network's on its template, and sound on any other."""

from pathlib import Path

import numpy as np
import pytest

from h2onet_ros.hand.hierarchy import MeshHierarchy, closest_barycentric, upsampling_matrix
from h2onet_ros.hand.model import open_hand

REFERENCE = Path(__file__).parents[3] / "shared" / "parity" / "reference_topology.npz"


def sphere(rows: int = 12, columns: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """A closed sphere with outward faces, `rows * columns + 2` vertices."""
    polar = np.pi * np.arange(1, rows + 1) / (rows + 1)
    azimuth = 2 * np.pi * np.arange(columns) / columns
    ring = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1)
    grid = np.concatenate(
        [
            np.sin(polar)[:, None, None] * ring,
            np.broadcast_to(np.cos(polar)[:, None, None], (rows, columns, 1)),
        ],
        axis=-1,
    )
    vertices = np.concatenate([[[0, 0, 1.0]], grid.reshape(-1, 3), [[0, 0, -1.0]]])
    index = 1 + np.arange(rows * columns).reshape(rows, columns)
    right = np.roll(index, -1, axis=1)
    faces = [(0, int(a), int(b)) for a, b in zip(index[0], right[0])]
    faces += [(len(vertices) - 1, int(b), int(a)) for a, b in zip(index[-1], right[-1])]
    for i in range(rows - 1):
        for j in range(columns):
            faces.append((index[i, j], index[i + 1, j], right[i + 1, j]))
            faces.append((index[i, j], right[i + 1, j], right[i, j]))
    return vertices, np.array(faces)


@pytest.fixture(scope="module")
def sphere_hierarchy() -> MeshHierarchy:
    return MeshHierarchy.build(*sphere(), levels=3)


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    if not REFERENCE.exists():
        pytest.skip(
            "the reference's topology (research licence, never in the repository) is not beside the checkout"
        )
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        return dict(arrays)


def test_every_level_equals_the_published_hierarchy(reference: dict[str, np.ndarray]) -> None:
    expected = MeshHierarchy.from_arrays(reference)
    built = MeshHierarchy.build(reference["vertices_0"], reference["faces_0"], edge_rows="reference")
    assert built.vertex_counts == (778, 389, 195, 98, 49)
    for k in range(5):
        np.testing.assert_array_equal(built.faces[k], expected.faces[k])
    for k in range(4):
        np.testing.assert_array_equal(built.spirals[k], expected.spirals[k])
        np.testing.assert_array_equal(built.kept[k], expected.kept[k])
        # One edge row of level 2 is badly conditioned in the stored float32 vertices.
        np.testing.assert_allclose(built.upsample[k], expected.upsample[k], atol=3e-4)


def test_reference_edge_rows_differ_from_barycentric_ones(reference: dict[str, np.ndarray]) -> None:
    theirs = MeshHierarchy.from_arrays(reference)
    quirky = sum(int(np.sum(np.abs(m.sum(axis=1) - 1) > 1e-5)) for m in theirs.upsample)
    assert 100 <= quirky <= 110
    for k in range(4):
        fine, coarse = reference[f"vertices_{k}"], reference[f"vertices_{k + 1}"]
        ours = upsampling_matrix(fine, coarse, reference[f"faces_{k + 1}"])
        np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-6)


def test_open_hand_halves_into_closed_meshes_that_follow_its_poses() -> None:
    hand = open_hand()
    hierarchy = MeshHierarchy.build(hand.template, hand.faces)
    assert hierarchy.vertex_counts == (800, 400, 200, 100, 50)
    for count, faces in zip(hierarchy.vertex_counts, hierarchy.faces, strict=True):
        directed = {(int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3)}
        assert len(directed) == 3 * len(faces)
        assert {(b, a) for a, b in directed} == directed
        assert len(faces) == 2 * count - 4, "a closed surface without handles"
    rng = np.random.default_rng(0)
    angles = rng.uniform(hand.pose_limits[..., 0], hand.pose_limits[..., 1], (20, 16, 3))
    level = hand.pose(hand.pose_from_angles(angles)).vertices
    for kept, matrix, millimetres in zip(
        hierarchy.kept, hierarchy.upsample, (0.8, 1.5, 2.5, 4.0), strict=True
    ):
        coarse = level[:, kept]
        assert 1000 * np.linalg.norm(matrix @ coarse - level, axis=-1).mean() < millimetres
        level = coarse


def test_levels_halve_and_rows_are_convex(sphere_hierarchy: MeshHierarchy) -> None:
    assert sphere_hierarchy.vertex_counts == (218, 109, 55, 28)
    for matrix in sphere_hierarchy.upsample:
        np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
        assert matrix.min() >= 0
        assert np.count_nonzero(matrix, axis=1).max() <= 3


def test_upsampling_keeps_what_was_kept_and_stays_near_the_sphere(sphere_hierarchy: MeshHierarchy) -> None:
    vertices, _ = sphere()
    kept = sphere_hierarchy.kept[0]
    restored = sphere_hierarchy.upsample[0] @ vertices[kept]
    np.testing.assert_allclose(restored[kept], vertices[kept], atol=1e-6)
    assert np.linalg.norm(restored - vertices, axis=1).max() < 0.08


def test_spirals_start_with_their_vertex_and_its_neighbours(sphere_hierarchy: MeshHierarchy) -> None:
    faces, table = sphere_hierarchy.faces[0], sphere_hierarchy.spirals[0]
    neighbours: dict[int, set[int]] = {}
    for triangle in faces.tolist():
        for vertex in triangle:
            neighbours.setdefault(vertex, set()).update(set(triangle) - {vertex})
    for vertex, spiral in enumerate(table.tolist()):
        assert spiral[0] == vertex
        assert len(set(spiral)) == 9
        first_ring = spiral[1 : 1 + len(neighbours[vertex])]
        assert set(first_ring) <= neighbours[vertex]


def test_first_ring_runs_clockwise_from_outside(sphere_hierarchy: MeshHierarchy) -> None:
    vertices, _ = sphere()
    for vertex, spiral in enumerate(sphere_hierarchy.spirals[0]):
        first, second = vertices[spiral[1]] - vertices[vertex], vertices[spiral[2]] - vertices[vertex]
        assert np.dot(np.cross(first, second), vertices[vertex]) < 0


def test_saved_hierarchy_is_the_same_when_loaded(sphere_hierarchy: MeshHierarchy, tmp_path: Path) -> None:
    path = tmp_path / "hierarchy.npz"
    sphere_hierarchy.save(path)
    loaded = MeshHierarchy.load(path)
    for name in ("faces", "spirals", "upsample", "kept"):
        for ours, theirs in zip(getattr(sphere_hierarchy, name), getattr(loaded, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("missing", ["up_0_row", "spirals_1", "faces_3", "down_2_index"])
def test_missing_array_is_named(sphere_hierarchy: MeshHierarchy, missing: str) -> None:
    arrays = sphere_hierarchy.to_arrays()
    del arrays[missing]
    with pytest.raises(ValueError, match="hierarchy"):
        MeshHierarchy.from_arrays(arrays)


def test_damaged_arrays_are_refused(sphere_hierarchy: MeshHierarchy) -> None:
    arrays = sphere_hierarchy.to_arrays()
    arrays["spirals_0"] = arrays["spirals_0"] + 1000
    with pytest.raises(ValueError, match="does not have"):
        MeshHierarchy.from_arrays(arrays)
    arrays = sphere_hierarchy.to_arrays()
    arrays["faces_2"] = arrays["faces_2"] - 1
    with pytest.raises(ValueError, match="does not have"):
        MeshHierarchy.from_arrays(arrays)
    arrays = sphere_hierarchy.to_arrays()
    arrays["up_1_col"] = arrays["up_1_col"] + 1000
    with pytest.raises(ValueError, match="damaged"):
        MeshHierarchy.from_arrays(arrays)


def test_mesh_that_is_too_small_says_so() -> None:
    with pytest.raises(ValueError, match="reaches only"):
        MeshHierarchy.build(*sphere(2, 3), levels=3)


def test_unknown_edge_rows_are_refused() -> None:
    vertices, faces = sphere(3, 5)
    with pytest.raises(ValueError, match="barycentric"):
        upsampling_matrix(vertices, vertices, faces, "linear")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("point", "weights"),
    [
        ((0.25, 0.25, 1.0), (0.5, 0.25, 0.25)),
        ((0.5, -1.0, 0.3), (0.5, 0.5, 0.0)),
        ((2.0, 2.0, 0.0), (0.0, 0.5, 0.5)),
        ((-1.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
        ((0.0, 3.0, 1.0), (0.0, 0.0, 1.0)),
    ],
    ids=["inside", "first edge", "slanted edge", "first corner", "last corner"],
)
def test_closest_point_of_a_triangle(point: tuple[float, ...], weights: tuple[float, ...]) -> None:
    triangle = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    face, found = closest_barycentric(np.array([point]), triangle)
    assert face[0] == 0
    np.testing.assert_allclose(found[0], weights, atol=1e-12)
    assert np.array_equal(found[0] > 0, np.array(weights) > 0)
