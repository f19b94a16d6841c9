"""Settings and picks that formats refuse, columns they leave out, and files without picks."""

import numpy as np
import pytest
import starfile
from particle_files import FOLDER, grid_of, make, picks, rows

from octopi.errors import DataError, SettingError

GRID = grid_of(32, 24, 16, 10.0)
ABOUT_Z = [[[0, -1, 0], [1, 0, 0], [0, 0, 1]]]


def text_of(name, *sets, **settings):
    files = make(name, **settings).files("apo", sets, folder=FOLDER)
    return next(iter(files.values()))


@pytest.mark.parametrize("name", ["relion5", "warp", "dynamo", "csv"])
def test_without_picks_the_file_is_valid_and_has_no_rows(name, tmp_path):
    empty = picks(np.zeros((0, 3)), grid=GRID, scores=[])
    text = text_of(name, empty)
    if name in ("relion5", "warp"):
        (tmp_path / "a.star").write_text(text, encoding="utf-8")
        table = starfile.read(tmp_path / "a.star")
        assert len(table) == 0
        assert "rlnTomoName" in table or "rlnMicrographName" in table
    else:
        assert len(text.splitlines()) == (name == "csv")


@pytest.mark.parametrize("name", ["relion5", "warp", "csv"])
def test_unknown_angles_and_scores_have_no_columns(name):
    text = text_of(name, picks([[10, 20, 30]], grid=GRID))
    for column in ("Angle", "FigureOfMerit", "rotation", "score"):
        assert column not in text


@pytest.mark.parametrize("name", ["relion5", "warp", "csv"])
def test_orientations_that_are_all_the_identity_are_left_out(name):
    text = text_of(name, picks([[10, 20, 30]], grid=GRID, rotations=[np.eye(3)]))
    assert "Angle" not in text
    assert "rotation" not in text


@pytest.mark.parametrize("name", ["relion5", "warp", "dynamo", "csv"])
def test_runs_with_and_without_orientations_do_not_mix(name):
    sets = [
        picks([[10, 20, 30]], grid=GRID, rotations=ABOUT_Z),
        picks([[1, 2, 3]], run="TS_2", grid=GRID),
    ]
    with pytest.raises(DataError, match="TS_2 have none"):
        text_of(name, *sets)


def test_a_reflection_is_no_orientation():
    mirrored = [np.diag([1.0, 1.0, -1.0])]
    with pytest.raises(DataError, match="no rotations"):
        text_of("relion5", picks([[10, 20, 30]], grid=GRID, rotations=mirrored))


def test_picks_without_a_score_get_1_beside_scored_ones():
    sets = [
        picks([[10, 20, 30]], grid=GRID, scores=[0.25]),
        picks([[1, 2, 3]], run="TS_2", grid=GRID),
    ]
    assert [row[-1] for row in rows(text_of("relion5", *sets))] == ["0.250000", "1.000000"]


def test_optics_groups_are_complete_or_left_to_relion():
    one = picks([[10, 20, 30]], grid=GRID)
    assert "optics" not in text_of("relion5", one, pixel_size=2.5).lower()
    microscope = {"voltage": 300, "spherical_aberration": 2.7, "amplitude_contrast": 0.1}
    assert "optics" not in text_of("relion5", one, **microscope).lower()
    assert "data_optics" in text_of("relion5", one, pixel_size=2.5, **microscope)
    with pytest.raises(SettingError, match="all three"):
        make("relion5", voltage=300)


@pytest.mark.parametrize("size", [[64, 128, 96], [128, 96, 100], [120, 96, 64]])
def test_a_box_that_the_tomogram_does_not_cover_is_refused(size):
    one = picks([[10, 20, 30]], grid=GRID)
    assert text_of("relion5", one, pixel_size=2.5, tomogram_size=[128, 96, 64])
    assert text_of("relion5", one, pixel_size=2.5, tomogram_size=[127, 97, 63])
    if size == [120, 96, 64]:  # two binned voxels may be rounding
        assert text_of("relion5", one, pixel_size=2.5, tomogram_size=size)
        size = [119, 96, 64]
    with pytest.raises(SettingError, match="covers 320×240×160"):
        text_of("relion5", one, pixel_size=2.5, tomogram_size=size)


def tomograms_star(path, *names):
    path.write_text(
        "data_global\n\nloop_\n_rlnTomoName #1\n_rlnVoltage #2\n_rlnSphericalAberration #3\n"
        "_rlnAmplitudeContrast #4\n_rlnTomoTiltSeriesPixelSize #5\n_rlnTomoSizeX #6\n"
        "_rlnTomoSizeY #7\n_rlnTomoSizeZ #8\n"
        + "".join(f"{name} 300.0 2.7 0.1 2.5 127 95 64\n" for name in names),
        encoding="utf-8",
    )
    return str(path)


def test_size_and_optics_are_read_from_relions_list_of_tomograms(tmp_path):
    star = tomograms_star(tmp_path / "tomograms.star", "001", "002")
    one = picks([[158.75, 118.75, 81]], run="002", grid=GRID)
    text = text_of("relion5", one, tomograms_star=star)
    assert "1 002 2.500000 300.000000 2.700000 0.100000" in text
    assert rows(text)[-1] == ["002", "0.000000", "0.000000", "1.000000", "1"]


def test_the_error_for_a_tomogram_that_relion_does_not_list_names_those_it_does(tmp_path):
    star = tomograms_star(tmp_path / "tomograms.star", "TS_01", "TS_02")
    with pytest.raises(DataError, match=r"no tomogram TS_1\. Did you mean TS_01.*tomo_name"):
        text_of("relion5", picks([[1, 2, 3]], grid=GRID), tomograms_star=star)
    one = picks([[1, 2, 3]], run="01", grid=GRID)
    assert "TS_01" in text_of("relion5", one, tomograms_star=star, tomo_name="TS_*")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.5 127", "nan 127"),
        ("2.5 127", "-2.5 127"),
        ("127 95 64", "0 0 0"),
        ("127 95 64", "127 inf 64"),
        ("127 95 64", "127 many 64"),
        ("300.0", "nan"),
    ],
)
def test_values_of_a_list_of_tomograms_that_are_none_are_refused(tmp_path, old, new):
    star = tomograms_star(tmp_path / "tomograms.star", "TS_01", "TS_02")
    text = (tmp_path / "tomograms.star").read_text(encoding="utf-8")
    (tmp_path / "tomograms.star").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"tomograms.star gives the tomogram TS_01 .*Correct"):
        make("relion5", tomograms_star=star)


def test_a_tomogram_that_is_listed_twice_must_have_the_same_values(tmp_path):
    star = tomograms_star(tmp_path / "tomograms.star", "TS_01", "TS_01")
    assert list(make("relion5", tomograms_star=star).listed_tomograms) == ["TS_01"]
    text = (tmp_path / "tomograms.star").read_text(encoding="utf-8")
    (tmp_path / "tomograms.star").write_text(text.replace("127", "125", 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"tomograms.star lists the tomogram TS_01 twice"):
        make("relion5", tomograms_star=star)


@pytest.mark.parametrize("content", ["", "nonsense", "data_\n\nloop_\n_rlnTomoName #1\nTS_1\n"])
def test_an_incomplete_list_of_tomograms_is_refused(tmp_path, content):
    path = tmp_path / "tomograms.star"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"tomograms.star"):
        make("relion5", tomograms_star=str(path))
    with pytest.raises(SettingError, match="no file"):
        make("relion5", tomograms_star=str(tmp_path / "other.star"))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("warp", {"tomo_name": "TS.tomostar"}, "one \\*"),
        ("warp", {"tomo_name": "a b*"}, "no blanks"),
        ("csv", {"pixel_size": 0}, "pixel_size"),
        ("relion5", {"tomogram_size": [1, 2], "pixel_size": 1}, "tomogram_size"),
        ("relion5", {"tomogram_size": [1, 2, 3]}, "how large"),
        ("relion5", {"tomograms_star": "a.star", "pixel_size": 2}, "Leave out"),
    ],
)
def test_settings_out_of_range_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        make(name, **settings)


@pytest.mark.parametrize("name", ["relion5", "warp", "dynamo", "csv"])
def test_without_a_tomogram_the_pixel_size_must_be_given(name):
    without_tomogram = picks([[10, 20, 30]])
    with pytest.raises(SettingError, match="pixel_size"):
        text_of(name, without_tomogram)
    size = {"tomogram_size": [40, 40, 40]} if name == "relion5" else {}
    assert text_of(name, without_tomogram, pixel_size=2.5, **size)


def test_warp_refuses_tomograms_of_different_pixel_sizes():
    sets = [picks([[1, 2, 3]], grid=GRID), picks([[1, 2, 3]], run="b", grid=grid_of(9, 9, 9, 12.0))]
    with pytest.raises(SettingError, match="10 to 12 Å"):
        text_of("warp", *sets)
    assert text_of("warp", *sets, pixel_size=2)
