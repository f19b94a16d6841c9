import numpy as np

from octopi.checks.picks import describe_gaps, examine_picks, warn_of_odd_picks
from octopi.geometry import Grid, Points

GRID = Grid.cubic((40, 100, 120), 10.0)


def faults(positions, grid=GRID, min_distance=50.0):
    points = Points(np.array(positions, float))
    found = examine_picks(points, grid, min_distance=min_distance)
    return {fault.text: fault.indices.tolist() for fault in found}


def look_like_voxels(positions, grid=GRID):
    return "lie where voxel numbers would" in faults(positions, grid)


def test_picks_spread_over_the_tomogram_are_sound():
    assert not faults([(100, 200, 300), (1100, 900, 20), (600, 500, 200)])


def test_picks_in_voxels_crowd_into_a_corner():
    voxels = [(10, 20, 30), (110, 90, 2), (60, 50, 20)]
    assert look_like_voxels(voxels)
    assert not look_like_voxels([*voxels, (900, 50, 20)])
    assert not look_like_voxels(voxels[:2])
    assert not look_like_voxels(voxels, Grid.cubic((40, 100, 120), 1.0))


def test_picks_in_voxels_of_a_less_binned_tomogram_crowd_too():
    spread = np.random.default_rng(0).random((6, 3)) * (1200, 1000, 400)  # Å
    assert not look_like_voxels(spread)
    assert look_like_voxels(spread / 2.5)  # voxels of 2.5 Å
    assert not look_like_voxels(spread[:5] / 2.5)  # too few to tell
    assert not look_like_voxels([*spread / 2.5, (900, 50, 20)])


def test_picks_outside_are_counted_by_index():
    found = faults([(100, 100, 100), (1300, 100, 100), (-9, 100, 100)])
    assert found == {"lie outside their tomogram": [1, 2]}


def test_of_a_cluster_one_is_the_particle_and_the_others_are_duplicates():
    found = faults([(100, 100, 100), (110, 100, 100), (120, 100, 100)])
    assert found == {"are closer than 50 Å to another": [1, 2]}
    assert not faults([(100, 100, 100), (110, 100, 100)], min_distance=None)


def test_odd_picks_are_warned_of_once_with_all_their_runs(caplog):
    sound = Points(np.array([(100.0, 200, 300), (1100, 900, 20), (600, 500, 200)]))
    picks = {
        "TS_1": sound,
        "TS_2": Points(sound.positions / 10),
        "TS_3": Points([*sound.positions, (5000, 10, 10), (101, 200, 300)]),
        "TS_4": Points(sound.positions / 10),
    }
    warn_of_odd_picks("ribosome:me/1", picks, {**dict.fromkeys(picks, GRID), "TS_4": None})
    voxels, outside, twice = (record.getMessage() for record in caplog.records)
    assert "1 picks of ribosome:me/1 lie outside their tomogram, in 1 runs: TS_3 (1)" in outside
    assert "are closer than 10 Å to another, in 1 runs: TS_3 (1)" in twice
    assert "3 picks of ribosome:me/1 lie where voxel numbers would, in 1 runs: TS_2 (3)" in voxels


def test_runs_without_a_file_and_with_far_fewer_picks_are_named():
    counts = {
        "TS_01": {"ribosome": 50, "apo": 40, "rare": 6},
        "TS_02": {"ribosome": 3, "apo": 20, "rare": 1},
        "TS_03": {"ribosome": 60, "apo": 0},
    }
    fewer, missing = describe_gaps(counts, partial=[])
    assert fewer.startswith("ribosome has far fewer picks in TS_02 (3) than runs have on average")
    assert missing.startswith("rare is not annotated in 1 of 3 runs, which have no picks of it")
    assert missing.endswith("TS_03.")
    assert list(describe_gaps(counts, partial=["ribosome"])) == [missing]
