"""Summits of a scalar field on a lattice, and the thinning of those that stand too close."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

TILE = 64  # voxels; the largest piece of a volume that is worked on in floating point at once

Box = tuple[slice, slice, slice]

_ASKED = 1024  # points whose neighbours are looked up at once
_NEIGHBOURS = [step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]


def tiles(shape: Sequence[int]) -> Iterator[Box]:
    """Boxes of at most TILE voxels an edge that together cover the shape once."""
    z, y, x = ([slice(i, min(i + TILE, n)) for i in range(0, n, TILE)] for n in shape)
    yield from itertools.product(z, y, x)


def grown(box: Box, margin: Sequence[int], shape: Sequence[int]) -> Box:
    """The box with a margin (voxels) on all sides, cut off at the shape's edges."""
    z, y, x = (
        slice(max(s.start - m, 0), min(s.stop + m, n))
        for s, m, n in zip(box, margin, shape, strict=True)
    )
    return z, y, x


def within(inner: Box, outer: Box) -> Box:
    """The inner box as seen from the outer one's corner."""
    z, y, x = (
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
    return z, y, x


def tops(field: NDArray, allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices (n, 3) of the allowed voxels that none of their 26 neighbours exceeds."""
    padded = np.pad(field, 1, constant_values=-np.inf)
    flat = padded.ravel()
    at = np.flatnonzero(np.pad(allowed, 1))
    for step in _NEIGHBOURS:
        offset = int(np.dot(step, [padded.shape[1] * padded.shape[2], padded.shape[2], 1]))
        at = at[flat[at] >= flat[at + offset]]
    return np.column_stack(np.unravel_index(at, padded.shape)) - 1


def merge_plateaus(
    voxels: NDArray[np.intp], heights: NDArray, shape: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray]:
    """One summit, at its middle, for each group of neighbouring tops; heights to match.

    Neighbouring tops are equally high, since neither exceeds the other.
    """
    if not len(voxels):
        return voxels.astype(np.float64), heights
    roomy = np.asarray(shape) + 2  # a frame, so that steps over an edge meet nobody
    index = np.asarray(np.ravel_multi_index(tuple((voxels + 1).T), tuple(roomy)))
    order = np.argsort(index)
    voxels, heights, index = voxels[order], heights[order], index[order]
    groups = _linked(index, roomy)
    size = np.bincount(groups)
    middles = np.stack([np.bincount(groups, axis) / size for axis in voxels.T], axis=1)
    tallest = np.full(len(size), -np.inf, dtype=heights.dtype)
    np.maximum.at(tallest, groups, heights)
    return middles, tallest


def _linked(index: NDArray[np.intp], shape: NDArray) -> NDArray[np.int32]:
    """For each of the sorted flat indices, the number of its 26-connected group."""
    ends: list[tuple[NDArray, NDArray]] = []
    for step in _NEIGHBOURS[13:]:  # the forward half
        there = index + int(np.dot(step, [shape[1] * shape[2], shape[2], 1]))
        found = np.minimum(np.searchsorted(index, there), len(index) - 1)
        here = np.flatnonzero(index[found] == there)
        ends.append((here.astype(np.int32), found[here].astype(np.int32)))
    tails, heads = (np.concatenate(side) for side in zip(*ends, strict=True))
    links = coo_array((np.ones(len(tails), dtype=bool), (tails, heads)), (len(index),) * 2)
    return connected_components(links, directed=False)[1]


def thin(
    positions: NDArray[np.float64], reach: NDArray[np.float64], groups: NDArray | None = None
) -> NDArray[np.intp]:
    """Indices of the points that no stronger point that stays stands too close to.

    Args:
        positions: (n, 3), strongest first.
        reach: (n,) in the positions' unit; two points are too close below the larger of theirs.
        groups: (n,), or None; where given, only points of different groups are ever too close.
    """
    if not len(positions):
        return np.zeros(0, dtype=np.intp)
    tree, farthest = KDTree(positions), float(reach.max())
    alive = np.ones(len(positions), dtype=bool)
    for start in range(0, len(positions), _ASKED):
        asked = start + np.flatnonzero(alive[start : start + _ASKED])
        answers = tree.query_ball_point(positions[asked], farthest)
        for i, answer in zip(asked.tolist(), answers, strict=True):
            if not alive[i] or len(answer) == 1:  # nobody but itself
                continue
            near = np.array(answer, dtype=np.intp)
            near = near[near > i]
            way = positions[near] - positions[i]
            close = np.einsum("na,na->n", way, way) < np.maximum(reach[near], reach[i]) ** 2
            if groups is not None:
                close &= groups[near] != groups[i]
            alive[near[close]] = False
    return np.flatnonzero(alive)
