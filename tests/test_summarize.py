"""`octopi summarize` lists and draws a search at any time."""

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
    content = {"study_name": "unet", "storage": None, "objectives": ["object_fbeta"]}
    (folder / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


@pytest.fixture
def study(search):
    """The study of the search."""
    storage = JournalStorage(JournalFileBackend(str(search / "journal.log")))
    return optuna.create_study(storage=storage, study_name="unet", direction="maximize")


def read_results(folder):
    return yaml.safe_load((folder / "optimization_results.yaml").read_text(encoding="utf-8"))


def test_a_running_search_is_listed_and_drawn(search, study, octopi_command, capfd):
    for value in (0.2, 0.8, 0.4):
        trial = study.ask()
        trial.suggest_float("model.dropout", 0, 0.3)
        study.tell(trial, value)
    study.ask()
    assert octopi_command("summarize", f"folder={search}") == 0
    assert read_results(search)["best"]["number"] == 1
    assert read_results(search)["trials"]["running"] == 1
    assert {"pictures.html", "history.png", "slice.png"} <= {p.name for p in search.iterdir()}
    assert "4 trials: 3 complete, 1 running" in "".join(capfd.readouterr())


def test_a_dry_run_shows_the_table_and_writes_nothing(search, study, octopi_command, capfd):
    study.tell(study.ask(), 0.5)
    before = {path: path.read_bytes() for path in search.iterdir()}
    assert octopi_command("summarize", f"folder={search}", "dry_run=true") == 0
    assert "1 trial: 1 complete" in "".join(capfd.readouterr())
    assert {path: path.read_bytes() for path in search.iterdir()} == before


def test_nothing_is_written_beside_the_search(search, study, octopi_command):
    assert octopi_command("summarize", "folder=search") == 0
    assert [path.name for path in search.parent.iterdir()] == ["search"]


def test_a_search_in_which_all_trials_failed_is_summarised_too(search, study, octopi_command):
    study.tell(study.ask(), state=TrialState.FAIL)
    assert octopi_command("summarize", f"folder={search}") == 0
    assert "best" not in read_results(search)


def test_a_search_can_be_summarised_again(search, study, octopi_command):
    study.tell(study.ask(), 0.5)
    for _ in range(2):
        assert octopi_command("summarize", f"folder={search}") == 0
    assert read_results(search)["trials"]["complete"] == 1
    assert not list(search.glob(".octopi-*"))


def test_the_module_form_is_the_same_command(search, study):
    command = [sys.executable, "-m", "octopi.summarize", f"folder={search}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "No trial is complete yet." in done.stdout + done.stderr


def write_grid(folder, *trainings):
    for training in trainings:
        (folder / training).mkdir(parents=True)
    (folder / "study.yaml").write_text(f"trainings: [{','.join(trainings)}]\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), "is empty"),
        (lambda folder: (folder / "fold_0").mkdir(parents=True), "holds fold_0"),
        (lambda path: path.write_text("", encoding="utf-8"), "is a file"),
        (lambda folder: write_grid(folder, "lr_1", "lr_2"), "holds a grid of trainings"),
        (lambda folder: write_grid(folder, "fold_0", "fold_1"), "nor of a finished cross-"),
    ],
)
def test_a_folder_of_something_else_is_refused_with_its_content(
    make, message, tmp_path, monkeypatch, capfd, octopi_command
):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "other")
    before = sorted(tmp_path.rglob("*"))
    assert octopi_command("summarize", "folder=other") == 2
    assert message in capfd.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["study.yaml", "results.json"])
def test_a_damaged_file_is_an_error_of_the_data(name, tmp_path, capfd, octopi_command):
    (tmp_path / "fold_0").mkdir()
    (tmp_path / name).write_text("{", encoding="utf-8")
    assert octopi_command("summarize", f"folder={tmp_path}") == 3
    assert f"{tmp_path / name} is damaged" in capfd.readouterr().err


def test_a_database_is_opened_only_if_the_user_names_it(search, octopi_command, capfd):
    path = search / "study.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    url = f"sqlite:///{search.parent / 'trials.db'}"
    path.write_text(yaml.safe_dump(content | {"storage": url}), encoding="utf-8")
    assert octopi_command("summarize", "folder=search") == 2
    assert f'storage="{url}"' in capfd.readouterr().err
    assert octopi_command("summarize", "folder=search", "storage=sqlite:///other.db") == 2
    assert not (search.parent / "trials.db").exists()
    assert octopi_command("summarize", "folder=search", "storage=sqlite:///trials.db") == 0
    inside = f"sqlite:///{search / 'trials.db'}"
    path.write_text(yaml.safe_dump(content | {"storage": inside}), encoding="utf-8")
    assert octopi_command("summarize", "folder=search") == 0
