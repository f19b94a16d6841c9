"""`--help`, answered from docstrings and YAML files alone so that it takes no time."""

import ast
import io
import sys
from typing import NoReturn

from octopi.config.files import PACKAGE, choices, groups_of, read_command_yaml
from octopi.errors import ExitCode


def wants_help(arguments: list[str]) -> bool:
    """Return whether the command line asks for help rather than work."""
    return any(argument in ("-h", "--help", "help") for argument in arguments)


def print_and_exit(text: str, code: int = ExitCode.DONE) -> NoReturn:
    """Print a text and end the program, quietly where nobody reads it, as behind `| head`."""
    try:
        stream = sys.stdout or io.StringIO()  # closed, as some schedulers do
        stream.write(text.rstrip("\n") + "\n")
        stream.flush()
    except BrokenPipeError:
        sys.stdout = io.StringIO()  # else Python flushes the pipe at its end
        code = ExitCode.UNREAD
    sys.exit(code)


def command_summary(verb: str) -> str:
    """Return the first line of a command's docstring."""
    return (_docstring(verb) or verb).splitlines()[0]


def _docstring(verb: str) -> str:
    text = (PACKAGE / f"{verb}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)) or ""


def help_text(verb: str) -> str:
    """Describe what a command does, its groups and its settings."""
    lines = [
        _docstring(verb),
        "",
        f"Usage: octopi {verb} {'[GROUP=CHOICE …] ' if groups_of(verb) else ''}[SETTING=VALUE …]",
        "",
        *settings_lines(verb),
        "",
        f"See the whole config before a job runs: octopi {verb} --cfg job --resolve",
    ]
    return "\n".join(lines) + "\n"


def settings_lines(verb: str) -> list[str]:
    """List a command's groups, their choices, and its settings."""
    groups, settings = read_command_yaml(verb)
    return [
        *(_group_lines(groups) if groups else []),
        "Settings of the command" + (" (those of a group: GROUP.KEY=VALUE):" if groups else ":"),
        *(f"  {line}" for line in settings),
    ]


def _group_lines(groups: dict[str, str]) -> list[str]:
    width = max(len(group) for group in groups)
    return [
        "Groups, each a folder of YAML files (the choice that is taken unless you name another *):",
        *(
            f"  {group:<{width}}  "
            + ", ".join(c + ("*" if c == default else "") for c in choices(group))
            for group, default in groups.items()
        ),
        "",
    ]
