"""The console script is light to import and answers mistakes with close matches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from octopi.config.files import COMMANDS, groups_of

SCRIPT = str(Path(sys.executable).with_name("octopi"))


def octopi(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment or None,
        encoding="utf-8",
    )


def test_help_names_the_commands():
    answer = octopi("--help")
    assert answer.returncode == 0
    assert all(verb in answer.stdout for verb in COMMANDS)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_commands_help_lists_groups_and_settings(verb):
    answer = octopi(verb, "--help")
    assert answer.returncode == 0
    assert "Settings" in answer.stdout
    assert all(group in answer.stdout for group in groups_of(verb))


def test_help_of_a_command_without_groups_lists_its_settings():
    answer = octopi("summarize", "--help")
    assert answer.returncode == 0
    assert "folder: ???" in answer.stdout
    assert "Groups" not in answer.stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "--help"], ["completion"]]
)
def test_a_text_that_nobody_reads_ends_without_a_traceback(arguments):
    read, write = os.pipe()
    os.close(read)
    program = "from octopi.console.main import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_imports_nothing_slow(arguments):
    program = (
        "import sys; from octopi.console.main import main\n"
        f"sys.argv = ['octopi', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "slow = {'torch', 'hydra', 'omegaconf', 'monai', 'copick', 'numpy', 'yaml'}\n"
        "sys.exit(len(slow & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean train?"),
        (["creat_targets"], "Did you mean create_targets?"),
        (["--hlep"], "Usage"),
    ],
)
def test_an_unknown_command_is_answered_with_close_ones(arguments, message):
    answer = octopi(*arguments)
    assert answer.returncode == 2
    assert message in answer.stdout + answer.stderr


def test_a_command_may_be_written_with_a_dash():
    assert octopi("create-targets", "--help").returncode == 0


@pytest.mark.parametrize("form", [[SCRIPT, "evaluate"], [sys.executable, "-m", "octopi.evaluate"]])
def test_a_missing_project_is_answered_with_what_to_do_in_both_forms(form, tmp_path):
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
