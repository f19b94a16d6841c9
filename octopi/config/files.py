"""The YAML files: where they lie, the commands, their groups and choices."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


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


def choices(group: str) -> list[str]:
    """The files of a config group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def groups_of(verb: str) -> dict[str, str]:
    """A command's config groups, each with the choice it stands at."""
    return _parse_command_yaml(_yaml(verb))[0]


def _yaml(name: str) -> str:
    return (CONF_DIR / f"{name}.yaml").read_text(encoding="utf-8")


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
