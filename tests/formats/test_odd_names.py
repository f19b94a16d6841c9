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
MISSING = ("nan", "NaN", "<NA>")  # starfile's words for no value, also in quotes


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


@pytest.mark.parametrize("run", [n for n in ODD_NAMES if n not in MISSING])
def test_a_name_that_relion_can_read_is_written_for_it(tmp_path_factory, run):
    files = write("relion5", run)
    can_be_written = not set(run) & set("'\"\t") and "  " not in run
    assert (files is not None) == can_be_written


@given(NAMES.filter(lambda name: name not in MISSING))
def test_relion_reads_the_name_back(tmp_path_factory, run):
    if files := write("relion5", run):
        table = read_star(files["ribosome.star"], tmp_path_factory, "rlnTomoName")
        assert list(table["rlnTomoName"]) == [run, run, "TS_02", "TS_02"]
        assert list(table["rlnCenteredCoordinateZAngst"]) == [-130, -100, -130, -100]


@given(NAMES.filter(lambda name: name not in MISSING))
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
def test_a_spreadsheet_reads_the_name_back(run):
    text = write("csv", run)["ribosome.csv"]
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["tomogram"] for row in rows] == [run, run, "TS_02", "TS_02"]
    assert [row["x_angstrom"] for row in rows] == ["10.000000", "40.000000"] * 2
