"""TAB completes a command line in bash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from octopi.config.files import choices

SCRIPT = Path(sys.executable).with_name("octopi")
# As bash splits a line: "=" and ":" are words of their own.
ASK_BASH = r"""
source <(octopi completion)
COMP_LINE=$1 COMP_POINT=${#1}
COMP_WORDS=(${1//=/ = }) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p octopi); function=${function##*-F }; function=${function%% *}
$function octopi "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def completions(line):
    """Return what bash completes the line to."""
    answer = subprocess.run(
        ["bash", "--norc", "-c", ASK_BASH, "bash", line],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}"},
        encoding="utf-8",
    )
    return [text for text in answer.stdout.split("\n") if text]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("octopi tra", ["train"]),
        ("octopi train model=", choices("model")),
        ("octopi train logger=mlflow model=segr", ["segresnet"]),
        ("octopi train optim.optimizer.l", ["optim.optimizer.lr="]),
        ("octopi create-targets targets.nam", ["targets.name="]),
        ("octopi train no_such_key", []),  # so that it goes on with files
        ("octopi no-such-command ", []),
    ],
)
def test_commands_choices_and_keys_are_completed(line, expected):
    assert sorted(set(completions(line))) == sorted(expected)


@pytest.mark.parametrize("shell", ["zsh", "bsh"])
def test_another_shell_is_refused(shell):
    done = subprocess.run(
        [SCRIPT, "completion", shell], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "source <(octopi completion)" in done.stderr
