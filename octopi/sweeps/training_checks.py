"""Check each training of a sweep before the first begins."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution

from octopi.cli.error_report import describe
from octopi.cli.overrides import expand_overrides
from octopi.config.check import check_settings
from octopi.config.settings import TrainSettings
from octopi.errors import (
    DataError,
    OctopiError,
    ResourceError,
    SettingError,
    exit_code_of,
    shorten,
    shorten_list,
)
from octopi.sweeps.space import Space, suggest_overrides
from octopi.system.job_folder import Job
from octopi.training.dry_run import describe_training
from octopi.training.run import build_training

if TYPE_CHECKING:
    from octopi.sweeps.sweeper import OctopiSweeper

MAX_DRAWS = 50  # of a search whose conditions hide a value from most of them


def check_grid(
    sweeper: "OctopiSweeper", folder: Path, trainings: Mapping[str, Sequence[str]]
) -> None:
    """Check the settings of each training of a grid; in a dry run, do the dry run of each.

    Args:
        sweeper: with Hydra's config of the sweep.
        folder: of the sweep.
        trainings: the overrides of each, by the name of its folder.

    Raises:
        OctopiError: of the first that would be refused, which it names.
    """
    for name, overrides in trainings.items():
        with _naming(name):
            settings = _check_overrides(sweeper, overrides)
            # what a launcher starts may run on another machine, with other devices
            elsewhere = (ResourceError,) if sweeper.launcher() is not None else ()
            if settings.dry_run:
                with contextlib.suppress(*elsewhere):
                    training = build_training(settings, folder / name)
                    describe_training(settings, Job(folder / name, list(overrides)), training)


def check_search(sweeper: "OctopiSweeper", space: Space) -> None:
    """Check the settings of trials that together have every choice and both ends of every range.

    Args:
        sweeper: with Hydra's config of the sweep.
        space: that is searched.

    Raises:
        SettingError: for the first trial that would be refused, which it names.
    """
    sampler = EveryValue()
    study = optuna.create_study(sampler=sampler)
    todo = {name: d for section in space.params.values() for name, d in section.items()}
    for _ in range(MAX_DRAWS):
        overrides = suggest_overrides(space, study.ask())
        with _naming(shorten_list(overrides)):
            _check_overrides(sweeper, overrides)
        if all(sampler.draws[name] >= len(_values(d)) for name, d in todo.items()):
            return


class EveryValue(optuna.samplers.BaseSampler):
    """Draws the values of each parameter in turn: the choices, or both ends of a range."""

    def __init__(self) -> None:
        self.draws: Counter[str] = Counter()

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        """Return none, so that each parameter is drawn alone."""
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        """Return no values."""
        return {}

    def sample_independent(
        self, _study: Any, _trial: Any, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw the next value of a parameter."""
        values = _values(param_distribution)
        self.draws[param_name] += 1
        return values[(self.draws[param_name] - 1) % len(values)]


def _values(distribution: Any) -> Sequence[Any]:
    """List what is drawn from a distribution here; of a single value Optuna draws nothing."""
    if distribution.single():
        return ()
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return distribution.low, distribution.high


def _check_overrides(sweeper: "OctopiSweeper", overrides: Sequence[str]) -> TrainSettings:
    """Compose and check the settings of a training, as its own process does."""
    overrides = expand_overrides(list(overrides), verb="train")
    return check_settings(sweeper.settings_node(overrides), TrainSettings, overrides=overrides)


@contextlib.contextmanager
def _naming(training: str) -> Iterator[None]:
    """Name the training in an error inside the block."""
    try:
        yield
    except (OctopiError, HydraException, OmegaConfBaseException) as error:
        kinds = {kind.exit_code: kind for kind in (SettingError, DataError, ResourceError)}
        kind = kinds.get(exit_code_of(error), SettingError)
        raise kind(f"The training {shorten(training, 160)}: {describe(error)}") from error
