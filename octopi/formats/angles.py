"""Euler angles of orientations, as RELION and Dynamo define them, in degrees.

An orientation R turns the frame of the object into that of the tomogram (copick's convention).
RELION: R = A(rot, tilt, psi), the matrix of `Euler::anglesToMatrix3`, which is the inverse of the
intrinsic Z-Y-Z rotation by rot, tilt, psi (`particle_set.cpp`, getMatrix3x3: "maps … from particle
space to tomogram space"). Dynamo: the inverse of R is `dynamo_euler2matrix([tdrot, tilt, narot])` =
Rz(narot) Rx(tilt) Rz(tdrot) (Dynamo wiki, "Euler angles convention").
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


def relion_angles(orientations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rot, tilt and psi (n, 3) of orientations (n, 3, 3); psi is 0 at tilt 0° and 180°."""
    return _inverse_angles(orientations, "ZYZ")


def dynamo_angles(orientations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return tdrot, tilt and narot (n, 3) of orientations (n, 3, 3); narot is 0 as psi above."""
    return _inverse_angles(orientations, "zxz")


def _inverse_angles(orientations: NDArray[np.float64], axes: str) -> NDArray[np.float64]:
    """Return Euler angles (n, 3) above -180° of the inverses; capital `axes` are intrinsic."""
    inverse = Rotation.from_matrix(orientations).inv()
    with warnings.catch_warnings():
        # At tilt 0° and 180° only the sum of the other two angles is defined; SciPy says so.
        warnings.filterwarnings("ignore", message="Gimbal lock detected")
        angles = inverse.as_euler(axes, degrees=True)
    return np.where(angles == -180, 180, angles)
