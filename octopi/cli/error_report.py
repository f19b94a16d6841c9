"""Report an error to the person at the screen: one sentence, and the exit code."""

import contextlib
import errno
import io
import re
import sys
import traceback
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationKeyError, OmegaConfBaseException
from tqdm import tqdm

from octopi.cli.job_log import log_files
from octopi.config.files import OVERLAYS, choices, commands_with
from octopi.config.overrides import shell_override
from octopi.errors import (
    DISK_FULL,
    MAX_MESSAGE_LENGTH,
    PATH_ERRNOS,
    SYNONYMS,
    WHAT_IS_KEPT,
    ExitCode,
    OctopiError,
    describe_error,
    did_you_mean,
    exit_code_of,
    is_database_error,
    is_exhaustion,
    is_interruption,
    is_without_tmpdir,
    shorten,
    shorten_list,
    users_code,
)
from octopi.system.passwords import mask_passwords, to_printable

MAX_LINES = 20


def report_error(error: BaseException) -> int:
    """Print what went wrong and what to do; return the exit code."""
    if exit_code_of(error) == ExitCode.MISTAKE:
        error = _cause_behind(error) or error
    code = exit_code_of(error)
    if code == ExitCode.UNREAD:
        sys.stdout = io.StringIO()  # else Python flushes the pipe at its end
    if code == ExitCode.MISTAKE:
        _print_mistake(error)
    elif code == ExitCode.SETTING and (place := users_code(error)):
        _print(
            f"{shorten(describe_error(error), 300)}. Correct it in "
            f"{shorten(place.filename, 200)}, line {place.lineno}, in {place.name}."
        )
    else:
        _print(describe(error))
    return code


def _cause_behind(error: BaseException) -> BaseException | None:
    """Return the signal or lack of resources on whose way out code of others failed."""
    behind = error.__context__
    while behind is not None and not (is_interruption(behind) or is_exhaustion(behind)):
        behind = behind.__context__
    return behind


def _print_mistake(error: BaseException) -> None:
    """Print an error nobody foresaw, and its traceback unless that is in a log file."""
    advice = "The traceback is in the job's log file; please report it."
    if not log_files():
        sys.stderr.write(mask_passwords("".join(traceback.format_exception(error))))
        advice = "Please report it with the traceback above."
    _print(f"{describe_error(error)}\nThis looks like a mistake in octopi. {advice}")


def _print(message: str) -> None:
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()  # which ends its line
    message = to_printable(message)
    lines = [line.rstrip() for line in message.splitlines() if line.strip()] or ["failed"]
    text = "\n".join(["octopi: " + lines[0], *lines[1:MAX_LINES]])
    with contextlib.suppress(OSError):  # a full disk; the exit code tells the rest
        sys.stderr.write(shorten(text, MAX_MESSAGE_LENGTH) + "\n")


def describe(error: BaseException) -> str:
    """Return the message of an error, which its exit code says is no mistake in octopi."""
    if isinstance(error, KeyboardInterrupt):
        return f"Interrupted. {WHAT_IS_KEPT}"
    if isinstance(error, OSError) and error.strerror:
        return explain_os_error(error)
    if isinstance(error, OmegaConfBaseException):
        return explain_omegaconf_error(error)
    if type(error).__module__.startswith("hydra"):
        return explain_hydra_error(error)
    if exit_code_of(error) == ExitCode.RESOURCE and not isinstance(error, OctopiError):
        return explain_lack_of_resources(error)
    return str(error).strip() or type(error).__name__


def explain_os_error(error: OSError) -> str:
    """Say what the system refused, of which path, and what to do."""
    cure = ". Name another path, or move away what is there" * (error.errno in PATH_ERRNOS)
    if error.errno in DISK_FULL:
        how = (
            "Allow larger files with ulimit -f" if error.errno == errno.EFBIG else "Make room there"
        )
        cure = f". {how}. {WHAT_IS_KEPT.rstrip('.')}"
    if error.errno == errno.EMFILE:
        cure = ". Allow more with ulimit -n, or choose fewer num_workers"
    if is_without_tmpdir(error):
        cure = ". Set TMPDIR to one that can be written"
    where = f": {shorten(error.filename, 300)}" if error.filename else ""
    if error.errno in DISK_FULL and not where:
        where = ", where the output of octopi goes"
    return f"{error.strerror}{where}{cure}."


def explain_lack_of_resources(error: BaseException) -> str:
    """Say that a database or the memory failed, and what to do."""
    if is_database_error(error):
        reason = shorten(describe_error(error.__cause__ or error), 300)
        return (
            f"The database of the study cannot be used: {reason}. If another program has locked "
            "it, close that. Finished trainings are kept; the same command does the rest."
        )
    return (
        f"Out of memory: {shorten(describe_error(error), 300)}. In a training choose fewer "
        "data.crops_per_step or a smaller data.crop_size; else a smaller predictor.window_size."
    )


def explain_omegaconf_error(error: OmegaConfBaseException) -> str:
    """Say which setting OmegaConf could not read, and how to type the signs of a reference."""
    text = str(error).partition("\n")[0]
    cure = ""
    if isinstance(error, InterpolationKeyError | GrammarParseError):
        cure = r". ${…} refers to another setting; where the signs themselves are meant, type \${…}"
    setting = str(error.full_key or "")
    return f"{setting}{': ' if setting else ''}{text.rstrip('.')}{cure}."


def explain_hydra_error(error: BaseException) -> str:
    """Say what Hydra refused, with close matches and without its search path."""
    text, cause = str(error).partition("Config search path")[0].strip(), error.__cause__
    text = re.sub(r"\n\s+(full_key|object_type|reference_type)\b.*", "", text)
    if isinstance(error, OverrideParseException):
        is_config = error.override.endswith(".json")
        example = shell_override("project.config", error.override) if is_config else "runs=[TS_01]"
        return (
            f"{error.override:.200} is not understood. Settings are typed as SETTING=VALUE, groups "
            f"as GROUP=CHOICE; as in {example:.200}."
        )
    if choice_problem := _explain_choice(text):
        return choice_problem
    if "Could not override" in text and isinstance(cause, OmegaConfBaseException):
        return _explain_unknown_setting(cause, addition=text.rpartition("use ")[2])
    if isinstance(cause, OmegaConfBaseException):
        cause = str(cause).partition("\n")[0]
    return f"{text}\n{cause}" if cause is not None else text or type(error).__name__


def _explain_unknown_setting(error: OmegaConfBaseException, addition: str) -> str:
    """Say that a setting is not there, with close ones; Hydra's advice to add it is `addition`."""
    parent, _, key = str(error.full_key).rpartition(".")
    known_keys = [str(known) for known in error.parent_node or ()]
    if not parent:
        if key in OVERLAYS:
            return f"{key} has no settings of its own: choose {key}=NAME, as --help lists them."
        hint = did_you_mean(key, [*known_keys, *OVERLAYS, "project.config"])
        hint = hint or _deeper_settings(key, error.parent_node)
        return f"There is no setting or group {key}.{hint}{_of_other_commands(key)}"
    if other := _of_other_commands(f"{parent}.{key}"):
        return f"There is no setting {parent}.{key} here.{other}"
    hint = did_you_mean(key, known_keys)
    return f"There is no setting {parent}.{key}.{hint} To add one, write {addition}"


def _deeper_settings(name: str, config: Any) -> str:
    """Say where a config has settings of this name further down; empty where it has none."""
    name, paths = SYNONYMS.get(name, name), []
    nodes = [("", OmegaConf.to_container(config, resolve=False))]
    for path, node in nodes:  # which grows meanwhile
        if isinstance(node, dict):
            nodes += [(f"{path}.{key}".lstrip("."), part) for key, part in node.items()]
        if path.rpartition(".")[2] == name:
            paths.append(path)
    return f" Did you mean {' or '.join(paths[:3])}?" if paths else ""


def _of_other_commands(setting: str) -> str:
    """Say which commands have a setting that this one has not; empty where none has."""
    verbs = commands_with(setting)
    return f" {setting} belongs to {shorten_list(verbs)}." if verbs else ""


def _explain_choice(text: str) -> str | None:
    """Say what Hydra found wrong with the choice of a group; None where it is about another."""
    if missing := re.search(r"Could not find '([^']+)/([^'/]*)'", text):
        group, choice = missing.groups()
        available = re.findall(r"\n\t(\S+)", text) or choices(group)
        hint = did_you_mean(choice, available)
        problem = f"There is no {group} {choice}.{hint}" if choice else f"{group}= is empty."
        return f"{problem} Choices: {', '.join(available)}"
    if unset := re.search(r"You must specify '([^']+)'", text):
        return f"{unset[1]} must be set. Choose {unset[1]}={' or '.join(choices(unset[1]))}."
    if again := re.search(r"Multiple values for ([^.\s]+)\.", text):
        return f"{again[1]} has a choice already: type {again[1]}=CHOICE, without +."
    if unknown := re.search(r"Could not override '([^']*)'\. No match in the defaults", text):
        return f"This command has no setting or group {unknown[1]!r}. Its --help lists them."
    return None
