"""`--help`, answered from the YAML files alone so that it takes no time."""

import ast
import sys

from octopi.config.files import PACKAGE, _parse_command_yaml, _yaml, choices, groups_of


def wants_help(arguments: list[str]) -> bool:
    """Whether the command line asks for help rather than work."""
    return any(word in ("-h", "--help", "help") for word in arguments)


def command_summary(verb: str) -> str:
    """The first line of a command's docstring."""
    return (_docstring(verb) or verb).splitlines()[0]


def _docstring(verb: str) -> str:
    text = (PACKAGE / f"{verb}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)) or ""


def write_help(verb: str) -> None:
    """What a command does, its groups and its settings are on the screen."""
    sys.stdout.write(help_text(verb))


def help_text(verb: str) -> str:
    """What a command does, its groups and its settings."""
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
    """A command's groups, their choices, and its settings, as lines of a page."""
    groups, settings = _parse_command_yaml(_yaml(verb))
    return [
        *(_groups(groups) if groups else []),
        "Settings of the command" + (" (those of a group: GROUP.KEY=VALUE):" if groups else ":"),
        *(f"  {line}" for line in settings),
    ]


def _groups(groups: dict[str, str]) -> list[str]:
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
