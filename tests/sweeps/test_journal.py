"""The study's journal can be read after any damage that a killed writer may leave."""

import json

import pytest
from planted import begin_search

from octopi.sweeps.journal import JOURNAL
from octopi.sweeps.study import open_study

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
