"""Masks of structures: bring them to the grid of a target."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.sparse import csr_array

from octopi.errors import DataError
from octopi.geometry import MAX_OFFSET, Grid, format_shape, same_spacing


def fit_mask(mask: NDArray, mask_grid: Grid, grid: Grid) -> NDArray:
    """Bring a mask to the grid of a target that covers the same box, finer or coarser.

    Where the mask is coarser, each voxel takes the value of the mask's voxel that its centre is in.

    Args:
        mask: (z, y, x), 0 = outside.
        mask_grid: its grid.
        grid: of the result.

    Raises:
        DataError: the mask covers another box.
    """
    if all(map(same_spacing, mask_grid.spacing, grid.spacing)):
        return align_mask(mask, grid.shape)
    aligned = align_mask(mask, grid.at_spacing(float(np.mean(mask_grid.spacing))).shape)
    for axis, (old, new) in enumerate(zip(aligned.shape, grid.shape, strict=True)):
        if new > old:
            nearest = np.floor(np.arange(new) * old / new + 0.5).astype(np.intp)
            aligned = aligned.take(np.minimum(nearest, old - 1), axis)
    return aligned if aligned.shape == grid.shape else coarsen_mask(aligned, grid.shape)


def align_mask(mask: NDArray, shape: Sequence[int]) -> NDArray:
    """Crop or pad a mask to a shape that differs by a voxel or two, at the far ends.

    The first voxel stays where it is: grids of one run share their first voxel's centre.

    Args:
        mask: (z, y, x) labels or booleans.
        shape: of the result, voxels z y x; along each axis within MAX_OFFSET of that of the mask.

    Returns:
        (z, y, x) of the shape; voxels that are added are 0.

    Raises:
        DataError: the shapes differ by more.
    """
    offsets = [new - old for new, old in zip(shape, mask.shape, strict=True)]
    if max(map(abs, offsets)) > MAX_OFFSET:
        raise DataError(
            f"A mask of {format_shape(mask.shape)} voxels does not fit a tomogram of "
            f"{format_shape(shape)}: they differ by more than {MAX_OFFSET} voxels. Use the mask "
            "made for this tomogram and voxel spacing."
        )
    cropped = mask[tuple(slice(0, length) for length in shape)]
    return np.pad(cropped, [(0, max(0, offset)) for offset in offsets])


def coarsen_mask(mask: NDArray, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Coarsen a mask to another shape of the same box: set each voxel that is half inside or more.

    So the mask keeps its volume. A part that is too thin for that, such as a sheet, would be lost:
    of it each voxel is set in which the centre of one of its voxels lies.

    Args:
        mask: (z, y, x), 0 = outside.
        shape: of the result, voxels z y x.
    """
    overlaps = [_overlaps(old, new) for old, new in zip(mask.shape, shape, strict=True)]
    along_y, along_x = map(csr_array, overlaps[1:])
    first_y, first_x = (np.unique(part.argmax(0), return_index=True)[1] for part in overlaps[1:])
    inside = np.zeros(tuple(shape), np.float32)
    centres = np.zeros(tuple(shape), bool)
    for section, weights in zip(mask != 0, overlaps[0].T, strict=True):
        if section.any():
            share = (along_x @ (along_y @ section).T).T
            for z in np.flatnonzero(weights):
                inside[z] += weights[z] * share
            rows = np.logical_or.reduceat(section, first_y, axis=0)
            centres[weights.argmax()] |= np.logical_or.reduceat(rows, first_x, axis=1)
    mostly = inside > 0.5 - 1e-6
    near = np.asarray(binary_dilation(mostly, np.ones((3, 3, 3))), bool)
    return mostly | (centres & ~near)


def _overlaps(length: int, new_length: int) -> NDArray[np.float32]:
    """Return which share of each new voxel of an axis each old one covers (new, old).

    The centres of the first two coincide.
    """
    scale = new_length / length
    old, new = np.arange(length) * scale, np.arange(new_length)[:, None]
    ends = np.minimum(old + scale / 2, new + 0.5), np.maximum(old - scale / 2, new - 0.5)
    covered = np.maximum(ends[0] - ends[1], 0)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)
