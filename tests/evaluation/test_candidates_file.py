"""Candidates come back from their file as they were; a damaged file is named."""

import numpy as np
import pytest

from octopi.errors import DataError
from octopi.evaluation.candidates_file import read_candidates, write_candidates
from octopi.geometry import Points


def test_candidates_come_back_as_they_were(tmp_path):
    points = Points(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([0.5, 0.25]))
    written = {"TS|01": {"ribosome": points, "virus": Points(np.zeros((0, 3)), np.zeros(0))}}
    write_candidates(tmp_path / "c.npz", written)
    read = read_candidates(tmp_path / "c.npz")
    assert {run: list(objects) for run, objects in read.items()} == {"TS|01": ["ribosome", "virus"]}
    for name, expected in written["TS|01"].items():
        np.testing.assert_array_equal(read["TS|01"][name].positions, expected.positions)
        np.testing.assert_array_equal(read["TS|01"][name].scores, expected.scores)


def archive(path, array):
    np.savez(path, **{"TS_01|ribosome": array})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not an archive"),
        lambda path: (archive(path, np.zeros((9, 4))), path.write_bytes(path.read_bytes()[:-90])),
        lambda path: (
            np.save(path.with_suffix(".npy"), np.zeros(4)),
            path.with_suffix(".npy").rename(path),
        ),
        lambda path: archive(path, np.zeros((2, 3))),
        lambda path: archive(path, np.zeros(4)),
        lambda path: archive(path, np.full((2, 4), np.nan)),
        lambda path: archive(path, np.array([["a", "b", "c", "d"]])),
        lambda path: archive(path, np.array([{"x": 1}], dtype=object)),
    ],
)
def test_a_damaged_file_of_candidates_is_named(tmp_path, damage):
    path = tmp_path / "candidates.npz"
    damage(path)
    with pytest.raises(DataError, match=f"{path} is damaged"):
        read_candidates(path)
