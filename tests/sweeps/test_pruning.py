"""A training reports its validations to the study, through outages of its database."""

from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from planted import begin_search
from sqlalchemy.exc import OperationalError

from octopi.errors import SettingError
from octopi.sweeps import pruning, study
from octopi.sweeps.study import open_study
from octopi.training.module import PickingModule


@pytest.fixture
def search(tmp_path):
    begin_search(tmp_path).ask()
    return tmp_path


def validate(callback, epochs):
    """Let the callback see one validation after each epoch, and return its arguments."""
    module = create_autospec(PickingModule, instance=True, best_value=0.5, best_metric="fbeta")
    for epoch in epochs:
        trainer = SimpleNamespace(sanity_checking=False, current_epoch=epoch)
        callback.on_validation_end(trainer, module)
    return trainer, module


def reported(folder):
    (trial,) = open_study(folder).get_trials()
    return sorted(trial.intermediate_values)


REFUSED = OperationalError("select", {}, Exception("connection refused"))


def keep_down(monkeypatch, *, times):
    """Let the database refuse so many connections, and say how many it has refused."""
    refused = []

    def open_or_fail(folder, *, patience):
        if len(refused) == times:
            return open_study(folder, patience=patience)
        refused.append(folder)
        raise SettingError("hydra.sweeper.storage cannot be reached") from REFUSED

    monkeypatch.setattr(pruning, "open_study", open_or_fail)
    monkeypatch.setattr(study, "FIRST_WAIT", 0.01)
    return refused


def test_validations_of_an_outage_up_to_the_end_are_sent_when_the_training_ends(
    search, monkeypatch
):
    callback = pruning.Pruning(str(search), 0)
    validate(callback, [0, 1])
    callback.study = None
    refused = keep_down(monkeypatch, times=4)
    arguments = validate(callback, [2, 3])
    assert reported(search) == [0, 1]
    callback.on_fit_end(*arguments)  # the server is away for two more tries
    assert len(refused) == 4
    assert reported(search) == [0, 1, 2, 3]


def test_a_database_that_stays_away_ends_no_training_and_is_told(search, monkeypatch, caplog):
    monkeypatch.setattr(pruning, "PATIENCE", 0.05)
    keep_down(monkeypatch, times=1000)
    callback = pruning.Pruning(str(search), 0)
    callback.on_fit_end(*validate(callback, [0, 1]))
    assert "The search never got 2 validations: " in caplog.text
    assert reported(search) == []


def test_a_database_whose_driver_is_not_installed_ends_no_training(search, monkeypatch, caplog):
    def refuse(folder, *, patience):
        raise SettingError("Install the driver of this database") from ImportError("psycopg")

    monkeypatch.setattr(pruning, "open_study", refuse)
    callback = pruning.Pruning(str(search), 0)
    callback.on_fit_end(*validate(callback, [0, 1]))
    assert "The search never got 2 validations: psycopg" in caplog.text
