"""Complete a command line on TAB: commands, groups, choices and keys, from the YAML files alone.

The scripts below ask `octopi completion candidates LINE`, so they need no renewal. Hydra's own
completion takes 1.5 s for each TAB, against 0.2 s, and knows no commands: it reads `train` as an
override.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from octopi.config.files import COMMANDS, CONF_DIR, OVERLAYS, choices, groups_of
from octopi.errors import SettingError, did_you_mean

# bash splits a word at "=" and ":" and wants only what comes after; readline adds the start.
SCRIPTS = {
    "bash": r"""
_octopi() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n'
    local word="${line##*[[:space:]]}"
    COMPREPLY=($("$1" completion candidates "$line" 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[=:]}"}"}")
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o default -F _octopi octopi
""",
    "zsh": r"""
#compdef octopi
_octopi() {
    local -a offers
    offers=("${(@f)$("$words[1]" completion candidates "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    offers=(${offers:#})
    if (( $#offers )); then
        compadd -Q -S '' -- ${(M)offers:#*[=.]}
        compadd -Q -- ${offers:#*[=.]}
    else
        compset -P '*='
        _files
    fi
}
compdef _octopi octopi
""",
    "fish": r"""
complete -c octopi -a '(octopi completion candidates (commandline -cp | string collect))'
""",
}
_FLAGS = ("--help", "--cfg", "--config-dir", "--multirun", "--resolve")


def script(shell: str) -> str:
    """Return the script that a shell is to source."""
    if shell not in SCRIPTS:
        raise SettingError(
            f"There is no completion for {shell!r}.{did_you_mean(shell, SCRIPTS)} Shells: "
            f"{', '.join(SCRIPTS)}, as in: source <(octopi completion bash)"
        )
    return SCRIPTS[shell].lstrip("\n")


def completions(line: str) -> list[str]:
    """List what the last argument of a command line may become; it is empty after a blank."""
    arguments = line.split()[1:] + ([""] if line[-1:].isspace() else [])
    if not arguments:
        return []
    *typed, last = arguments
    if not typed:
        candidates = iter([*COMMANDS, "completion", "--help", "--version"])
    elif typed == ["completion"]:
        candidates = iter(SCRIPTS)
    elif (verb := typed[0].replace("-", "_")) in COMMANDS:
        candidates = _arguments(verb, typed[1:], last)
    else:
        return []
    return [text for text in dict.fromkeys(candidates) if text.startswith(last)]


def _arguments(verb: str, typed: list[str], last: str) -> Iterator[str]:
    """Yield the arguments that a command takes in place of the last one, begun but not finished.

    Args:
        verb: the command.
        typed: its arguments before the last one.
        last: the last one.
    """
    if typed[-1:] == ["--cfg"]:
        yield from ("job", "hydra", "all")
    elif last.startswith("-"):
        yield from _FLAGS
    elif "=" in last:
        yield from _values(verb, typed, last)
    else:
        sign = last[: len(last) - len(last.lstrip("+~"))]
        for key in _keys(verb, typed, last.lstrip("+~")):
            yield sign + key


def _keys(verb: str, typed: list[str], start: str) -> Iterator[str]:
    """Yield groups and settings; after a dot, the keys of the group or setting before it."""
    groups, settings = groups_of(verb), _settings(verb, typed)
    if "." not in start:
        yield from (f"{group}=" for group in groups)
        for key, value in settings.items():
            if not isinstance(value, Mapping):
                yield f"{key}="
            elif key.startswith(start) and (start or key not in groups):
                yield f"{key}."
        return
    *path, _ = start.split(".")
    for key, value in _mapping_at(settings, path).items():
        if not key.startswith("_") or key == "_target_":
            yield ".".join([*path, key]) + ("." if isinstance(value, Mapping) else "=")


def _values(verb: str, typed: list[str], last: str) -> Iterator[str]:
    """Yield `KEY=VALUE` for each choice of a group, also behind commas, and for truth values."""
    key, _, value = last.partition("=")
    name = key.lstrip("+~")
    before = value[: value.rfind(",") + 1]
    if name in groups_of(verb):
        yield from (f"{key}={before}{choice}" for choice in choices(name))
        return
    *path, setting = name.split(".")
    if isinstance(_mapping_at(_settings(verb, typed), path).get(setting), bool):
        yield from (f"{key}={before}{truth}" for truth in ("true", "false"))


def _mapping_at(settings: Mapping[str, Any], path: list[str]) -> Mapping[str, Any]:
    """Return the mapping at a path of keys; an empty one if there is none."""
    for key in path:
        settings = settings.get(key) or {}
        if not isinstance(settings, Mapping):
            return {}
    return settings


def _settings(verb: str, typed: list[str]) -> dict[str, Any]:
    """Read a command's settings, with those of its groups' choices: the typed or default ones."""
    groups = groups_of(verb)
    chosen = groups | dict(argument.split("=", 1) for argument in typed if "=" in argument)
    return {
        **{group: _choice(group, chosen[group]) for group in groups if group not in OVERLAYS},
        **{key: value for key, value in _read(verb).items() if key != "defaults"},
        "hydra": {**_read("base").get("hydra", {}), "sweeper": _read("hydra/sweeper/octopi")},
    }


def _choice(group: str, name: str) -> dict[str, Any]:
    """Read the settings of a group's choice and of its `defaults`; none for an unknown one."""
    content = _read(f"{group}/{name}")
    merged: dict[str, Any] = {}
    for entry in content.get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            merged |= _choice(group, entry)
    return merged | {key: value for key, value in content.items() if key != "defaults"}


def _read(name: str) -> dict[str, Any]:
    path = CONF_DIR / f"{name}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return content if isinstance(content, dict) else {}
