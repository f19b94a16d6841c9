from octopi.checks.estimate import num_computed_voxels


def test_halos_are_computed_with_every_window():
    assert num_computed_voxels((16, 16, 16), (16, 16, 16), (0, 0, 0), 8) == 16**3
    assert num_computed_voxels((32, 32, 32), (16, 16, 16), (0, 0, 0), 8) == 32**3
    assert num_computed_voxels((32, 32, 32), (16, 16, 16), (4, 4, 4), 8) > 32**3
