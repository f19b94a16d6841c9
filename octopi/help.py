"""`--help`, answered from the YAML files alone so that it takes no time."""

import ast
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
COMMANDS = (
    "create_targets",
    "train",
    "segment",
    "localize",
    "evaluate",
    "summarize",
    "check",
    "doctor",
    "plan",
    "report",
    "extract",
    "export",
    "import_tomograms",
)


def wants_help(arguments: list[str]) -> bool:
    """Whether the command line asks for help rather than work."""
    return any(word in ("-h", "--help", "help") for word in arguments)


def command_summary(verb: str) -> str:
    """The first line of a command's docstring."""
    return (_docstring(verb) or verb).splitlines()[0]


def _docstring(verb: str) -> str:
    text = (_PACKAGE / f"{verb}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(text)) or ""


def choices(group: str) -> list[str]:
    """The files of a config group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


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


def groups_of(verb: str) -> dict[str, str]:
    """A command's config groups, each with the choice it stands at."""
    return _parse_command_yaml(_yaml(verb))[0]


def _yaml(name: str) -> str:
    return (CONF_DIR / f"{name}.yaml").read_text(encoding="utf-8")


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


def _parse_command_yaml(text: str) -> tuple[dict[str, str], list[str]]:
    groups: dict[str, str] = {}
    settings: list[str] = []
    inside = ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#", "-")):
            inside = line.split(":")[0]
        if inside == "defaults" and line.strip().startswith("- ") and ":" in line:
            group, default = (part.strip() for part in line.strip()[2:].split("#")[0].split(":"))
            if (CONF_DIR / group).is_dir():
                groups[group] = default
        elif inside not in ("defaults", "hydra") and line.strip() and not line.startswith("#"):
            settings.append(line)
    return groups, settings
