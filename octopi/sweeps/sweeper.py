"""Hydra's sweeper for `octopi train -m`: a search where parameters are searched, else a grid."""

import logging
from pathlib import Path
from typing import Any

from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
from omegaconf import DictConfig, OmegaConf

logger = logging.getLogger(__name__)


class OctopiSweeper(OptunaSweeper):
    """Many trainings from one command line, each in a process of its own, none lost.

    Args:
        module: that `python -m` runs for a training.
        sampler: config node of an Optuna sampler.
        n_trials: of a search, in all.
        n_jobs: trainings at once; None: one a GPU, or one a core and four at most.
        storage: URL of the study's database; None = a journal in the sweep's folder.
        study_name: its name in the database.
        params: what is searched: setting -> choice(…), range(…), interval(…).
        when: what is searched only where another setting has some value.
    """

    def __init__(
        self,
        *,
        module: str,
        sampler: DictConfig,
        n_trials: int,
        n_jobs: int | None,
        storage: str | None,
        study_name: str,
        params: DictConfig,
        when: DictConfig,
    ) -> None:
        self.module = module
        self.sampler = sampler
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.storage = storage
        self.study_name = study_name
        self.params: Any = OmegaConf.to_container(params)
        self.when: Any = OmegaConf.to_container(when)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra hands over its own."""
        self.context = hydra_context
        self.task_function = task_function
        self.config: Any = config

    def sweep(self, arguments: list[str]) -> Any:
        """Every training has run and what they found together is in the sweep's folder."""
        from octopi.sweeps import run  # noqa: PLC0415  slow to import

        folder = Path(self.config.hydra.sweep.dir).absolute()
        return run.sweep(self, folder, arguments)

    def launcher(self) -> Any:
        """Hydra's launcher; None where it is the one that starts nothing."""
        from hydra.core.plugins import Plugins  # noqa: PLC0415

        if str(self.config.hydra.launcher._target_).endswith("BasicLauncher"):
            return None
        return Plugins.instance().instantiate_launcher(
            config=self.config,
            hydra_context=self.context,
            task_function=self.task_function,
        )

    def settings_node(self) -> DictConfig:
        """The composed config without Hydra's part."""
        node = OmegaConf.masked_copy(
            self.config, [str(key) for key in self.config if key != "hydra"]
        )
        OmegaConf.set_struct(node, False)  # noqa: FBT003  OmegaConf's own signature
        return node
