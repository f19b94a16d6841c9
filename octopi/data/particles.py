"""Number the particles of a target, so that their centres are known after any augmentation.

A code is the label of a voxel and, times 256, the number of the particle that it is of. It stays
below 2**24, so that an augmentation may compute with it in float32.
"""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from octopi.geometry import Grid, Points

Codes = TypeVar("Codes")  # an array or a tensor of integers
LABELS = 256
MAX_NUMBER = 2**16 - 1  # of particles; more begin again at 1


def number_particles(
    labels: NDArray[np.uint8],
    grid: Grid,
    particles: Mapping[str, Points],
    label_of: Mapping[str, int],
) -> NDArray[np.int32]:
    """Return the code of each voxel: those of an object have the number of its nearest particle.

    Args:
        labels: (z, y, x).
        grid: of the labels.
        particles: object name -> where its particles are; an object without any has no numbers.
        label_of: object name -> label.
    """
    codes = labels.astype(np.int32)
    for name, points in particles.items():
        if not len(points):
            continue
        voxels = np.nonzero(labels == label_of[name])
        _, nearest = KDTree(points.positions).query(grid.to_angstrom(np.transpose(voxels)))
        codes[voxels] += LABELS * (np.asarray(nearest, np.int32) % MAX_NUMBER + 1)
    return codes


def split_codes(codes: Codes) -> tuple[Codes, Codes]:
    """Return the labels and the numbers of particles that codes stand for."""
    return codes % LABELS, codes // LABELS  # type: ignore[operator]
