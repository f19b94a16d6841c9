import json
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


@pytest.mark.parametrize("nothing", [None, "", []])
def test_without_a_config_the_message_says_what_to_set(nothing):
    with pytest.raises(SettingError, match=r"OCTOPI_PROJECT or project\.config.*project=demo"):
        open_project(nothing)


def test_a_missing_config_is_named_with_its_neighbour(files):
    files.config("project.json")
    with pytest.raises(SettingError, match=r"no copick config .*projct.json.*project.json"):
        open_project(files.folder / "projct.json")


def test_a_folder_is_no_config(files):
    files.config("project.json")
    with pytest.raises(SettingError, match=r"is a folder.*project\.json"):
        open_project(files.folder)


def test_broken_json_is_reported_by_line_and_column(tmp_path):
    path = tmp_path / "project.json"
    path.write_text('{\n  "name": ,\n}', encoding="utf-8")
    with pytest.raises(SettingError, match=r"project\.json is not valid JSON.*line 2 column"):
        open_project(path)


def test_a_config_of_another_shape_is_refused_without_showing_its_secrets(files):
    config = files.config(pickable_objects="none", overlay_fs_args={"secret": "hunter2"})
    with pytest.raises(SettingError, match="pickable_objects") as caught:
        open_project(config)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_backend_is_refused(files):
    with pytest.raises(SettingError, match="floppy"):
        open_project(files.config(config_type="floppy"))


def test_a_config_given_twice_is_refused(files):
    config = files.config()
    with pytest.raises(SettingError, match="twice"):
        open_project([config, str(config)])


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
    two = three.config("two.json", static_root=f"local://{other.parent}")
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


def test_a_config_without_an_overlay_is_an_error_that_says_so(files):
    with pytest.raises(ResourceError, match="no usable overlay_root"):
        open_project(files.config(overlay_root=None))


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


def test_a_config_of_the_old_form_without_a_type_opens(files):
    config = files.config()
    content = json.loads(config.read_text(encoding="utf-8"))
    del content["config_type"]
    config.write_text(json.dumps(content), encoding="utf-8")
    assert open_project(config).objects


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


@pytest.mark.parametrize("options", [{"banana": 3}, {"client_kwargs": {"banana": 3}}])
def test_options_that_a_storage_does_not_have_are_named_without_its_keys(files, options):
    access = {"key": "a", "secret": "hunter2", **options}
    config = files.config(overlay_root="s3://bucket/x", overlay_fs_args=access)
    with pytest.raises(SettingError, match=r"(?s)banana.*overlay_fs_args") as refused:
        _ = open_project(config).runs
    assert "hunter2" not in str(refused.value)


def test_what_is_no_file_or_leads_nowhere_is_not_proposed_as_itself(tmp_path):
    link = tmp_path / "project.json"
    link.symlink_to(tmp_path / "gone.json")
    with pytest.raises(SettingError, match=r"a link that leads nowhere") as caught:
        open_project(link)
    assert "Did you mean" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radius": "60 A"}, "radius of 'virus'.*valid number.*but it is '60 A'.*Correct it there"),
        ({"label": 0}, "label of 'virus'.*reserved for background.*but it is 0"),
        ({"name": 70}, "name of '70'.*valid string"),
    ],
)
def test_an_object_that_is_no_object_of_copick_is_named_with_what_it_says(files, change, words):
    entry = {"name": "virus", "is_particle": True, "label": 1, "radius": 60.0, **change}
    with pytest.raises(SettingError, match=words):
        open_project(files.config(pickable_objects=[entry]))


@pytest.mark.parametrize("name", ["TS_1\n08:00:00 ERROR forged", "TS_\x1b[31m1"])
def test_a_run_whose_name_steers_a_terminal_is_refused(files, name):
    files.add_tomogram(files.noise(), run=name)
    with pytest.raises(DataError, match=r"TS_.*control characters.*Rename its folder") as caught:
        files.open().select(None)
    assert str(caught.value).isprintable()
