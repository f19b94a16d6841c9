"""Euler angles, put into the matrices by which RELION and Dynamo define them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from octopi.formats.angles import dynamo_angles, relion_angles


def relion_matrix(rot, tilt, psi):
    """RELION's Euler::anglesToMatrix3, which maps the particle's frame to the tomogram's."""
    ca, cb, cg = np.cos(np.radians([rot, tilt, psi]))
    sa, sb, sg = np.sin(np.radians([rot, tilt, psi]))
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def about(axis, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotations = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}
    return np.array(rotations[axis])


def dynamo_matrix(tdrot, tilt, narot):
    """dynamo_euler2matrix, which maps the tomogram's frame to the particle's."""
    return about("z", narot) @ about("x", tilt) @ about("z", tdrot)


SPECIAL = [
    np.eye(3),
    np.diag([-1.0, -1.0, 1.0]),  # 180° about z
    np.diag([1.0, -1.0, -1.0]),  # 180° about x: tilt 180
    np.diag([-1.0, 1.0, -1.0]),  # 180° about y: tilt 180
    *Rotation.from_euler("z", [[30], [-120]], degrees=True).as_matrix(),
    *(
        Rotation.from_euler("x", 180, degrees=True)
        * Rotation.from_euler("z", [[40], [250]], degrees=True)
    ).as_matrix(),
]
ROTATIONS = np.stack([*SPECIAL, *Rotation.random(200, rng=1).as_matrix()])


def test_relions_matrix_of_the_angles_is_the_orientation():
    matrices = np.stack([relion_matrix(*angles) for angles in relion_angles(ROTATIONS)])
    np.testing.assert_allclose(matrices, ROTATIONS, atol=1e-9)


def test_dynamos_matrix_of_the_angles_is_the_inverse_orientation():
    matrices = np.stack([dynamo_matrix(*angles).T for angles in dynamo_angles(ROTATIONS)])
    np.testing.assert_allclose(matrices, ROTATIONS, atol=1e-9)


@pytest.mark.parametrize("angles", [relion_angles, dynamo_angles])
def test_tilts_are_0_to_180_degrees_and_of_no_orientations_there_are_none(angles):
    tilts = angles(ROTATIONS)[:, 1]
    assert tilts.min() >= 0
    assert tilts.max() <= 180
    assert angles(np.zeros((0, 3, 3))).shape == (0, 3)
