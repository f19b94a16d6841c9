"""The study of a search is opened from its folder, wherever it is stored."""

import contextlib
import sqlite3

import optuna
import pytest
import yaml
from planted import SEARCH_SETTINGS, begin_search

from octopi.errors import DataError, SettingError
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
