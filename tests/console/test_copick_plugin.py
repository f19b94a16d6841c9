"""copick's own command line with octopi's commands in it."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from octopi.project import PicksQuery, open_project
from octopi.project.copick_api import keep_log_handlers

with keep_log_handlers():
    import copick.cli.cli as copick_cli

COMMANDS = [
    ("process", "octopi-targets", "create_targets"),
    ("training", "octopi", "train"),
    ("inference", "octopi", "segment"),
    ("inference", "octopi-picks", "localize"),
    ("evaluation", "octopi", "evaluate"),
    ("logical", "octopi-extract", "extract"),
]
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["copick", *{words}]
from copick.cli.cli import main
main()
"""
HEAVY = ("torch", "monai", "pytorch_lightning", "hydra", "omegaconf", "optuna", "mlflow")


@pytest.fixture
def copick(monkeypatch):
    """Runs copick's command line in this process; returns exit code and all it said."""
    monkeypatch.delenv("COPICK_CONFIG", raising=False)

    def run(*words, **environment):
        monkeypatch.setattr(sys, "argv", ["copick", *words])
        with keep_log_handlers():
            outcome = CliRunner().invoke(copick_cli.cli, words, env=environment)
            for handler in logging.getLogger().handlers:
                handler.close()
        return outcome.exit_code, outcome.output

    return run


@pytest.fixture
def project(here, monkeypatch):
    """A project with octopi's picks in every run, known by its path alone."""
    monkeypatch.delenv("OCTOPI_PROJECT")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for run in open_project(here / "project.json").runs:
        query = PicksQuery("ribosome", "octopi", "1")
        run.write_picks(query, run.read_picks(PicksQuery("ribosome", "curation", "0")))
    return str(here / "project.json")


def scores(folder):
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("group", "name", "verb"), COMMANDS)
def test_copicks_groups_have_our_commands_with_their_settings(copick, group, name, verb):
    code, said = copick(group, "--help")
    assert code == 0
    assert name in said
    code, said = copick(group, name, "--help")
    assert code == 0
    assert f"octopi {verb}" in said
    assert all(word in said for word in ("COPICK_CONFIG", "--run-names", "Examples:", "See also:"))
    assert "project     demo, local*" in said


def test_options_and_words_reach_the_command(copick, project, here):
    words = ("objects=[ribosome]", "hydra.run.dir=job")
    assert copick("evaluation", "octopi", "-c", project, "-r", "TS_02", *words)[0] == 0
    written = scores(here / "job")
    assert (written["num_runs"], written["total"]) == (1, 1)


@pytest.mark.parametrize("name", ["COPICK_CONFIG", "OCTOPI_PROJECT"])
def test_the_project_may_be_told_by_the_environment(copick, project, here, name):
    words = ("objects=[ribosome]", "hydra.run.dir=job")
    assert copick("evaluation", "octopi", *words, **{name: project})[0] == 0
    assert scores(here / "job")["num_runs"] == 3


def test_words_stand_before_the_environment(copick, project, here):
    (here / "other.json").write_text("{}", encoding="utf-8")
    words = (f"project.config={project}", "objects=[ribosome]", "hydra.run.dir=job")
    told = {"COPICK_CONFIG": str(here / "other.json")}
    assert copick("evaluation", "octopi", *words, **told)[0] == 0
    assert (here / "job/scores.json").is_file()


@pytest.mark.parametrize(
    "word", ["project.config=other.json", "project=demo", "runs=[TS_01]", "runs=null"]
)
def test_what_an_option_says_is_not_said_again(copick, project, word):
    code, said = copick("evaluation", "octopi", "-c", project, "-r", "TS_02", word)
    assert code == 2
    assert f"{word} say the same" in said


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["foo=1"], 2),
        (["+scorer.foo=[1,2]", "~scorer.beta"], 2),
        (["--no-such-option"], 2),
        (["truth=nobody/1"], 3),
    ],
)
def test_whatever_is_said_is_answered_as_by_octopi_itself(project, words, code):
    """Two processes: the text and the exit code are the same in both."""
    scripts = Path(sys.executable).parent
    ours = [scripts / "octopi", "evaluate", f"project.config={project}", *words]
    theirs = [scripts / "copick", "evaluation", "octopi", "-c", project, *words]
    one, two = (
        subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
        for command in (ours, theirs)
    )
    assert one.returncode == two.returncode == code
    assert one.stderr.strip() == two.stderr.strip() != ""


def test_no_picks_of_a_run_are_an_error_of_the_data(copick, project):
    code, said = copick("evaluation", "octopi", "-c", project, "-r", "TS_9")
    assert code == 3
    assert "TS_9" in said


def without(absent, *words):
    program = WITHOUT.format(absent=list(absent), words=list(words))
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


@pytest.mark.parametrize("words", [["--version"], ["training", "octopi", "--help"], ["info"]])
def test_copick_answers_where_octopis_packages_are_absent(words):
    assert without(HEAVY, *words).returncode == 0


def test_an_absent_package_is_named_with_its_cure():
    outcome = without(["torch"], "training", "octopi")
    assert outcome.returncode == 2
    assert "pip install torch" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_copick_becomes_no_heavier():
    program = (
        "import sys, copick.cli.cli\n"
        "for name in [n for n in sys.modules if n.startswith('octopi')]: del sys.modules[name]\n"
        "before = set(sys.modules); import octopi.console.copick_plugin\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, encoding="utf-8"
    )
    loaded = {"octopi", "octopi.console", "octopi.console.copick_plugin"}
    assert set(done.stdout.split()) == loaded
