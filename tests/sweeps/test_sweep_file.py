"""The file study.yaml says how a sweep began, to its workers and to its owner alone."""

import pytest
from planted import SEARCH_SETTINGS

from octopi.errors import DataError, SettingError
from octopi.sweeps.sweep_file import (
    check_same_sweep,
    is_search,
    read_search_info,
    read_sweep_file,
    write_sweep_file,
)
from octopi.system.job_folder import STUDY_FILE


def test_a_sweep_that_began_otherwise_is_refused_with_what_differs(tmp_path):
    settings = {"seed": 1, "optim": {"lr": 0.1}}
    write_sweep_file(tmp_path, {"settings": settings})
    write_sweep_file(tmp_path, {"settings": settings})
    with pytest.raises(SettingError, match=r"settings\.optim\.lr\. Undo"):
        write_sweep_file(tmp_path, {"settings": settings | {"optim": {"lr": 0.2}}})


def test_a_folder_without_the_file_holds_no_other_sweep(tmp_path):
    check_same_sweep(tmp_path, SEARCH_SETTINGS)
    assert read_sweep_file(tmp_path) == {}


def test_a_grid_of_trainings_is_no_search(tmp_path):
    write_sweep_file(tmp_path, {"settings": {}})
    assert not is_search(tmp_path)
    with pytest.raises(SettingError, match="not the folder of a search"):
        read_search_info(tmp_path)


def test_only_its_owner_can_read_the_file(tmp_path):
    write_sweep_file(tmp_path, SEARCH_SETTINGS | {"storage": "postgresql://me:secret@host/db"})
    assert (tmp_path / STUDY_FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content",
    [
        "{study_name: octopi",
        "- study_name",
        "study_name: [a]\nobjectives: [object_fbeta]",
        "study_name: octopi\nstorage: {a: b}\nobjectives: [object_fbeta]",
        "study_name: octopi\nobjectives: {a: b}",
        "study_name: octopi\nobjectives: [{a: b}]",
        "study_name: octopi",
    ],
)
def test_a_damaged_file_is_named_with_the_cure(tmp_path, content):
    path = tmp_path / STUDY_FILE
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"{path} is damaged.* Start the sweep in another folder"):
        read_search_info(tmp_path)


def test_a_sweep_goes_on_where_its_project_was_moved_but_not_on_other_data(tmp_path):
    settings, moved = (
        {
            "project": {"config": f"/{name}/project.json"},
            "data": {"cache_dir": f"/tmp/{name}"},
            "trainer": {"enable_progress_bar": name == "old"},
        }
        for name in ("old", "new")
    )
    picks = {"picks": {"TS_1": {"ribosome": "digest"}}}
    write_sweep_file(tmp_path, {"settings": settings, "data": picks})
    check_same_sweep(tmp_path, {"settings": moved, "data": picks})
    with pytest.raises(SettingError, match=r"data\.picks\.TS_1\.ribosome"):
        check_same_sweep(
            tmp_path, {"settings": moved, "data": {"picks": {"TS_1": {"ribosome": "other"}}}}
        )
