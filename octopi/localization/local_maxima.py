"""Local maxima of a volume, and non-maximum suppression."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

TILE = 64  # voxels; the largest piece of a volume that is worked on in floating point at once

Box = tuple[slice, slice, slice]

_QUERY_BATCH = 1024  # points whose neighbours are queried at once
_NEIGHBOURS = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]


def tiles(shape: Sequence[int]) -> Iterator[Box]:
    """Yield boxes of at most TILE voxels an edge that cover each voxel of the shape once."""
    z, y, x = ([slice(i, min(i + TILE, n)) for i in range(0, n, TILE)] for n in shape)
    yield from itertools.product(z, y, x)


def with_margin(box: Box, margin: Sequence[int], shape: Sequence[int]) -> Box:
    """Return the box with a margin (voxels) on all sides, clipped to the shape."""
    z, y, x = (
        slice(max(s.start - m, 0), min(s.stop + m, n))
        for s, m, n in zip(box, margin, shape, strict=True)
    )
    return z, y, x


def relative_to(inner: Box, outer: Box) -> Box:
    """Return the inner box in indices that count from the outer one's corner."""
    z, y, x = (
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
    return z, y, x


def local_maxima(field: NDArray, allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the indices (n, 3) of the allowed voxels that none of their 26 neighbours exceeds."""
    shape, inside = [n + 2 for n in field.shape], (slice(1, -1),) * 3
    padded, candidates = np.full(shape, -np.inf, field.dtype), np.zeros(shape, dtype=bool)
    padded[inside] = field
    candidates[inside] = allowed
    flat = padded.ravel()
    index = np.flatnonzero(candidates)
    for step in _NEIGHBOURS:
        index = index[flat[index] >= flat[index + _flat_offset(step, padded.shape)]]
    return np.column_stack(np.unravel_index(index, padded.shape)) - 1


def _flat_offset(step: Sequence[int], shape: Sequence[int]) -> int:
    """Return how far a step along z, y, x goes in the flattened array."""
    return (step[0] * int(shape[1]) + step[1]) * int(shape[2]) + step[2]


def merge_plateaus(
    voxels: NDArray[np.intp], heights: NDArray, shape: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray]:
    """Merge each group of neighbouring local maxima into one at its middle.

    Neighbouring maxima are equally high, since neither exceeds the other.

    Args:
        voxels: (n, 3), the maxima.
        heights: (n,) of the maxima.
        shape: of the volume.

    Returns:
        Voxel coordinates (m, 3) and heights (m,).
    """
    if not len(voxels):
        return voxels.astype(np.float64), heights
    padded_shape = [n + 2 for n in shape]  # so that no step over an edge reaches another voxel
    index = np.asarray(np.ravel_multi_index(tuple((voxels + 1).T), padded_shape))
    order = np.argsort(index)
    voxels, heights, index = voxels[order], heights[order], index[order]
    groups = _group_neighbours(index, padded_shape)
    size = np.bincount(groups)
    middles = np.stack([np.bincount(groups, axis) / size for axis in voxels.T], axis=1)
    group_heights = np.full(len(size), -np.inf, dtype=heights.dtype)
    np.maximum.at(group_heights, groups, heights)
    return middles, group_heights


def _group_neighbours(index: NDArray[np.intp], shape: Sequence[int]) -> NDArray[np.int32]:
    """Return the number of the 26-connected group of each of the sorted flat indices."""
    links: list[tuple[NDArray, NDArray]] = []
    for step in _NEIGHBOURS[13:]:  # one of each pair of opposite steps
        neighbour = index + _flat_offset(step, shape)
        position = np.minimum(np.searchsorted(index, neighbour), len(index) - 1)
        has_neighbour = np.flatnonzero(index[position] == neighbour)
        links.append((has_neighbour.astype(np.int32), position[has_neighbour].astype(np.int32)))
    rows, columns = (np.concatenate(ends) for ends in zip(*links, strict=True))
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), (len(index),) * 2)
    return connected_components(graph, directed=False)[1]


def suppress_non_maxima(
    positions: NDArray[np.float64], reach: NDArray[np.float64], groups: NDArray | None = None
) -> NDArray[np.intp]:
    """Return the indices kept by greedy non-maximum suppression.

    Args:
        positions: (n, 3), strongest first.
        reach: (n,) in the positions' unit; two points are too close below the larger of theirs.
        groups: (n,); only points of different groups are ever too close. None = all points are.
    """
    if not len(positions):
        return np.zeros(0, dtype=np.intp)
    tree, max_reach = KDTree(positions), float(reach.max())
    kept = np.ones(len(positions), dtype=bool)
    for start in range(0, len(positions), _QUERY_BATCH):
        batch = start + np.flatnonzero(kept[start : start + _QUERY_BATCH])
        neighbours = tree.query_ball_point(positions[batch], max_reach)
        for i, near in zip(batch.tolist(), neighbours, strict=True):
            if not kept[i] or len(near) == 1:  # its only neighbour is itself
                continue
            weaker = np.array(near, dtype=np.intp)
            weaker = weaker[weaker > i]
            offsets = positions[weaker] - positions[i]
            squared = np.einsum("na,na->n", offsets, offsets)
            close = squared < np.maximum(reach[weaker], reach[i]) ** 2
            if groups is not None:
                close &= groups[weaker] != groups[i]
            kept[weaker[close]] = False
    return np.flatnonzero(kept)
