"""A run's name is read back from each file as it is, or is refused; it never moves a column."""

import csv
import io

import pytest
import starfile
from hypothesis import example, given
from odd_names import NAMES, ODD_NAMES
from particle_files import FOLDER, grid_of, make, picks

from octopi.errors import DataError

GRID = grid_of(64, 64, 32, 10)


def write(name, run):
    """Write two runs of two picks each; None where the name is refused."""
    sets = [
        picks([[10, 20, 30], [40, 50, 60]], run=other, grid=GRID, scores=[0.5, 0.25])
        for other in (run, "TS_02")
    ]
    try:
        return make(name).files("ribosome", sets, folder=FOLDER)
    except DataError as error:
        assert run in str(error) or repr(run)[1:-1] in str(error)
        return None


def read_star(text, tmp_path_factory, column):
    path = tmp_path_factory.mktemp("star") / "a.star"
    path.write_text(text, encoding="utf-8")
    tables = starfile.read(path, always_dict=True, parse_as_string=[column])
    assert list(tables) == ["particles"]
    return tables["particles"]


@pytest.mark.parametrize("run", ODD_NAMES)
def test_a_name_that_relion_can_read_is_written_for_it(tmp_path_factory, run):
    files = write("relion5", run)
    can_be_written = not set(run) & set("'\"\t") and "  " not in run and run != "nan"
    assert (files is not None) == can_be_written


@given(NAMES)
def test_relion_reads_the_name_back(tmp_path_factory, run):
    if files := write("relion5", run):
        table = read_star(files["ribosome.star"], tmp_path_factory, "rlnTomoName")
        assert list(table["rlnTomoName"]) == [run, run, "TS_02", "TS_02"]
        assert list(table["rlnCenteredCoordinateZAngst"]) == [-130, -100, -130, -100]


@given(NAMES)
def test_warp_reads_the_name_back(tmp_path_factory, run):
    if files := write("warp", run):
        table = read_star(files["ribosome.star"], tmp_path_factory, "rlnMicrographName")
        assert list(table["rlnMicrographName"]) == 2 * [f"{run}.tomostar"] + 2 * ["TS_02.tomostar"]
        assert not set(files["ribosome.star"].partition("loop_")[2]) & set("\"'")  # knows no quotes


@given(NAMES)
@example("lam 8")
def test_dynamo_finds_a_number_and_a_file_in_each_line(run):
    if files := write("dynamo", run):
        lines = files["ribosome.doc"].splitlines()
        assert [line.split() for line in lines] == [["1", f"{run}.mrc"], ["2", "TS_02.mrc"]]


@given(NAMES)
def test_a_spreadsheet_reads_the_name_back_or_it_is_refused_as_a_formula(run):
    files = write("csv", run)
    assert (files is None) == (run[0] in "=+-@")
    if files:
        rows = list(csv.DictReader(io.StringIO(files["ribosome.csv"], newline="")))
        assert [row["tomogram"] for row in rows] == [run, run, "TS_02", "TS_02"]
        assert [row["x_angstrom"] for row in rows] == ["10.000000", "40.000000"] * 2


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_an_object_that_a_spreadsheet_would_compute_is_refused(sign):
    with pytest.raises(DataError, match=r"formula.*Rename the object"):
        make("csv").files(f"{sign}1", [], folder=FOLDER)
    assert make("csv", tomo_name="ts_*").files(
        "a", [picks([[1, 2, 3]], run=f"{sign}1", grid=GRID)], folder=FOLDER
    )


@pytest.mark.parametrize(("name", "column"), [("relion5", "rlnTomoName"), ("csv", "tomogram")])
def test_names_that_are_all_numbers_are_spoken_of(caplog, tmp_path_factory, name, column):
    def export(*runs, **settings):
        caplog.clear()
        sets = [picks([[1, 2, 3]], run=run, grid=GRID) for run in runs]
        return make(name, **settings).files("a", sets, folder=FOLDER)

    files = export("007", "1e3")
    assert "all tomograms are numbers (007, 1e3)" in caplog.text
    assert "format.tomo_name=ts_*" in caplog.text
    if name == "relion5":
        assert list(read_star(files["a.star"], tmp_path_factory, column)[column]) == ["007", "1e3"]
    for runs in (["007", "TS_1"], ["1_0", "2024_11_25"]):
        export(*runs)
        assert not caplog.text
    export("007", tomo_name="ts_*")
    assert not caplog.text
