"""Hydra's sweeper for `octopi train -m`: a search where parameters are searched, else a grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
from omegaconf import DictConfig, OmegaConf

from octopi.cli.job_log import adapt_handlers, warn_of_repeats


@dataclass(kw_only=True, eq=False)
class OctopiSweeper(OptunaSweeper):
    """Runs many trainings from one command line, each in a process of its own.

    Args:
        module: that `python -m` runs for a training.
        sampler: config node of an Optuna sampler.
        n_trials: of a search, in all.
        n_jobs: trainings at once; None = as many as the machine has room for.
        storage: URL of the study's database; None = a journal in the sweep's folder.
        study_name: its name in the database.
        params: what is searched: setting -> choice(…), range(…), interval(…).
        when: condition -> what is searched only in the trials in which it holds.
    """

    module: str
    sampler: DictConfig
    n_trials: int
    n_jobs: int | None
    storage: str | None
    study_name: str
    params: Any
    when: Any

    def __post_init__(self) -> None:
        self.params, self.when = map(OmegaConf.to_container, (self.params, self.when))

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra passes to every sweeper."""
        self.context = hydra_context
        self.task_function = task_function
        self.config: Any = config

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep that a command line describes; return its best value."""
        from octopi.sweeps.run import run_sweep  # noqa: PLC0415  torch and Optuna take seconds

        adapt_handlers()
        warn_of_repeats(arguments)
        return run_sweep(self, Path(self.config.hydra.sweep.dir).absolute(), arguments)

    def launcher(self) -> Any:
        """Return Hydra's launcher; None for its default, in place of which we start processes."""
        if str(self.config.hydra.launcher._target_).endswith("BasicLauncher"):
            return None
        return Plugins.instance().instantiate_launcher(
            config=self.config,
            hydra_context=self.context,
            task_function=self.task_function,
        )

    def settings_node(self, overrides: Sequence[str] | None = None) -> DictConfig:
        """Return the config of the sweep, or that of one of its trainings, without Hydra's part.

        Args:
            overrides: all of a training's; None: the config that all trainings share.
        """
        config = self.config
        if overrides is not None:
            config = self.context.config_loader.load_sweep_config(config, list(overrides))
        node = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        OmegaConf.set_struct(node, False)  # noqa: FBT003  OmegaConf's own signature
        return node
