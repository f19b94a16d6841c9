"""`-m workers=N`: one command line for several jobs that share its runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from octopi.cli.compose import single_run_overrides
from octopi.cli.overrides import MULTIRUN
from octopi.config.overrides import override_key
from octopi.errors import SettingError
from octopi.system.files import to_builtin_types

WORKERS = "workers"  # the setting


def worker_overrides(arguments: Sequence[str]) -> list[str] | None:
    """Return the overrides of a command that several jobs shall share; None where it is another.

    Raises:
        SettingError: a setting has several values.
    """
    if not MULTIRUN & set(arguments) or WORKERS not in map(override_key, arguments):
        return None
    overrides = single_run_overrides([a for a in arguments if a not in MULTIRUN])
    if overrides is None:  # Hydra shall show the config
        return None
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            raise SettingError(
                f"{override.input_line}: with workers=N all jobs have the same settings. Give "
                f"{override.get_key_element()} one value, and start a command for each."
            )
    return overrides


def slurm_parameters(number: int) -> Mapping[str, Any]:
    """Return the parameters of Hydra's launcher of the command that is composed.

    Raises:
        SettingError: it is not that of SLURM.
    """
    config = HydraConfig.get()
    if not str(config.launcher._target_).endswith("SlurmLauncher"):
        choice = config.runtime.choices["hydra/launcher"]
        raise SettingError(
            f"workers={number} needs hydra/launcher=submitit_slurm, not {choice}. On this machine "
            "one process is enough: leave out -m and workers."
        )
    parameters = to_builtin_types(config.launcher)
    return {key: value for key, value in parameters.items() if key != "_target_"}


def check_shareable(settings: Any) -> None:
    """Raise SettingError where a command needs all runs in one process."""
    if getattr(settings, "thresholds_from", None) == "data":
        raise SettingError(
            "thresholds_from=data chooses thresholds from the candidates of all runs together, so "
            "one process localizes them all. Leave out -m and workers."
        )


def check_one_worker(settings: Any) -> None:
    """Raise SettingError where a command is one process and `workers` asks for several."""
    number = getattr(settings, WORKERS, 1)
    if number > 1:
        raise SettingError(
            f"workers={number} is for jobs of SLURM: type -m hydra/launcher=submitit_slurm "
            f"workers={number}. On this machine one process is enough: leave out workers."
        )
