"""Euler angles of orientations, as RELION and Dynamo define them, in degrees.

An orientation R turns the frame of the object into that of the tomogram (copick's convention).
RELION: R = A(rot, tilt, psi), the matrix of `Euler::anglesToMatrix3`, which is the inverse of the
intrinsic Z-Y-Z rotation by rot, tilt, psi (`particle_set.cpp`, getMatrix3x3: "maps … from particle
space to tomogram space"). Dynamo: the inverse of R is `dynamo_euler2matrix([tdrot, tilt, narot])` =
Rz(narot) Rx(tilt) Rz(tdrot) (Dynamo wiki, "Euler angles convention").
"""

import numpy as np
from numpy.typing import NDArray

_STRAIGHT = 1e-6  # sine of a tilt below which only the sum of the other two angles is defined


def relion_angles(orientations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rot, tilt and psi (n, 3); psi is 0 where tilt is 0° or 180°."""
    turns = np.asarray(orientations, dtype=np.float64).reshape(-1, 3, 3)
    sine = np.hypot(turns[:, 2, 0], turns[:, 2, 1])
    straight = sine < _STRAIGHT
    rot = np.arctan2(turns[:, 2, 1], turns[:, 2, 0])
    psi = np.arctan2(turns[:, 1, 2], -turns[:, 0, 2])
    rot = np.where(straight, np.arctan2(-turns[:, 1, 0], turns[:, 1, 1]), rot)
    tilt = np.arctan2(sine, turns[:, 2, 2])
    return np.degrees(np.stack([rot, tilt, np.where(straight, 0.0, psi)], axis=1))


def dynamo_angles(orientations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tdrot, tilt and narot (n, 3); narot is 0 where tilt is 0° or 180°."""
    back = np.asarray(orientations, dtype=np.float64).reshape(-1, 3, 3).transpose(0, 2, 1)
    sine = np.hypot(back[:, 2, 0], back[:, 2, 1])
    straight = sine < _STRAIGHT
    tdrot = np.arctan2(back[:, 2, 0], back[:, 2, 1])
    narot = np.arctan2(back[:, 0, 2], -back[:, 1, 2])
    tdrot = np.where(straight, np.arctan2(-back[:, 0, 1], back[:, 0, 0]), tdrot)
    tilt = np.arctan2(sine, back[:, 2, 2])
    return np.degrees(np.stack([tdrot, tilt, np.where(straight, 0.0, narot)], axis=1))
