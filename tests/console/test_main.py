"""The console script: light to import, and helpful about what it does not know."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(sys.executable).with_name("octopi"))
PICKING = ("create_targets", "train", "segment", "localize", "evaluate")
VERBS = (
    *PICKING,
    "summarize",
    "report",
    "check",
    "doctor",
    "plan",
    "extract",
    "export",
    "import_tomograms",
)


def octopi(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment or None,
        encoding="utf-8",
    )


def test_help_names_the_commands():
    answer = octopi("--help")
    assert answer.returncode == 0
    assert all(verb in answer.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", PICKING)
def test_a_commands_help_lists_groups_and_settings(verb):
    answer = octopi(verb, "--help")
    assert answer.returncode == 0
    assert "project" in answer.stdout
    assert "Settings" in answer.stdout


def test_help_of_a_command_without_groups_lists_its_settings():
    answer = octopi("summarize", "--help")
    assert answer.returncode == 0
    assert "folder: ???" in answer.stdout
    assert "Groups" not in answer.stdout


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_imports_nothing_slow(words):
    program = (
        "import sys; from octopi.console.main import main\n"
        f"sys.argv = ['octopi', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "slow = {'torch', 'hydra', 'omegaconf', 'monai', 'copick', 'numpy', 'yaml'}\n"
        "sys.exit(len(slow & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "Did you mean train?"),
        (["creat_targets"], "Did you mean create_targets?"),
        (["--hlep"], "Usage"),
    ],
)
def test_an_unknown_command_is_answered_with_the_known_ones(words, told):
    answer = octopi(*words)
    assert answer.returncode == 2
    assert told in answer.stdout + answer.stderr


def test_a_dash_is_as_good_as_an_underscore():
    assert octopi("create-targets", "--help").returncode == 0


@pytest.mark.parametrize("form", [[SCRIPT, "evaluate"], [sys.executable, "-m", "octopi.evaluate"]])
def test_without_a_project_the_cure_is_named_in_both_forms(form, tmp_path):
    answer = subprocess.run(
        form,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": ""},
        encoding="utf-8",
    )
    assert answer.returncode == 2
    assert "OCTOPI_PROJECT" in answer.stderr
    assert "project=demo" in answer.stderr
    assert "Traceback" not in answer.stderr
