"""The YAML files of `conf/`: where they lie, the commands, their groups and choices."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"

# Each is a module `octopi.NAME`, a file `conf/NAME.yaml` and a class `NameSettings` of
# `octopi.config.settings`.
COMMANDS = (
    "create_targets",
    "train",
    "segment",
    "localize",
    "evaluate",
    "compare",
    "summarize",
    "check",
    "doctor",
    "status",
    "plan",
    "report",
    "review",
    "merge_picks",
    "extract",
    "export",
    "import_tomograms",
)
OVERLAYS = ("experiment", "search")  # groups whose keys are those of the other groups


def choices(group: str) -> list[str]:
    """List the files of a config group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def groups_of(verb: str) -> dict[str, str]:
    """Return a command's config groups, each with its default choice."""
    return read_command_yaml(verb)[0]


def read_command_yaml(verb: str) -> tuple[dict[str, str], list[str]]:
    """Read the YAML of a command without a YAML library, for `--help`.

    Returns:
        Its groups with their default choices, and the lines of its other settings.
    """
    groups: dict[str, str] = {}
    settings: list[str] = []
    top_key = ""
    for line in (CONF_DIR / f"{verb}.yaml").read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if line and not line.startswith((" ", "#", "-")):
            top_key = line.split(":")[0]
        if top_key == "defaults" and text.startswith("- ") and ":" in text:
            group, default = (part.strip() for part in text[2:].split("#")[0].split(":"))
            if (CONF_DIR / group).is_dir():
                groups[group] = default
        elif top_key not in ("defaults", "hydra") and text and not line.startswith("#"):
            settings.append(line)
    return groups, settings


def commands_with(setting: str) -> list[str]:
    """List the commands that have a setting or a group, such as `beta` or `targets.picks`."""
    name, _, key = setting.partition(".")
    found = []
    for verb in COMMANDS:
        groups, lines = read_command_yaml(verb)
        if key:
            path = CONF_DIR / name / f"{groups.get(name)}.yaml"
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        elif name in groups:
            found.append(verb)
        if any(line.startswith(f"{key or name}:") for line in lines):
            found.append(verb)
    return found
