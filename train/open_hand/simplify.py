"""Simplification that keeps a subset of the vertices, good in several poses at once, texture seams intact.

Half-edge collapses ordered by quadric error (Garland & Heckbert, 1997), summed over the poses. Since no
vertex moves, skin weights, shape components and texture points of the coarse mesh are plain selections.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from h2onet_ros.hand.decimation import edges

MAX_VALENCE = 9
MAX_NORMAL_TURN_COSINE = 0.3
LENGTH_PENALTY = 2e-4


@dataclass(frozen=True)
class SimplifiedMesh:
    """`kept`: ascending indices of the vertices that stay; `faces` numbered by their place in `kept`;
    `uv_faces` still refer to the texture points given."""

    kept: np.ndarray
    faces: np.ndarray
    uv_faces: np.ndarray


def simplify(
    poses: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    uv_faces: np.ndarray,
    vertex_count: int,
    locked: Iterable[int] = (),
    progress: Callable[[], object] | None = None,
) -> SimplifiedMesh:
    """Collapse edges of a closed mesh until `vertex_count` vertices are left.

    Args:
        poses: `(K, V, 3)` the same mesh in K poses, metres.
        faces: `(F, 3)` of a closed two-manifold.
        uv: `(T, 2)` texture points.
        uv_faces: `(F, 3)` indices into `uv`.
        locked: vertices that must stay.
        progress: called after every collapse.

    Raises:
        ValueError: no permitted collapse is left.
    """
    mesh = _CollapsingMesh(poses, faces, uv, uv_faces, set(locked))
    queue = [(mesh.cost(u, v), u, v) for a, b in edges(faces).tolist() for u, v in ((a, b), (b, a))]
    heapq.heapify(queue)
    left = len(np.unique(faces))
    while left > vertex_count:
        if not queue:
            raise ValueError(f"simplification stopped at {left} vertices, {vertex_count} were asked for")
        queued, u, v = heapq.heappop(queue)
        if not mesh.is_edge(u, v):
            continue
        cost = mesh.cost(u, v)
        if cost > queued * (1 + 1e-9):
            heapq.heappush(queue, (cost, u, v))
        elif mesh.may_collapse(u, v):
            for a, b in mesh.collapse(u, v):
                heapq.heappush(queue, (mesh.cost(a, b), a, b))
            left -= 1
            if progress is not None:
                progress()
    return mesh.result()


class _CollapsingMesh:
    """Triangle mesh with the tests and the bookkeeping of moving a vertex `u` onto its neighbour `v`."""

    def __init__(
        self, poses: np.ndarray, faces: np.ndarray, uv: np.ndarray, uv_faces: np.ndarray, locked: set[int]
    ):
        self.points = np.asarray(poses, dtype=np.float64).transpose(1, 0, 2)
        self.uv = uv
        self.faces: dict[int, list[int]] = dict(enumerate(np.asarray(faces).tolist()))
        self.uv_faces: dict[int, list[int]] = dict(enumerate(np.asarray(uv_faces).tolist()))
        self.locked = locked
        self.around: dict[int, set[int]] = {}
        for index, corners in self.faces.items():
            for vertex in corners:
                self.around.setdefault(vertex, set()).add(index)
        self.quadrics = np.stack([_quadrics(pose, faces) for pose in poses], axis=1)
        self.sizes = self.quadrics[:, :, :3, :3].trace(axis1=2, axis2=3).mean(axis=1)

    def neighbours(self, vertex: int) -> set[int]:
        return {x for face in self.around[vertex] for x in self.faces[face]} - {vertex}

    def is_edge(self, u: int, v: int) -> bool:
        return u in self.around and v in self.around and any(v in self.faces[f] for f in self.around[u])

    def cost(self, u: int, v: int) -> float:
        """Squared distance, times size, that `u` leaves behind, plus a little for long edges."""
        if u in self.locked:
            return np.inf
        point = np.concatenate([self.points[v], np.ones((len(self.points[v]), 1))], axis=1)
        error = np.einsum("ki,kij,kj->", point, self.quadrics[u] + self.quadrics[v], point)
        length = np.sum((self.points[u] - self.points[v]) ** 2)
        return float(error + LENGTH_PENALTY * length * (self.sizes[u] + self.sizes[v]))

    def may_collapse(self, u: int, v: int) -> bool:
        """Whether the mesh stays manifold, its texture seams stay put and no triangle flips."""
        if u in self.locked:
            return False
        ours, theirs = self.neighbours(u), self.neighbours(v)
        if len(ours & theirs) != 2 or len(ours | theirs) - 2 > MAX_VALENCE:
            return False
        if any(len(self.around[x]) <= 3 for x in ours & theirs):
            return False
        uv_moves = self._uv_moves(u, v)
        return uv_moves is not None and all(
            self._keeps_orientation(face, u, v, uv_moves)
            for face in self.around[u]
            if v not in self.faces[face]
        )

    def _uv_moves(self, u: int, v: int) -> dict[int, int] | None:
        """Where each texture point of `u` goes, or None where that is ambiguous (it would tear a seam)."""
        moves: dict[int, int] = {}
        for face in self.around[u]:
            corners, texture = self.faces[face], self.uv_faces[face]
            if v in corners:
                source, target = texture[corners.index(u)], texture[corners.index(v)]
                if moves.setdefault(source, target) != target:
                    return None
        used = {self.uv_faces[face][self.faces[face].index(u)] for face in self.around[u]}
        return moves if used == set(moves) else None

    def _keeps_orientation(self, face: int, u: int, v: int, uv_moves: dict[int, int]) -> bool:
        corners = self.faces[face]
        moved = [v if x == u else x for x in corners]
        before, after = _normals(self.points[corners]), _normals(self.points[moved])
        sizes = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
        if np.any(np.sum(before * after, axis=-1) <= MAX_NORMAL_TURN_COSINE * sizes):
            return False
        texture = self.uv_faces[face]
        moved_texture = [uv_moves.get(t, t) if x == u else t for x, t in zip(corners, texture)]
        return _signed_area(self.uv[texture]) * _signed_area(self.uv[moved_texture]) > 0

    def collapse(self, u: int, v: int) -> list[tuple[int, int]]:
        """Move `u` onto `v`; returns the half-edges whose cost is new."""
        uv_moves = self._uv_moves(u, v) or {}
        for face in self.around.pop(u):
            corners, texture = self.faces[face], self.uv_faces[face]
            if v in corners:
                for x in corners:
                    if x != u:
                        self.around[x].discard(face)
                del self.faces[face], self.uv_faces[face]
            else:
                place = corners.index(u)
                corners[place] = v
                texture[place] = uv_moves[texture[place]]
                self.around[v].add(face)
        self.quadrics[v] += self.quadrics[u]
        self.sizes[v] += self.sizes[u]
        # A collapse that was refused before may be permitted now that its surroundings changed.
        ring = self.neighbours(v)
        return [pair for x in ring for pair in ((v, x), (x, v))] + [
            (x, y) for x in ring for y in self.neighbours(x) if y != v
        ]

    def result(self) -> SimplifiedMesh:
        order = sorted(self.faces)
        faces = np.array([self.faces[i] for i in order])
        kept, renumbered = np.unique(faces, return_inverse=True)
        return SimplifiedMesh(kept, renumbered.reshape(-1, 3), np.array([self.uv_faces[i] for i in order]))


def _normals(corners: np.ndarray) -> np.ndarray:
    """Normals `(K, 3)`, twice the area long, of one triangle `(3, K, 3)` in K poses."""
    return np.cross(corners[1] - corners[0], corners[2] - corners[0])


def _signed_area(corners: np.ndarray) -> float:
    (a, b, c) = corners
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _quadrics(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Quadrics `(V, 4, 4)` of the planes around each vertex, weighted by the size (root of the area) of
    triangles.

    Weighting by area neglects the small fingertips, equal weights neglect the palm.
    """
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    planes = (
        np.concatenate([normals, -np.sum(normals * corners[:, 0], axis=1, keepdims=True)], axis=1) / lengths
    )
    weighted = planes[:, :, None] * planes[:, None, :] * np.sqrt(lengths[:, :, None])
    quadrics = np.zeros((len(vertices), 4, 4))
    for corner in range(3):
        np.add.at(quadrics, faces[:, corner], weighted)
    return quadrics
