"""The study of a search is opened from its folder, wherever it is stored."""

import contextlib
import json
import sqlite3
import threading

import optuna
import pytest
import yaml
from planted import SEARCH_SETTINGS, begin_search
from schemas import write_schema
from sqlalchemy.exc import OperationalError

from octopi.cli.error_report import describe
from octopi.errors import DataError, ExitCode, SettingError, exit_code_of
from octopi.sweeps import study as study_module
from octopi.sweeps.study import (
    JOURNAL,
    RETRIED_METHODS,
    PatientDatabase,
    check_storage_url,
    open_storage,
    open_study,
    optimisation_directions,
    wait_for_database,
)
from octopi.system.job_folder import STUDY_FILE


def test_a_study_may_be_in_a_database(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sweep"
    study = begin_search(folder, storage="sqlite:///trials.db")
    study.tell(study.ask(), 0.5)
    assert (tmp_path / "trials.db").exists()
    assert [trial.value for trial in open_study(folder).get_trials()] == [0.5]
    study._storage.remove_session()


@contextlib.contextmanager
def locked(path, *, seconds=None):
    """Let another program hold a SQLite file, for so many seconds or to the end of the block."""
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("begin exclusive")
        timer = threading.Timer(seconds or 0, other.rollback)
        if seconds:
            timer.start()
        yield
        if seconds:
            timer.join()


def test_a_locked_database_is_waited_for(tmp_path):
    study = begin_search(tmp_path / "sweep", storage=f"sqlite:///{tmp_path}/trials.db")
    with locked(tmp_path / "trials.db", seconds=0.3):
        study.tell(study.ask(), 0.5)
    study._storage.remove_session()


def test_a_database_that_stays_locked_is_no_mistake_and_says_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(study_module, "SQLITE_WAIT", 0.1)
    study = begin_search(tmp_path / "sweep", storage=f"sqlite:///{tmp_path}/trials.db")
    with locked(tmp_path / "trials.db"):
        with pytest.raises(optuna.exceptions.StorageInternalError) as asked:
            study.ask()
        with pytest.raises(OperationalError) as opened:
            open_study(tmp_path / "sweep")
    for error in (asked.value, opened.value):
        assert exit_code_of(error) == ExitCode.RESOURCE
        assert "database is locked. If another program" in describe(error)
    study._storage.remove_session()


def test_metrics_are_maximised_and_costs_minimised():
    directions = optimisation_directions(["object_fbeta", "inference_gflop", "parameters"])
    assert [direction.name for direction in directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert optuna.create_study(directions=directions)


@pytest.mark.parametrize("objectives", [["inference_gflop"], ["object_fbeta", "parameters"]])
def test_a_file_with_other_objectives_than_the_study_is_damaged(tmp_path, objectives):
    begin_search(tmp_path)
    path = tmp_path / STUDY_FILE
    path.write_text(yaml.safe_dump(SEARCH_SETTINGS | {"objectives": objectives}), encoding="utf-8")
    with pytest.raises(DataError, match=f"{path} is damaged: its objectives"):
        open_study(tmp_path)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("mysql+pymysql://lab:hunter2@db/octopi", "pip install"),
        ("banana", "cannot be reached"),
        ("sqlite:///{folder}/old.db", "version"),
        ("sqlite:///{folder}/text.db", "not a database"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_with_the_cause(tmp_path, url, cause):
    (tmp_path / "text.db").write_text("text, and no database " * 100, encoding="utf-8")
    write_schema(tmp_path / "old.db", "v0.1")
    with pytest.raises(SettingError, match=cause) as refused:
        open_storage(tmp_path, url.format(folder=tmp_path))
    assert "hunter2" not in str(refused.value)


@pytest.fixture
def no_waits(monkeypatch):
    monkeypatch.setattr(study_module, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(study_module, "LONGEST_WAIT", 0.0)


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("study.db", "Type sqlite"),
        ("redis://lab:hunter2@localhost:6379", "names no database. Type sqlite"),
        ("mysql+pymysql://lab:hunter2@db/octopi", "pip install"),
        ("sqlite:///{folder}/old.db", "optuna storage upgrade --storage sqlite:///.*old.db"),
        ("sqlite:///{folder}/new.db", "schema v99, .*install the Optuna that wrote it"),
        ("sqlite:///{folder}/study.db", "no.* a database.*Move the file"),
    ],
)
def test_what_names_no_database_is_refused_before_a_search_and_by_its_dry_run(tmp_path, url, cause):
    (tmp_path / "study.db").write_text("no database", encoding="utf-8")
    write_schema(tmp_path / "old.db", "v2.6.0.a")
    write_schema(tmp_path / "new.db", "v99")
    with pytest.raises(SettingError, match=cause) as refused:
        check_storage_url(url.format(folder=tmp_path))
    assert "hunter2" not in str(refused.value)
    check_storage_url(f"sqlite:///{tmp_path}/absent.db")
    check_storage_url(None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.db", "old.db", "study.db"]


def test_the_schema_that_optuna_makes_is_its_own(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    open_storage(tmp_path, url).remove_session()
    check_storage_url(url)


@pytest.fixture
def storage(tmp_path, no_waits):
    """A database whose server can be taken away; its address is a file's, which needs no server."""
    storage = PatientDatabase(f"sqlite:///{tmp_path / 'study.db'}", patience=60)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def failing(times, value=7):
    """Return a call that fails as a lost connection does, so many times, before it succeeds."""
    left = [times]

    def call():
        if left[0]:
            left[0] -= 1
            raise OperationalError("commit", None, Exception("server closed the connection"))
        return value

    return call


def test_a_lost_connection_is_tried_again_until_it_answers(no_waits, caplog):
    with caplog.at_level("INFO"):
        assert wait_for_database(failing(5), patience=60) == 7
    said = [record.getMessage() for record in caplog.records if "database" in record.getMessage()]
    assert ["does not answer" in said[0], "answers again" in said[1], len(said)] == [True, True, 2]


def test_without_patience_the_first_failure_is_raised():
    with pytest.raises(OperationalError):
        wait_for_database(failing(1), patience=0)


def test_what_is_no_outage_is_raised_at_once():
    with pytest.raises(KeyError):
        wait_for_database({}.popitem, patience=60)


def test_a_trial_whose_end_was_stored_before_the_answer_was_lost_has_ended(no_waits):
    lost = failing(1)

    def end_trial():
        lost()
        raise optuna.exceptions.UpdateFinishedTrialError

    assert wait_for_database(end_trial, patience=60) is True


def test_every_access_of_a_study_is_tried_again(storage, monkeypatch):
    retried = []

    def retry(call, patience):
        retried.append(1)
        return call()

    monkeypatch.setattr(study_module, "wait_for_database", retry)
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(0))
    for access in (
        study.ask,
        lambda: study._storage.set_trial_intermediate_value(1, 0, 0.5),
        lambda: study._storage.set_trial_user_attr(1, "attempts", 1),
        lambda: study.tell(0, 0.5),
        lambda: optuna.load_study(study_name=study.study_name, storage=storage),
    ):
        before = len(retried)
        access()
        assert len(retried) > before
    assert {name for name in RETRIED_METHODS if not hasattr(PatientDatabase, name)} == set()


TORN = b'{"op_code":4,"trial_'


@pytest.fixture
def journal(tmp_path):
    """The journal of a study with two trials."""
    study = begin_search(tmp_path)
    for value in (0.25, 0.5):
        trial = study.ask()
        trial.suggest_float("lr", 0, 1)
        study.tell(trial, value)
    return tmp_path / JOURNAL


def read_values(folder):
    return [trial.value for trial in open_study(folder).get_trials()]


def test_a_torn_last_line_is_cut_off_and_kept_in_a_backup(journal):
    content = journal.read_bytes()
    journal.write_bytes(content + TORN)
    assert read_values(journal.parent) == [0.25, 0.5]
    assert journal.read_bytes() == content
    (backup,) = journal.parent.glob("journal.log.backup-*")
    assert backup.read_bytes() == content + TORN


def test_a_line_torn_in_the_middle_costs_only_that_line(journal):
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], b'{"op_code":4,"tri{"op_code":4}\n', lines[-1]]))
    assert read_values(journal.parent) == [0.25, 0.5]


def test_a_writer_cuts_off_what_another_left_torn(journal):
    study = open_study(journal.parent)
    with journal.open("ab") as file:
        file.write(TORN)
    study.tell(study.ask(), 0.75)
    assert read_values(journal.parent) == [0.25, 0.5, 0.75]
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


def test_opening_a_study_leaves_its_journal_as_it_is(journal):
    before = journal.read_bytes()
    assert read_values(journal.parent) == [0.25, 0.5]
    assert journal.read_bytes() == before
