"""Spiral neighbourhoods of a triangle mesh, the receptive fields of spiral convolutions.

The idea is SpiralNet++ (Gong et al., 2019); the start vertices and the walking order are those the published
H2ONet weights were trained with, because a spiral convolution's weights belong to one order of neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class VertexRings:
    """One-ring neighbours of every vertex, in a reproducible order.

    Args:
        faces: `(F, 3)` vertex indices, counter-clockwise seen from outside.
        vertex_count: number of vertices.
    """

    def __init__(self, faces: np.ndarray, vertex_count: int):
        self.vertex_count = vertex_count
        self._opposite: dict[tuple[int, int], int] = {}
        self._follower = [-1] * vertex_count
        self._neighbours: list[list[int]] = [[] for _ in range(vertex_count)]
        for a, b, c in np.asarray(faces).tolist():
            for tail, head, third in ((a, b, c), (b, c, a), (c, a, b)):
                self._opposite[tail, head] = third
                self._follower[tail] = head
                for neighbour in (head, third):
                    if neighbour not in self._neighbours[tail]:
                        self._neighbours[tail].append(neighbour)
        self.rings: Mapping[int, list[int]] = {v: self._walk(v) for v in range(vertex_count)}

    def _walk(self, vertex: int) -> list[int]:
        """Neighbours of `vertex`, clockwise from outside.

        The start is the vertex that follows `vertex` in its last face, or, on a boundary, the neighbour whose
        edge from `vertex` has no face.
        """
        open_ends = [x for x in self._neighbours[vertex] if (vertex, x) not in self._opposite]
        current = open_ends[0] if open_ends else self._follower[vertex]
        ring: list[int] = []
        while current >= 0 and current not in ring:
            ring.append(current)
            current = self._opposite.get((current, vertex), -1)
        return ring


def _next_ring(rings: Mapping[int, list[int]], last_ring: list[int], seen: set[int]) -> list[int]:
    """Vertices around `last_ring` that are not in `seen`, each added to `seen`."""
    members = set(last_ring)
    result = []
    for vertex in last_ring:
        ring = rings[vertex]
        start = next((i + 1 for i, x in enumerate(ring) if x in members), 0)
        for neighbour in ring[start:] + ring[:start]:
            if neighbour not in seen:
                seen.add(neighbour)
                result.append(neighbour)
    return result


def spirals(faces: np.ndarray, vertex_count: int, length: int) -> np.ndarray:
    """Spiral of each vertex: itself, its first ring, the next rings, cut at `length`.

    Args:
        faces: `(F, 3)` vertex indices, counter-clockwise seen from outside.
        vertex_count: number of vertices.
        length: vertices per spiral, the centre included.

    Returns:
        `(vertex_count, length)` int32 vertex indices; column 0 is the vertex itself.

    Raises:
        ValueError: a vertex reaches fewer than `length` vertices.
    """
    rings = VertexRings(faces, vertex_count).rings
    table = np.empty((vertex_count, length), dtype=np.int32)
    for vertex in range(vertex_count):
        spiral = [vertex]
        seen = {vertex, *rings[vertex]}
        ring = rings[vertex]
        while ring and len(spiral) < length:
            spiral += ring
            ring = _next_ring(rings, ring, seen)
        if len(spiral) < length:
            raise ValueError(
                f"spirals of {length} vertices were asked for, vertex {vertex} reaches only {len(spiral)}; "
                "use a connected mesh with more vertices, fewer levels or shorter spirals"
            )
        table[vertex] = spiral[:length]
    return table
