import pickle
import subprocess
import sys

import pytest

from octopi.errors import DataError, NotInProjectError, ResourceError, SettingError
from octopi.geometry import Grid
from octopi.project import open_project
from octopi.project.queries import TomogramQuery


@pytest.fixture
def three(files):
    for name in ("TS_2", "TS_10", "TS_1"):
        files.add_tomogram(files.noise(), run=name)
    return files


def test_a_config_given_twice_is_refused(files):
    config = files.config()
    with pytest.raises(SettingError, match="twice"):
        open_project([config, str(config)])


def test_configs_that_share_an_overlay_are_refused(files, tmp_path):
    (tmp_path / "overlay").mkdir()
    (tmp_path / "link").symlink_to("overlay")
    one = files.config("one.json")
    two = files.config("two.json", overlay_root=f"local://{tmp_path}/link/", static_root=None)
    with pytest.raises(SettingError, match=r"one.json and .*two.json have the same overlay_root.*"):
        open_project([one, two])


def test_a_copy_of_a_config_is_told(files, caplog):
    open_project([files.config("one.json"), files.config("two.json")])
    assert "two.json are one project: each of its runs counts twice" in caplog.text


def test_opening_reads_no_data(files):
    project = files.open()
    files.add_tomogram(files.noise(), run="TS_1")
    assert [run.name for run in project.runs] == ["TS_1"]


def test_runs_are_sorted_by_name(three):
    assert [run.name for run in three.open().runs] == ["TS_1", "TS_10", "TS_2"]


def test_select_keeps_the_order_asked_for(three):
    assert [r.name for r in three.open().select(["TS_2", "TS_1"])] == ["TS_2", "TS_1"]
    assert len(three.open().select(None)) == 3


@pytest.mark.parametrize("name", ["TS_3", "../TS_1", "TS_1/../TS_2"])
def test_an_unknown_run_is_answered_with_those_there_are(three, name):
    with pytest.raises(NotInProjectError, match="TS_1, TS_10, TS_2") as caught:
        three.open().select([name])
    assert caught.value.exit_code == 3


def test_a_list_that_names_no_run_is_refused(three):
    with pytest.raises(SettingError, match=r"runs=\[\] names no run"):
        three.open().select([])


def test_a_run_named_twice_is_refused(three):
    with pytest.raises(SettingError, match="TS_1 is named more than once"):
        three.open().select(["TS_1", "TS_1"])


def test_a_project_without_runs_says_where_to_look(files):
    with pytest.raises(DataError, match=r"has no runs.*/overlay.*static_root and overlay_root"):
        files.open().select(None)


def test_runs_of_several_configs_are_told_apart_only_where_they_must(three, tmp_path):
    three.add_tomogram(three.noise(), run="TS_9")
    other = tmp_path / "other" / "ExperimentRuns"
    (other / "TS_1").mkdir(parents=True)
    (other / "TS_4").mkdir()
    one = three.config("one.json")
    two = three.config(
        "two.json", static_root=f"local://{other.parent}", overlay_root=f"local://{tmp_path}/two"
    )
    names = [run.name for run in open_project([one, two]).runs]
    assert names == ["TS_10", "TS_2", "TS_4", "TS_9", "one/TS_1", "two/TS_1"]


def test_configs_of_one_name_are_told_apart_by_their_folders(three, tmp_path):
    configs = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        configs.append(three.config(f"{folder}/project.json"))
    assert "a-project/TS_1" in [run.name for run in open_project(configs).runs]


def test_an_overlay_that_cannot_be_written_is_an_error_that_names_it(files):
    blocked = files.folder / "blocked"
    blocked.write_text("a file where the overlay should be", encoding="utf-8")
    project = open_project(files.config(overlay_root=f"local://{blocked}/overlay"))
    with pytest.raises(ResourceError, match=r"blocked.*overlay_root") as caught:
        project.check_writable()
    assert caught.value.exit_code == 4


def test_a_warning_about_the_project_is_logged_once(files, caplog):
    project = files.open()
    project.warn_once("ten and not nine")
    project.warn_once("ten and not nine")
    assert caplog.text.count("ten and not nine") == 1


def test_pickled_runs_share_their_project(three):
    first, *_, last = pickle.loads(pickle.dumps(three.open().runs))
    assert (first.name, last.name) == ("TS_1", "TS_2")
    assert first.objects is last.objects


def test_another_process_reads_the_run_it_was_sent(three):
    run = three.run()
    code = (
        "import pickle, sys\n"
        "run = pickle.load(sys.stdin.buffer)\n"
        "print(run.read_tomogram(run.find_tomogram('wbp', 10.0)).sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(run), capture_output=True, check=True
    )
    assert float(done.stdout) == pytest.approx(three.noise().sum(), rel=1e-5)


def test_a_tomogram_goes_to_one_config_only(files):
    files.add_tomogram(files.noise())
    project = open_project([files.config("a.json"), files.config("b.json")])
    query, grid = TomogramQuery("wbp", 10.0), Grid.cubic((8, 8, 8), 10.0)
    with pytest.raises(SettingError, match="has 2 configs"):
        project.write_tomogram("TS_9", query, files.noise(), grid=grid)


@pytest.mark.parametrize("folder", ["data [1]", "a*b", "what?"])
def test_a_folder_that_copick_reads_as_a_pattern_is_refused(files, folder):
    config = files.config(overlay_root=f"local://{files.folder / folder}")
    with pytest.raises(SettingError, match=r"overlay_root.*Rename the folder"):
        open_project(config)


def test_a_root_with_a_variable_is_refused_where_no_folder_has_that_name(files):
    for key in ("overlay_root", "static_root"):
        with pytest.raises(SettingError, match=rf"{key} in .*\$SCRATCH.*replaces no variables"):
            open_project(files.config(**{key: "local:///data/$SCRATCH/here"}))
    (files.folder / "$SCRATCH").mkdir()
    open_project(files.config(overlay_root=f"local://{files.folder}/$SCRATCH"))


def test_read_only_data_that_are_not_there_are_no_empty_project(three, caplog):
    three.open().select(None)
    assert not caplog.text
    (three.folder / "overlay" / "ExperimentRuns" / "TS_7").mkdir(parents=True)
    config = three.config(static_root="local:///mnt/not-mounted")
    assert [run.name for run in open_project(config).select(None)] == ["TS_7"]
    assert "/mnt/not-mounted is not there, so that only overlay_root is read" in caplog.text


@pytest.mark.parametrize("name", ["TS_1\n08:00:00 ERROR forged", "TS_\x1b[31m1"])
def test_a_run_whose_name_steers_a_terminal_is_refused(files, name):
    files.add_tomogram(files.noise(), run=name)
    with pytest.raises(DataError, match=r"TS_.*control characters.*Rename its folder") as caught:
        files.open().select(None)
    assert str(caught.value).isprintable()
