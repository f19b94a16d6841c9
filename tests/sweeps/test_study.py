"""The study's journal can be read whatever was done to it."""

import json

import optuna
import pytest

from octopi.errors import SettingError
from octopi.sweeps import study
from octopi.system.job_folder import STUDY_FILE


def _facts(storage=None):
    return {
        "study_name": "octopi",
        "storage": storage,
        "objectives": ["object_fbeta"],
        "directions": ["maximize"],
        "settings": {"seed": 1, "optim": {"lr": 0.1}},
    }


@pytest.fixture
def journal(tmp_path):
    """Of a study with two trials."""
    study.write_sweep_file(tmp_path, _facts())
    held = study.open_study(tmp_path)
    for value in (0.25, 0.5):
        trial = held.ask()
        trial.suggest_float("lr", 0, 1)
        held.tell(trial, value)
    return tmp_path / study.JOURNAL


def _values(folder):
    return [trial.value for trial in study.open_study(folder).get_trials()]


def test_a_torn_last_line_is_cut_off_and_kept_in_a_backup(journal):
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"trial_')
    assert _values(journal.parent) == [0.25, 0.5]
    assert journal.read_bytes() == whole
    (backup,) = journal.parent.glob("journal.log.backup-*")
    assert backup.read_bytes() == whole + b'{"op_code":4,"trial_'


def test_a_line_torn_in_the_middle_costs_that_line_alone(journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], b'{"op_code":4,"tri{"op_code":4}\n', lines[-1]]))
    assert _values(journal.parent) == [0.25, 0.5]


def test_a_writer_cuts_off_what_another_left_torn(journal):
    held = study.open_study(journal.parent)
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"trial_')
    held.tell(held.ask(), 0.75)
    assert _values(journal.parent) == [0.25, 0.5, 0.75]
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_looking_at_a_study_leaves_its_journal_as_it_is(journal):
    before = journal.read_bytes()
    assert _values(journal.parent) == [0.25, 0.5]
    assert journal.read_bytes() == before


def test_a_study_may_live_in_a_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sweep"
    folder.mkdir()
    study.write_sweep_file(folder, _facts("sqlite:///trials.db"))
    held = study.open_study(folder)
    held.tell(held.ask(), 0.5)
    assert (tmp_path / "trials.db").exists()
    assert _values(folder) == [0.5]
    held._storage.remove_session()


def test_a_sweep_that_began_otherwise_is_refused_with_what_differs(tmp_path):
    study.write_sweep_file(tmp_path, _facts())
    assert study.write_sweep_file(tmp_path, _facts())["study_name"] == "octopi"
    with pytest.raises(SettingError, match=r"settings\.optim\.lr\. Start"):
        study.write_sweep_file(tmp_path, _facts() | {"settings": {"seed": 1, "optim": {"lr": 0.2}}})


def test_what_is_no_search_is_said_to_be_none(tmp_path):
    study.write_sweep_file(tmp_path, {"settings": {}})
    assert not study.is_search(tmp_path)
    with pytest.raises(SettingError, match="not the folder of a search"):
        study.open_study(tmp_path)


def test_the_storage_file_is_for_its_owner_alone(tmp_path):
    study.write_sweep_file(tmp_path, _facts("postgresql://me:secret@host/db"))
    assert (tmp_path / STUDY_FILE).stat().st_mode & 0o077 == 0


def test_metrics_grow_and_costs_shrink():
    found = study.directions(["object_fbeta", "inference_gflop", "parameters"])
    assert found == ["maximize", "minimize", "minimize"]
    assert optuna.create_study(directions=found)
