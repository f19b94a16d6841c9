"""The study of a search is opened from its folder, wherever it is stored."""

import optuna
import pytest
import yaml
from planted import SEARCH_SETTINGS, begin_search

from octopi.errors import DataError
from octopi.sweeps.study import open_study, optimisation_directions
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
