import gzip
import json
import os
import re

import numpy as np
import pytest

from octopi.errors import DataError
from octopi.project.queries import PicksQuery

RIBOSOME = PicksQuery("ribosome", "curator", "1")


def _read(files):
    return files.run().read_picks(RIBOSOME)


def test_picks_are_in_angstrom_x_y_z(files):
    files.add_picks([files.point(1, 2, 3), files.point(4, 5, 6.5)])
    points = _read(files)
    np.testing.assert_array_equal(points.positions, [[1, 2, 3], [4, 5, 6.5]])
    assert points.scores is None


def test_stored_scores_come_along(files):
    files.add_picks([files.point(1, 2, 3, score=0.25), files.point(4, 5, 6)])
    np.testing.assert_array_equal(_read(files).scores, [0.25, 1])


def test_the_shift_in_an_orientation_moves_the_centre(files):
    shifted = np.eye(4)
    shifted[:3, 3] = 10, 0, -1
    files.add_picks([files.point(1, 2, 3, transformation_=shifted.tolist())])
    np.testing.assert_array_equal(_read(files).positions, [[11, 2, 2]])


def test_picks_that_say_they_are_of_another_run_of_the_project_are_refused(files):
    files.add_tomogram(files.noise(), run="TS_2")
    files.add_picks([], run_name="TS_2")
    with pytest.raises(DataError, match=r"of run TS_2, which the project has too.*Move it"):
        _read(files)


@pytest.mark.parametrize(
    ("said", "remark"),
    [
        ({"run_name": "lam_8"}, "ribosome:curator/1: .* of run lam_8, .*TS_1 renamed"),
        ({"pickable_object_name": "virus"}, "Run TS_1: .*ribosome:curator/1: .* of virus"),
    ],
)
def test_picks_that_name_another_object_or_an_unknown_run_are_remarked_on(
    files, caplog, said, remark
):
    files.add_picks([], **said)
    assert len(_read(files)) == 0
    assert re.search(remark, caplog.text)


def test_an_empty_session_has_no_points(files):
    files.add_picks([])
    assert len(_read(files)) == 0


def test_a_file_edited_on_windows_begins_with_a_mark_that_is_skipped(files):
    path = files.add_picks([files.point(1, 2, 3)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    np.testing.assert_array_equal(_read(files).positions, [[1, 2, 3]])


@pytest.mark.parametrize("length", [0, 30])
def test_a_truncated_file_is_named(files, length):
    path = files.add_picks([files.point(1, 2, 3)])
    path.write_text(path.read_text(encoding="utf-8")[:length], encoding="utf-8")
    with pytest.raises(
        DataError, match=r"curator_1_ribosome\.json is truncated or damaged"
    ) as caught:
        _read(files)
    assert caught.value.exit_code == 3


def test_a_pipe_is_named_and_not_waited_for(files):
    path = files.add_picks([])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=rf"no file.*{path.name}"):
        _read(files)


def test_a_compressed_file_says_to_unpack_it(files):
    path = files.add_picks([files.point(1, 2, 3)])
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"curator_1_ribosome\.json .*as gzip does: unpack it"):
        _read(files)


@pytest.mark.parametrize(
    "content", ["[]", '{"points": {}}', '{"points": ""}', '{"points": [{"location": null}]}']
)
def test_a_file_of_another_form_is_named(files, content):
    files.add_picks([]).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"curator_1_ribosome\.json"):
        _read(files)


def test_coordinates_that_are_not_numbers_are_counted(files):
    files.add_picks(
        [files.point(1, 2, 3), files.point(float("nan"), 0, 0), files.point(0, float("inf"), 0)]
    )
    with pytest.raises(DataError, match=r"2 of 3 picks have coordinates .*from 0: 1, 2"):
        _read(files)


def test_scores_that_are_not_numbers_are_counted(files):
    files.add_picks([files.point(1, 2, 3, score=float("nan"))])
    with pytest.raises(DataError, match="1 of 1 picks have scores"):
        _read(files)


def test_picks_in_voxels_are_refused(files):
    files.add_picks([files.point(1, 2, 3)], unit="pixel")
    with pytest.raises(DataError, match=r"are in pixel; only angstrom .*Convert"):
        _read(files)


def test_a_foreign_file_among_the_picks_is_an_error_not_a_crash(files):
    files.add_picks([])
    files.at("Picks", "notes.json").write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(DataError, match="Run TS_1: copick cannot list its Picks"):
        files.run().picks()


def test_orientations_come_without_their_shift(files):
    turned = [[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]]
    files.add_picks([files.point(1, 2, 3), files.point(4, 5, 6, transformation_=turned)])
    turns = files.run().read_oriented(RIBOSOME)[1]
    np.testing.assert_array_equal(turns, [np.eye(3), np.array(turned)[:3, :3]])


def test_orientations_that_the_file_does_not_trust_are_unknown(files):
    files.add_picks([files.point(1, 2, 3)], trust_orientation=False)
    assert files.run().read_oriented(RIBOSOME)[1] is None


def test_no_picks_have_no_orientations(files):
    files.add_picks([])
    assert files.run().read_oriented(RIBOSOME)[1].shape == (0, 3, 3)


@pytest.mark.parametrize("content", ["{}", '{"points": null}'])
def test_a_file_without_a_list_of_points_is_not_taken_for_an_empty_one(files, content):
    files.add_picks([]).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"curator_1_ribosome\.json .*\[\] where there are none"):
        _read(files)


@pytest.mark.parametrize("entry", ["null", "{}", '{"location": null}', '{"location": [1, 2, 3]}'])
def test_a_point_without_a_location_is_named_by_its_number(files, entry):
    path = files.add_picks([files.point(1, 2, 3)])
    path.write_text(
        path.read_text(encoding="utf-8").replace("[{", f"[{entry}, {{", 1), encoding="utf-8"
    )
    with pytest.raises(DataError, match="point 0, counting from 0, has no location"):
        _read(files)


@pytest.mark.parametrize("x", ["1e300", "-1e12", "1" + "0" * 400])
def test_coordinates_beyond_any_tomogram_are_refused_before_anything_computes_with_them(files, x):
    path = files.add_picks([files.point(7.5, 2, 3)])
    path.write_text(path.read_text(encoding="utf-8").replace("7.5", x), encoding="utf-8")
    with pytest.raises(DataError, match=r"curator_1_ribosome\.json"):
        _read(files)
