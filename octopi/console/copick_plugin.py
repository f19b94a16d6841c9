"""The commands under copick's own: `copick training octopi …`, `copick inference octopi …`.

copick imports every plugin at each of its calls, also for `copick --version`. So nothing is
imported here, before a command runs, but click and what copick's command line has imported itself.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource
from copick.cli.util import add_config_option, add_debug_option, add_run_names_option

from octopi.signals import stop_while_importing

_OPTIONS = {"project.config": "--config", "runs": "--run-names"}


class Page(click.Command):
    """A command whose help ends with the config groups and settings of octopi's command."""

    verb = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups and settings."""
        from octopi.cli.help import settings_lines  # noqa: PLC0415  copick imports this module always

        formatter.write("\n" + "\n".join(settings_lines(self.verb)) + "\n")
        super().format_epilog(ctx, formatter)


def _command(
    verb: str, *, name: str, purpose: str, examples: Sequence[str], related: Mapping[str, str]
) -> click.Command:
    """Make a command of octopi one of copick's, with copick's usual options.

    Args:
        verb: its name in octopi.
        name: its name in copick.
        purpose: the first line of its help.
        examples: command lines.
        related: commands to read about too, each with what it does.
    """
    text = [
        purpose,
        f"OVERRIDES are those of `octopi {verb}`: GROUP=CHOICE, KEY=VALUE, +NEW=VALUE, ~GONE.",
        "\n    ".join(["\b\nExamples:", *examples]),
        "\n    ".join(
            ["\b\nSee also:", *(f"{command}: {purpose}" for command, purpose in related.items())]
        ),
    ]

    @click.command(
        name,
        cls=Page,
        help="\n\n".join(text),
        short_help=purpose,
        context_settings={"ignore_unknown_options": True},
    )
    @add_config_option
    @add_run_names_option
    @add_debug_option  # pyright: ignore[reportArgumentType]  copick calls what it decorates so
    @click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
    def command(overrides: Sequence[str], **options: Any) -> None:
        _run(verb, overrides, **options)

    command.verb = verb
    return command


def _run(
    verb: str,
    arguments: Sequence[str],
    *,
    config: str | None,
    run_names: Sequence[str],
    debug: bool,
) -> None:
    """Run `octopi VERB` with these arguments, and exit with its code.

    Args:
        verb: the command.
        arguments: as its own command line takes them.
        config: path of the copick config, from an option or the environment.
        run_names: from an option; none = as the arguments say.
        debug: whether octopi's debug messages are logged.
    """
    options: dict[str, Any] = {"runs": list(run_names)} if run_names else {}
    source = click.get_current_context().get_parameter_source("config")
    if config and source is ParameterSource.ENVIRONMENT:
        os.environ["OCTOPI_PROJECT"] = config  # an argument takes precedence over it
    elif config:
        options = {"project.config": config, **options}
    _check_given_once(options, arguments)
    stop_while_importing()
    importlib.import_module("octopi.system.resources").limit_threads()  # as `octopi` itself does
    try:
        from octopi.config.overrides import override_texts  # noqa: PLC0415  brings Hydra

        main = importlib.import_module(f"octopi.{verb}").main
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"octopi {verb} needs the package {error.name}, which is not installed here. "
            f"Install it: pip install {error.name}"
        ) from error
    if debug:
        options["hydra.verbose"] = "octopi"
    sys.argv = [f"octopi {verb}", *override_texts(options), *arguments]
    main()


def _check_given_once(options: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Raise UsageError if an argument sets what an option of copick's sets too."""
    for key in options:
        same = [text for text in arguments if text.split("=")[0] in (key, key.split(".")[0])]
        if same:
            raise click.UsageError(f"{_OPTIONS[key]} and {same[0]} say the same. Keep one.")


targets = _command(
    "create_targets",
    name="octopi-targets",
    purpose="Paint label volumes to train on from picks and masks.",
    examples=[
        "copick process octopi-targets -c project.json tomo_types=[denoised]",
        "copick process octopi-targets -c project.json targets.picks=curation/0",
    ],
    related={"copick training octopi": "train on them"},
)
training = _command(
    "train",
    name="octopi",
    purpose="Train a 3D particle-picking network; writes a checkpoint.",
    examples=[
        "copick training octopi -c project.json tomo_types=[denoised] model=unet",
        "copick training octopi -c project.json -m fold=0,1,2 num_folds=3",
    ],
    related={
        "copick process octopi-targets": "paint what it trains on",
        "copick inference octopi": "apply its checkpoint",
    },
)
inference = _command(
    "segment",
    name="octopi",
    purpose="Apply a checkpoint to tomograms; writes score maps.",
    examples=["copick inference octopi -c project.json checkpoint=first/best_model.pth"],
    related={"copick inference octopi-picks": "turn score maps into picks, in seconds"},
)
picks = _command(
    "localize",
    name="octopi-picks",
    purpose="Turn score maps, or label volumes, into scored picks.",
    examples=[
        "copick inference octopi-picks -c project.json beta=1",
        "copick inference octopi-picks -c project.json source=segmentation input=NAME:USER/SESSION "
        "localizer=watershed",
    ],
    related={
        "copick inference octopi": "make score maps",
        "copick evaluation octopi": "score picks against truth",
    },
)
evaluation = _command(
    "evaluate",
    name="octopi",
    purpose="Score picks against truth: precision, recall and F-beta per object.",
    examples=["copick evaluation octopi -c project.json truth=curation/0 -r TS_04"],
    related={"copick inference octopi-picks": "make picks"},
)
extract = _command(
    "extract",
    name="octopi-extract",
    purpose="Split picks by a membrane, turn them to it, find the middles of pairs.",
    examples=["copick logical octopi-extract -c project.json membrane=NAME:USER/SESSION"],
    related={"copick inference octopi-picks": "make picks"},
)
