"""TAB completes a command line, also in real shells, without a heavy import."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from octopi.config.files import COMMANDS, CONF_DIR, choices, groups_of
from octopi.console.completion import SCRIPTS, completions

SCRIPT = Path(sys.executable).with_name("octopi")
# As bash splits a line: "=" and ":" are words of their own.
ASK_BASH = r"""
source <(octopi completion bash)
COMP_LINE=$1 COMP_POINT=${#1}
COMP_WORDS=(${1//=/ = }) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p octopi); function=${function##*-F }; function=${function%% *}
$function octopi "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def ask(shell, line):
    """Return what a shell completes the line to."""
    command = {
        "bash": ["bash", "--norc", "-c", ASK_BASH, "bash", line],
        "fish": ["fish", "-N", "-c", "octopi completion fish | source; complete -C $argv", line],
    }[shell]
    path = f"{SCRIPT.parent}:{os.environ['PATH']}"
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
        encoding="utf-8",
    )
    return [text.split("\t")[0] for text in answer.stdout.split("\n") if text]


def typed_into_zsh(line):
    """Return zsh's command line after TAB; it completes only in a terminal."""
    path = f"{SCRIPT.parent}:{os.environ['PATH']}"
    terminal, shell_side = pty.openpty()
    with subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=shell_side,
        stdout=shell_side,
        stderr=shell_side,
        env={**os.environ, "PATH": path, "TERM": "xterm"},
        start_new_session=True,
    ):
        os.close(shell_side)

        def say(text, until):
            os.write(terminal, text.encode())
            output = ""
            while not (match := re.search(until, output)):
                output += os.read(terminal, 1024).decode()
            return match[1]

        say("autoload -Uz compinit; compinit -u -D\n", "()compinit")
        say("source <(octopi completion zsh); print -r -- '<ready>'\n", r"\n(<ready>)\r")
        # home, print '<, end, >': what is on the line by then comes out between the two
        completed = say(f"{line}\t\x01print -r -- '<\x05>'\n", r"\n<(.*?)>\r")
        os.write(terminal, b"exit\n")
    os.close(terminal)
    return completed


def test_commands_are_offered():
    assert set(COMMANDS) < set(completions("octopi "))
    assert completions("octopi tr") == ["train"]
    assert completions("octopi create-targets ta") == ["targets=", "targets."]
    assert completions("octopi no-such-command ") == []
    assert completions("") == completions("octopi") == []


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_group_setting_and_choice_of_a_command_is_offered(verb):
    offered = set(completions(f"octopi {verb} "))
    content = yaml.safe_load((CONF_DIR / f"{verb}.yaml").read_text(encoding="utf-8"))
    for group in groups_of(verb):
        assert f"{group}=" in offered
        assert completions(f"octopi {verb} {group}=") == [f"{group}={c}" for c in choices(group)]
    for key, value in content.items():
        if key not in ("defaults", "hydra", *groups_of(verb)):
            assert f"{key}{'.' if isinstance(value, dict) else '='}" in offered


def test_keys_are_those_of_the_choice_that_is_taken():
    assert "model.channels=" in completions("octopi train model.")
    keys = completions("octopi train model=segresnet model.")
    assert "model.init_filters=" in keys
    assert "model.channels=" not in keys
    assert completions("octopi train optim.optimizer.l") == ["optim.optimizer.lr="]
    assert completions("octopi train optim.opt") == ["optim.optimizer."]
    assert completions("octopi train hydra.sweeper.n_t") == ["hydra.sweeper.n_trials="]
    assert completions("octopi train model=none model.") == []
    assert completions("octopi train seed.x.") == []


def test_values_follow_signs_commas_and_flags():
    assert completions("octopi train -m model=unet,segr") == ["model=unet,segresnet"]
    assert completions("octopi train +log") == ["+logger=", "+logger."]
    assert completions("octopi extract fill_enclosed=f") == ["fill_enclosed=false"]
    assert completions("octopi train trainer.enable_progress_bar=t") == [
        "trainer.enable_progress_bar=true"
    ]
    assert completions("octopi train --cfg ") == ["job", "hydra", "all"]
    assert completions("octopi train --mul") == ["--multirun"]
    assert completions("octopi train seed=") == []


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes(shell):
    if shell != "bash" and not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    assert ask(shell, "octopi tra") == ["train"]
    assert {"model=", "model."} == set(ask(shell, "octopi train mod"))
    losses = ask(shell, "octopi train loss=focal")
    assert len(losses) == 2
    assert all(text.startswith(("focal", "loss=focal")) for text in losses)
    assert ask(shell, "octopi train model=unet,segr")[0].endswith("unet,segresnet")


@pytest.mark.timeout(60)
def test_zsh_completes_what_is_typed():
    if not shutil.which("zsh"):
        pytest.skip("there is no zsh here")
    assert typed_into_zsh("octopi tra") == "octopi train"
    assert typed_into_zsh("octopi train model=unet,segr") == "octopi train model=unet,segresnet"
    assert typed_into_zsh("octopi train optim.optimizer.l") == "octopi train optim.optimizer.lr="


def test_bash_gets_the_part_of_a_value_behind_the_equals_sign():
    assert ask("bash", "octopi train model=segr") == ["segresnet"]
    assert ask("bash", "octopi train logger=mlflow model=segr") == ["segresnet"]
    assert ask("bash", "octopi train checkpoint=") == []  # so that it goes on with files


@pytest.mark.parametrize("line", ["octopi ", "octopi train model=", "octopi train optim."])
def test_completing_imports_nothing_slow(line):
    program = (
        "import sys; from octopi.console.main import main\n"
        f"sys.argv = ['octopi', 'completion', 'candidates', {line!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "slow = {'torch', 'hydra', 'omegaconf', 'monai', 'copick', 'numpy'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_of_every_shell_is_printed(shell):
    answer = subprocess.run(
        [SCRIPT, "completion", shell], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert answer.stdout == SCRIPTS[shell].lstrip("\n")


@pytest.mark.parametrize(
    ("arguments", "message"), [([], "Shells: bash, zsh, fish"), (["bsh"], "Did you mean bash")]
)
def test_an_unknown_shell_is_answered_with_the_supported_ones(arguments, message):
    answer = subprocess.run(
        [SCRIPT, "completion", *arguments],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert answer.returncode == 2
    assert message in answer.stderr
