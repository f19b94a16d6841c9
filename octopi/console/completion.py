"""What a shell offers on TAB: commands, groups, choices and keys, from the YAML files alone.

The scripts below ask `octopi completion candidates LINE`, so they need no renewal.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from octopi.config.files import COMMANDS, CONF_DIR, choices, groups_of
from octopi.errors import SettingError, did_you_mean

# bash takes a word apart at "=" and ":" and wants only what comes after; readline adds the rest.
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
    local -a found
    found=("${(@f)$("$words[1]" completion candidates "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    found=(${found:#})
    if (( $#found )); then
        compadd -Q -S '' -- ${(M)found:#*[=.]}
        compadd -Q -- ${found:#*[=.]}
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
_OVERLAYS = ("experiment", "search")  # overlays: their keys are those of other groups


def script(shell: str) -> str:
    """The script that a shell is to source."""
    if shell not in SCRIPTS:
        raise SettingError(
            f"There is no completion for {shell!r}.{did_you_mean(shell, SCRIPTS)} Shells: "
            f"{', '.join(SCRIPTS)}, as in: source <(octopi completion bash)"
        )
    return SCRIPTS[shell].lstrip("\n")


def completions(line: str) -> list[str]:
    """What the last word of a command line may become; it is empty after a blank."""
    words = line.split()[1:] + ([""] if line[-1:].isspace() else [])
    if not words:
        return []
    *typed, word = words
    if not typed:
        offered = iter([*COMMANDS, "completion", "--help", "--version"])
    elif typed == ["completion"]:
        offered = iter(SCRIPTS)
    elif (verb := typed[0].replace("-", "_")) in COMMANDS:
        offered = _words(verb, typed[1:], word)
    else:
        return []
    return [text for text in dict.fromkeys(offered) if text.startswith(word)]


def _words(verb: str, typed: list[str], word: str) -> Iterator[str]:
    """The words that a command takes where `word` stands."""
    if typed[-1:] == ["--cfg"]:
        yield from ("job", "hydra", "all")
    elif word.startswith("-"):
        yield from _FLAGS
    elif "=" in word:
        yield from _values(verb, typed, word)
    else:
        sign = word[: len(word) - len(word.lstrip("+~"))]
        for key in _keys(verb, typed, word.lstrip("+~")):
            yield sign + key


def _keys(verb: str, typed: list[str], word: str) -> Iterator[str]:
    """Groups, settings, and where a group or setting is open, what is in it."""
    groups, settings = groups_of(verb), _settings(verb, typed)
    if "." not in word:
        yield from (f"{group}=" for group in groups)
        for key, value in settings.items():
            if not isinstance(value, Mapping):
                yield f"{key}="
            elif key.startswith(word) and (word or key not in groups):
                yield f"{key}."
        return
    *path, _ = word.split(".")
    for key, value in _at(settings, path).items():
        if not key.startswith("_") or key == "_target_":
            yield ".".join([*path, key]) + ("." if isinstance(value, Mapping) else "=")


def _values(verb: str, typed: list[str], word: str) -> Iterator[str]:
    """`KEY=VALUE` for every choice of a group, also the last of several; and for truth values."""
    key, _, value = word.partition("=")
    name = key.lstrip("+~")
    several = value[: value.rfind(",") + 1]
    if name in groups_of(verb):
        yield from (f"{key}={several}{choice}" for choice in choices(name))
        return
    *path, last = name.split(".")
    if isinstance(_at(_settings(verb, typed), path).get(last), bool):
        yield from (f"{key}={several}{truth}" for truth in ("true", "false"))


def _at(settings: Mapping[str, Any], path: list[str]) -> Mapping[str, Any]:
    """What is in a setting of settings; nothing where it is none."""
    for key in path:
        settings = settings.get(key) or {}
        if not isinstance(settings, Mapping):
            return {}
    return settings


def _settings(verb: str, typed: list[str]) -> dict[str, Any]:
    """A command's settings, with those of its groups' choices: the typed ones, else its own."""
    root = _read(verb)
    chosen = groups_of(verb) | dict(word.split("=", 1) for word in typed if "=" in word)
    groups = {
        group: _choice(group, chosen[group]) for group in groups_of(verb) if group not in _OVERLAYS
    }
    hydra = {**_read("base").get("hydra", {}), "sweeper": _read("hydra/sweeper/octopi")}
    own = {key: value for key, value in root.items() if key != "defaults"}
    return {**groups, **own, "hydra": hydra}


def _choice(group: str, name: str) -> dict[str, Any]:
    """The settings of a group's choice and of those it begins with; of an unknown one, none."""
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
