"""`octopi summarize` at any time of a search, and of a finished cross-validation."""

import subprocess
import sys

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState


@pytest.fixture
def search(tmp_path, monkeypatch):
    """The folder of a search without trials."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "search"
    folder.mkdir()
    facts = {
        "study_name": "unet",
        "storage": None,
        "directions": ["maximize"],
        "objectives": ["object_fbeta"],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(facts), encoding="utf-8")
    return folder


@pytest.fixture
def study(search):
    storage = JournalStorage(JournalFileBackend(str(search / "journal.log")))
    return optuna.create_study(storage=storage, study_name="unet", direction="maximize")


def told(folder):
    return yaml.safe_load((folder / "optimization_results.yaml").read_text(encoding="utf-8"))


def test_a_running_search_is_listed_and_drawn(search, study, octopi_command, capfd):
    for value in (0.2, 0.8, 0.4):
        trial = study.ask()
        trial.suggest_float("model.dropout", 0, 0.3)
        study.tell(trial, value)
    study.ask()
    assert octopi_command("summarize", f"folder={search}") == 0
    assert told(search)["best"]["number"] == 1
    assert told(search)["trials"]["running"] == 1
    assert {"pictures.html", "history.png", "slice.png"} <= {p.name for p in search.iterdir()}
    assert "4 trials: 3 complete, 1 running" in "".join(capfd.readouterr())


def test_a_dry_run_shows_the_table_and_writes_nothing(search, study, octopi_command, capfd):
    study.tell(study.ask(), 0.5)
    before = {path: path.read_bytes() for path in search.iterdir()}
    assert octopi_command("summarize", f"folder={search}", "dry_run=true") == 0
    assert "1 trial: 1 complete" in "".join(capfd.readouterr())
    assert {path: path.read_bytes() for path in search.iterdir()} == before


def test_nothing_is_left_beside_the_search(search, study, octopi_command):
    assert octopi_command("summarize", "folder=search") == 0
    assert [path.name for path in search.parent.iterdir()] == ["search"]


def test_a_search_without_success_is_no_failure_of_the_command(search, study, octopi_command):
    study.tell(study.ask(), state=TrialState.FAIL)
    assert octopi_command("summarize", f"folder={search}") == 0
    assert "best" not in told(search)


def test_a_search_is_summed_up_as_the_second_time_it_was(search, study, octopi_command):
    study.tell(study.ask(), 0.5)
    for _ in range(2):
        assert octopi_command("summarize", f"folder={search}") == 0
    assert told(search)["trials"]["complete"] == 1
    assert not list(search.glob(".octopi-*"))


def test_the_module_form_is_the_same_command(search, study):
    words = [sys.executable, "-m", "octopi.summarize", f"folder={search}"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, encoding="utf-8")
    assert answer.returncode == 0, answer.stderr
    assert "No trial is complete yet." in answer.stdout + answer.stderr


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), "is empty"),
        (lambda folder: (folder / "fold_0").mkdir(parents=True), "holds fold_0"),
    ],
)
def test_another_folder_is_refused_with_what_it_holds(
    make, said, tmp_path, monkeypatch, capfd, octopi_command
):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "other")
    before = sorted(tmp_path.rglob("*"))
    assert octopi_command("summarize", "folder=other") == 2
    assert said in capfd.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
