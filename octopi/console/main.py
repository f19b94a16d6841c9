"""The `octopi` console script: the commands under one name, light to import."""

import importlib
import importlib.metadata
import sys
from typing import NoReturn

from octopi.cli.help import command_summary, help_text, print_and_exit, wants_help
from octopi.config.files import COMMANDS
from octopi.console.completion import SCRIPT
from octopi.errors import ExitCode, did_you_mean
from octopi.system.utf8 import use_utf8


def main() -> NoReturn:
    """Run the command that the first argument names."""
    use_utf8()
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        print_and_exit(importlib.metadata.version("octopi"))
    if not arguments or arguments[0].startswith("-") or arguments[0] == "help":
        is_known = not arguments or wants_help(arguments[:1])
        print_and_exit(usage(), ExitCode.DONE if is_known else ExitCode.SETTING)
    if arguments[0] == "completion":
        if arguments[1:] not in ([], ["bash"]):
            print("octopi: completion is for bash: source <(octopi completion)", file=sys.stderr)
            sys.exit(ExitCode.SETTING)
        print_and_exit(SCRIPT)
    verb = arguments[0].replace("-", "_")
    if verb not in COMMANDS:
        print(
            f"octopi: there is no command {arguments[0]}.{did_you_mean(verb, COMMANDS)} "
            f"Commands: {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        sys.exit(ExitCode.SETTING)
    if wants_help(arguments[1:]):
        print_and_exit(help_text(verb))
    sys.argv = [f"octopi {verb}", *arguments[1:]]
    importlib.import_module(f"octopi.{verb}").main()
    sys.exit(ExitCode.DONE)


def usage() -> str:
    """List the commands, a line each."""
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
            "TAB completes them after: source <(octopi completion)",
            "No data at hand? Add project=demo.",
        ]
    )
