"""Levels of a mesh from fine to coarse, with spirals and up-sampling: the constants of the mesh decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from h2onet_ros.hand.decimation import decimate
from h2onet_ros.hand.spirals import spirals

EdgeRows = Literal["barycentric", "reference"]


@dataclass(frozen=True)
class MeshHierarchy:
    """Mesh levels; level 0 is the finest.

    Attributes:
        faces: for each level `(F_k, 3)` int32 vertex indices; one entry more than there are halvings.
        spirals: for each level but the coarsest, `(n_k, L)` int32 spirals.
        upsample: for each level but the coarsest, `(n_k, n_{k+1})` float32 dense matrix that makes the
            vertices of level k from those of level k + 1; at most three weights in a row.
        kept: for each level but the coarsest, `(n_{k+1},)` int32 indices of the vertices that stay.
    """

    faces: tuple[np.ndarray, ...]
    spirals: tuple[np.ndarray, ...]
    upsample: tuple[np.ndarray, ...]
    kept: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        levels = len(self.upsample)
        if (len(self.faces), len(self.spirals), len(self.kept)) != (levels + 1, levels, levels):
            raise ValueError(
                f"{levels} up-samplings need {levels + 1} face, {levels} spiral and {levels} index arrays, "
                f"got {len(self.faces)}, {len(self.spirals)} and {len(self.kept)}"
            )
        for k in range(levels):
            fine, coarse = self.upsample[k].shape
            expected_next = self.upsample[k + 1].shape[0] if k + 1 < levels else coarse
            if len(self.spirals[k]) != fine or len(self.kept[k]) != coarse or expected_next != coarse:
                raise ValueError(f"level {k} of the mesh hierarchy does not fit its neighbours; rebuild it")
            indices = [(a, fine) for a in (self.faces[k], self.spirals[k], self.kept[k])]
            indices.append((self.faces[k + 1], coarse))
            if any(index.min() < 0 or index.max() >= count for index, count in indices):
                raise ValueError(
                    f"level {k} of the mesh hierarchy refers to vertices it does not have; rebuild it"
                )

    @classmethod
    def build(
        cls,
        vertices: np.ndarray,
        faces: np.ndarray,
        levels: int = 4,
        spiral_length: int = 9,
        edge_rows: EdgeRows = "barycentric",
    ) -> MeshHierarchy:
        """Halve a template `levels` times.

        Args:
            vertices: `(V, 3)` template.
            faces: `(F, 3)` vertex indices, counter-clockwise seen from outside.
            levels: number of halvings.
            spiral_length: vertices per spiral.
            edge_rows: how a fine vertex whose closest coarse point lies on an edge is weighted. "barycentric"
                gives that closest point, "reference" the weights of the published network (see
                `upsampling_matrix`).

        Raises:
            ValueError: the mesh is too small for so many levels or so long spirals.
        """
        level_vertices = np.asarray(vertices)
        level_faces = [np.asarray(faces, dtype=np.int32)]
        level_spirals, upsample, kept = [], [], []
        for _ in range(levels):
            count = len(level_vertices)
            level_spirals.append(spirals(level_faces[-1], count, spiral_length))
            indices, coarse_faces = decimate(level_vertices, level_faces[-1], (count + 1) // 2)
            coarse_vertices = level_vertices[indices]
            upsample.append(upsampling_matrix(level_vertices, coarse_vertices, coarse_faces, edge_rows))
            kept.append(indices)
            level_faces.append(coarse_faces)
            level_vertices = coarse_vertices
        return cls(tuple(level_faces), tuple(level_spirals), tuple(upsample), tuple(kept))

    @property
    def vertex_counts(self) -> tuple[int, ...]:
        """Vertices of each level, finest first."""
        return (*(m.shape[0] for m in self.upsample), self.upsample[-1].shape[1])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for an npz file: `faces_k`, `spirals_k`, `down_k_index`, `up_k_{row,col,val}`."""
        arrays: dict[str, np.ndarray] = {f"faces_{k}": f for k, f in enumerate(self.faces)}
        for k, matrix in enumerate(self.upsample):
            rows, columns = np.nonzero(matrix)
            arrays[f"spirals_{k}"] = self.spirals[k]
            arrays[f"down_{k}_index"] = self.kept[k]
            arrays[f"up_{k}_row"] = rows.astype(np.int32)
            arrays[f"up_{k}_col"] = columns.astype(np.int32)
            arrays[f"up_{k}_val"] = matrix[rows, columns]
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> MeshHierarchy:
        """Inverse of `to_arrays`; other keys are ignored.

        Raises:
            ValueError: arrays are missing or do not fit each other.
        """
        levels = sum(f"up_{k}_row" in arrays for k in range(len(arrays)))
        try:
            if levels == 0:
                raise KeyError("up_0_row")
            kept = tuple(np.asarray(arrays[f"down_{k}_index"], dtype=np.int32) for k in range(levels))
            level_spirals = tuple(np.asarray(arrays[f"spirals_{k}"], dtype=np.int32) for k in range(levels))
            upsample = []
            for k in range(levels):
                matrix = np.zeros((len(level_spirals[k]), len(kept[k])), dtype=np.float32)
                index = (arrays[f"up_{k}_row"], arrays[f"up_{k}_col"])
                np.add.at(matrix, index, np.asarray(arrays[f"up_{k}_val"], dtype=np.float32))
                upsample.append(matrix)
            faces = tuple(np.asarray(arrays[f"faces_{k}"], dtype=np.int32) for k in range(levels + 1))
        except KeyError as error:
            raise ValueError(
                f"mesh hierarchy lacks the array {error}; save it with MeshHierarchy.save"
            ) from error
        except IndexError as error:
            raise ValueError(f"mesh hierarchy is damaged: {error}; rebuild it") from error
        return cls(faces, level_spirals, tuple(upsample), kept)

    def save(self, path: str | Path) -> None:
        """Write a compressed npz file."""
        np.savez_compressed(path, **self.to_arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> MeshHierarchy:
        """Read what `save` wrote; never unpickles.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not a mesh hierarchy.
        """
        with np.load(path, allow_pickle=False) as arrays:
            return cls.from_arrays(dict(arrays))


def upsampling_matrix(
    fine: np.ndarray, coarse: np.ndarray, coarse_faces: np.ndarray, edge_rows: EdgeRows = "barycentric"
) -> np.ndarray:
    """Weights that express each fine vertex by the corners of the closest coarse face.

    With `edge_rows="reference"`, a vertex whose closest point lies on an edge gets the two weights whose
    combination of the edge's ends, seen as vectors from the origin, is closest to the vertex itself. Such
    rows need not sum to 1; the published weights were trained with them.

    Args:
        fine: `(V, 3)`.
        coarse: `(n, 3)`.
        coarse_faces: `(F, 3)` indices into `coarse`.
        edge_rows: see above.

    Returns:
        `(V, n)` float32.

    Raises:
        ValueError: `edge_rows` is neither of the two names.
    """
    if edge_rows not in ("barycentric", "reference"):
        raise ValueError(f'edge_rows must be "barycentric" or "reference", got {edge_rows!r}')
    fine = np.asarray(fine, dtype=np.float64)
    coarse = np.asarray(coarse, dtype=np.float64)
    weights = closest_barycentric(fine, coarse[coarse_faces])
    matrix = np.zeros((len(fine), len(coarse)))
    for i, (face, row) in enumerate(zip(*weights)):
        corners = coarse_faces[face]
        support = corners[row > 0]
        if len(support) == 2 and edge_rows == "reference":
            matrix[i, support] = np.linalg.lstsq(coarse[support].T, fine[i], rcond=None)[0]
        else:
            matrix[i, corners] = row
    return matrix.astype(np.float32)


def closest_barycentric(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Closest point of a set of triangles for each of some points.

    Args:
        points: `(P, 3)`.
        triangles: `(F, 3, 3)` corners.

    Returns:
        `(face, weights)`: the closest triangle's index `(P,)` and the barycentric weights `(P, 3)` of its
        closest point; weights are exactly zero for corners that do not bear on it.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    candidates = [_plane_weights(points, a, b, c)]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        candidates.append(_segment_weights(points, triangles, first, second))
    weights = np.stack(candidates)
    nearest = np.einsum("kpfc,fcx->kpfx", weights, triangles)
    squared = np.sum((nearest - points[None, :, None]) ** 2, axis=-1)
    inside = np.all(weights[0] >= 0, axis=-1)
    squared[0][~inside] = np.inf
    order = np.argmin(squared.transpose(1, 0, 2).reshape(len(points), -1), axis=1)
    kind, face = np.divmod(order, len(triangles))
    return face, weights[kind, np.arange(len(points)), face]


def _plane_weights(points: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Barycentric weights `(P, F, 3)` of the feet of the perpendiculars; negative outside the triangle."""
    u, v = b - a, c - a
    w = points[:, None] - a
    uu, uv, vv = (np.sum(x * y, axis=-1) for x, y in ((u, u), (u, v), (v, v)))
    wu, wv = np.sum(w * u, axis=-1), np.sum(w * v, axis=-1)
    determinant = np.maximum(uu * vv - uv * uv, np.finfo(float).tiny)
    s = (vv * wu - uv * wv) / determinant
    t = (uu * wv - uv * wu) / determinant
    return np.stack([1 - s - t, s, t], axis=-1)


def _segment_weights(points: np.ndarray, triangles: np.ndarray, first: int, second: int) -> np.ndarray:
    """Weights `(P, F, 3)` of the closest points on one edge of each triangle."""
    start, end = triangles[:, first], triangles[:, second]
    direction = end - start
    length = np.maximum(np.sum(direction**2, axis=-1), np.finfo(float).tiny)
    t = np.clip(np.sum((points[:, None] - start) * direction, axis=-1) / length, 0.0, 1.0)
    weights = np.zeros((*t.shape, 3))
    weights[..., first] = 1 - t
    weights[..., second] = t
    return weights
