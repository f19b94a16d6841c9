"""The study of a search is opened from its folder, wherever it is stored."""

import contextlib
import sqlite3
import threading

import optuna
import pytest
import yaml
from planted import SEARCH_SETTINGS, begin_search
from sqlalchemy.exc import OperationalError

from octopi.cli.error_report import describe
from octopi.errors import DataError, ExitCode, SettingError, exit_code_of
from octopi.sweeps import study as study_module
from octopi.sweeps.study import open_storage, open_study, optimisation_directions
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
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as old:
        old.executescript(
            "create table alembic_version (version_num varchar(32));"
            "insert into alembic_version values ('v0.1');"
        )
    with pytest.raises(SettingError, match=cause) as refused:
        open_storage(tmp_path, url.format(folder=tmp_path))
    assert "hunter2" not in str(refused.value)
