"""Halving a triangle mesh by quadric half-edge collapses (Garland & Heckbert, 1997), keeping a vertex subset.

The rules, with their order of ties, are those that made the hierarchy of the published H2ONet weights.
"""

from __future__ import annotations

import heapq

import numpy as np


def plane_quadrics(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Sum of the squared-distance quadrics of the planes around each vertex.

    Args:
        vertices: `(V, 3)`.
        faces: `(F, 3)` vertex indices.

    Returns:
        `(V, 4, 4)` float64; every plane has a unit normal and counts once, whatever its face's area.
    """
    corners = np.asarray(vertices, dtype=np.float64)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(float).tiny)
    planes = np.concatenate([normals, -np.sum(normals * corners[:, 0], axis=1, keepdims=True)], axis=1)
    quadrics = np.zeros((len(vertices), 4, 4))
    for corner in range(3):
        np.add.at(quadrics, faces[:, corner], planes[:, :, None] * planes[:, None, :])
    return quadrics


def edges(faces: np.ndarray) -> np.ndarray:
    """Undirected edges of a mesh as sorted, unique pairs `(E, 2)` with the smaller index first."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(directed, axis=1), axis=0)


def decimate(vertices: np.ndarray, faces: np.ndarray, vertex_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Collapse edges until at most `vertex_count` vertices are used.

    Args:
        vertices: `(V, 3)`.
        faces: `(F, 3)` vertex indices.
        vertex_count: vertices wanted.

    Returns:
        `(kept, faces)`: ascending indices `(n,)` of the vertices that stay, and the coarse faces `(F', 3)`
        numbered by their place in `kept`; both int32.

    Raises:
        ValueError: no edge is left before `vertex_count` is reached.
    """
    quadrics = plane_quadrics(vertices, faces)
    points = np.concatenate([np.asarray(vertices, dtype=np.float64), np.ones((len(vertices), 1))], axis=1)
    faces = np.array(faces)

    def costs(r: int, c: int) -> tuple[float, float]:
        total = quadrics[r] + quadrics[c]
        return float(points[r] @ total @ points[r]), float(points[c] @ total @ points[c])

    queue = [(min(costs(r, c)), (r, c)) for r, c in edges(faces).tolist()]
    heapq.heapify(queue)
    while len(np.unique(faces)) > vertex_count:
        if not queue:
            raise ValueError(f"the mesh cannot be reduced to {vertex_count} vertices: no edge is left")
        queued_cost, (r, c) = heapq.heappop(queue)
        if r == c:
            continue
        keep_r, keep_c = costs(r, c)
        if min(keep_r, keep_c) > queued_cost:
            heapq.heappush(queue, (min(keep_r, keep_c), (r, c)))
            continue
        kept, removed = (r, c) if keep_r < keep_c else (c, r)
        # Relabelled entries keep their place in the heap: outdated costs are corrected when they are popped.
        queue = [(cost, tuple(kept if x == removed else x for x in pair)) for cost, pair in queue]
        quadrics[[r, c]] = quadrics[r] + quadrics[c]
        faces[faces == removed] = kept
        degenerate = (
            (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 2] == faces[:, 0])
        )
        faces = faces[~degenerate]
    kept_vertices, renumbered = np.unique(faces, return_inverse=True)
    return kept_vertices.astype(np.int32), renumbered.reshape(-1, 3).astype(np.int32)
