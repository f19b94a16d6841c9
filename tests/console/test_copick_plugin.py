"""copick's own command line with octopi's commands in it."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from octopi.project import open_project
from octopi.project.copick_api import keep_log_handlers
from octopi.project.queries import PicksQuery

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
sys.argv = ["copick", *{arguments}]
from copick.cli.cli import main
main()
"""
HEAVY = ("torch", "monai", "pytorch_lightning", "hydra", "omegaconf", "optuna", "mlflow")


@pytest.fixture
def copick(monkeypatch):
    """Return a function that runs copick's command line here; it returns exit code and output."""
    monkeypatch.delenv("COPICK_CONFIG", raising=False)

    def run(*arguments, **environment):
        monkeypatch.setattr(sys, "argv", ["copick", *arguments])
        with keep_log_handlers():
            outcome = CliRunner().invoke(copick_cli.cli, arguments, env=environment)
            for handler in logging.getLogger().handlers:
                handler.close()
        return outcome.exit_code, outcome.output

    return run


@pytest.fixture
def project(here, monkeypatch):
    """Make a project with octopi's picks in every run; return the path of its config."""
    monkeypatch.delenv("OCTOPI_PROJECT")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for run in open_project(here / "project.json").runs:
        query = PicksQuery("ribosome", "octopi", "1")
        run.write_picks(query, run.read_picks(PicksQuery("ribosome", "curation", "0")))
    return str(here / "project.json")


def scores(folder):
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("group", "name", "verb"), COMMANDS)
def test_groups_of_copick_have_the_commands_of_octopi_with_their_settings(
    copick, group, name, verb
):
    code, output = copick(group, "--help")
    assert code == 0
    assert name in output
    code, output = copick(group, name, "--help")
    assert code == 0
    assert f"octopi {verb}" in output
    assert all(
        text in output for text in ("COPICK_CONFIG", "--run-names", "Examples:", "See also:")
    )
    assert "project     demo, local*" in output


def test_options_and_arguments_reach_the_command(copick, project, here):
    arguments = ("objects=[ribosome]", "hydra.run.dir=job")
    assert copick("evaluation", "octopi", "-c", project, "-r", "TS_02", *arguments)[0] == 0
    written = scores(here / "job")
    assert (written["num_runs"], written["total"]) == (1, 1)


@pytest.mark.parametrize("name", ["COPICK_CONFIG", "OCTOPI_PROJECT"])
def test_the_environment_may_name_the_project(copick, project, here, name):
    arguments = ("objects=[ribosome]", "hydra.run.dir=job")
    assert copick("evaluation", "octopi", *arguments, **{name: project})[0] == 0
    assert scores(here / "job")["num_runs"] == 3


def test_arguments_take_precedence_over_the_environment(copick, project, here):
    (here / "other.json").write_text("{}", encoding="utf-8")
    arguments = (f"project.config={project}", "objects=[ribosome]", "hydra.run.dir=job")
    environment = {"COPICK_CONFIG": str(here / "other.json")}
    assert copick("evaluation", "octopi", *arguments, **environment)[0] == 0
    assert (here / "job/scores.json").is_file()


@pytest.mark.parametrize(
    "argument", ["project.config=other.json", "project=demo", "runs=[TS_01]", "runs=null"]
)
def test_an_argument_that_repeats_an_option_is_refused(copick, project, argument):
    code, output = copick("evaluation", "octopi", "-c", project, "-r", "TS_02", argument)
    assert code == 2
    assert f"{argument} say the same" in output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["foo=1"], 2),
        (["+scorer.foo=[1,2]", "~scorer.beta"], 2),
        (["--no-such-option"], 2),
        (["truth=nobody/1"], 3),
    ],
)
def test_message_and_exit_code_are_those_of_octopi_itself(project, arguments, code):
    scripts = Path(sys.executable).parent
    octopi_command = [scripts / "octopi", "evaluate", f"project.config={project}", *arguments]
    copick_command = [scripts / "copick", "evaluation", "octopi", "-c", project, *arguments]
    by_octopi, by_copick = (
        subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
        for command in (octopi_command, copick_command)
    )
    assert by_octopi.returncode == by_copick.returncode == code
    assert by_octopi.stderr.strip() == by_copick.stderr.strip() != ""


def test_a_missing_run_is_an_error_of_the_data(copick, project):
    code, output = copick("evaluation", "octopi", "-c", project, "-r", "TS_9")
    assert code == 3
    assert "TS_9" in output


def run_copick_without(absent, *arguments):
    program = WITHOUT.format(absent=list(absent), arguments=list(arguments))
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


@pytest.mark.parametrize("arguments", [["--version"], ["training", "octopi", "--help"], ["info"]])
def test_copick_answers_where_packages_of_octopi_are_missing(arguments):
    assert run_copick_without(HEAVY, *arguments).returncode == 0


def test_a_missing_package_is_named_with_how_to_install_it():
    outcome = run_copick_without(["torch"], "training", "octopi")
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
    own = ("octopi", "octopi.console", "octopi.console.copick_plugin", "octopi.signals")
    assert set(done.stdout.split()) == {*own}
