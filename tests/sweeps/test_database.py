"""A study's database that does not answer is waited for; a report is never worth a training."""

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from octopi.sweeps import database
from octopi.sweeps.database import RETRIED_METHODS, PatientDatabase


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """A database whose server can be taken away; its address is a file's, which needs no server."""
    monkeypatch.setattr(database, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(database, "LONGEST_WAIT", 0.0)
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


def test_a_lost_connection_is_tried_again_until_it_answers(storage, caplog):
    with caplog.at_level("INFO"):
        assert storage.try_until_answered(failing(5)) == 7
    said = [record.getMessage() for record in caplog.records if "database" in record.getMessage()]
    assert ["does not answer" in said[0], "answers again" in said[1], len(said)] == [True, True, 2]


def test_without_patience_the_first_failure_is_raised(storage):
    storage.patience = 0
    with pytest.raises(OperationalError):
        storage.try_until_answered(failing(1))


def test_what_is_no_outage_is_raised_at_once(storage):
    with pytest.raises(KeyError):
        storage.try_until_answered({}.popitem)


def test_a_trial_whose_end_was_stored_before_the_answer_was_lost_has_ended(storage):
    lost = failing(1)

    def end_trial():
        lost()
        raise optuna.exceptions.UpdateFinishedTrialError

    assert storage.try_until_answered(end_trial) is True


def test_every_access_of_a_study_is_tried_again(storage, monkeypatch):
    retried = []
    monkeypatch.setattr(storage, "try_until_answered", lambda call: (retried.append(1), call())[1])
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
