"""The `octopi` console script: the commands under one name, light to import."""

import difflib
import importlib.metadata
import runpy
import sys
from typing import NoReturn

from octopi.cli.help import command_summary, wants_help, write_help
from octopi.config.files import COMMANDS
from octopi.system.utf8 import use_utf8


def main() -> NoReturn:
    """Run the command that the first word names."""
    use_utf8()
    words = sys.argv[1:]
    if words[:1] == ["--version"]:
        print(importlib.metadata.version("octopi"))
        sys.exit(0)
    if not words or words[0].startswith("-") or words[0] == "help":
        print(usage())
        sys.exit(0 if not words or wants_help(words[:1]) else 2)
    if words[0] == "completion":
        complete(words[1:])
    verb = words[0].replace("-", "_")
    if verb not in COMMANDS:
        close = difflib.get_close_matches(verb, COMMANDS, n=2)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        print(
            f"octopi: there is no command {words[0]}.{hint} Commands: {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        sys.exit(2)
    if wants_help(words[1:]):
        write_help(verb)
        sys.exit(0)
    sys.argv = [f"octopi {verb}", *(with_place(words[1:]) if verb == "report" else words[1:])]
    runpy.run_module(f"octopi.{verb}", run_name="__main__", alter_sys=True)
    sys.exit(0)


def complete(words: list[str]) -> NoReturn:
    """Print the script that a shell sources, or what its TAB may offer."""
    from octopi.console import completion  # noqa: PLC0415  brings yaml
    from octopi.errors import SettingError  # noqa: PLC0415

    try:
        if words[:1] == ["candidates"]:
            print("\n".join(completion.completions(" ".join(words[1:]))))
        else:
            print(completion.script(words[0] if words else ""), end="")
    except SettingError as error:
        print(f"octopi: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)


def with_place(words: list[str]) -> list[str]:
    """A bare word names a copick config (`.json`) or the folder of a job."""
    from octopi.config.overrides import override_text  # noqa: PLC0415  --help must not wait for it

    return [
        word
        if "=" in word or word.startswith(("-", "+", "~"))
        else override_text("project.config" if word.endswith(".json") else "folder", word)
        for word in words
    ]


def usage() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "octopi: 3D particle picking in cryo-electron tomograms",
            "",
            "Usage: octopi COMMAND [GROUP=CHOICE …] [SETTING=VALUE …]",
            "",
            *(f"  {verb:<{width}}  {command_summary(verb)}" for verb in COMMANDS),
            "",
            "octopi COMMAND --help lists a command's groups and settings.",
            "TAB completes them after: source <(octopi completion bash)   (or zsh, fish)",
            "No data at hand? Add project=demo.",
        ]
    )
