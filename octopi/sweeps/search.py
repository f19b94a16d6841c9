"""The trials of a search: drawn one by one, and continued where their worker died."""

import importlib.util
import logging
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, Trial, TrialState

from octopi.arguments import TARGET, check_arguments, fit, import_target
from octopi.config.overrides import Interpolation, override_text
from octopi.config.settings import TrainSettings
from octopi.errors import SettingError, shorten_list
from octopi.processes.tasks import ProcessResult, TaskQueue, TrainingTask
from octopi.ranges import Count, Workers
from octopi.stored_parts import dotted_name
from octopi.sweeps.pruning import Pruning
from octopi.sweeps.space import UNCONDITIONAL, Space, suggest_overrides
from octopi.sweeps.trainings import claim_training, find_failure, is_claimed
from octopi.system import locks
from octopi.system.job_folder import trial_name

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3  # of a trial whose workers keep dying
_NumJobs = Workers | None
SWEEPER_RANGES: dict[str, Any] = {"n_trials": Count, "n_jobs": _NumJobs}
SAMPLERS = ("optuna.samplers.*", "hydra_plugins.hydra_optuna_sweeper.*")
PACKAGES = {"optuna.samplers.CmaEsSampler": "cmaes"}  # that Optuna does not bring itself


def check_sampler(sampler: Mapping[str, Any]) -> None:
    """Raise SettingError where the package that a sampler needs is not installed."""
    package = PACKAGES.get(str(sampler["_target_"]))
    if package and importlib.util.find_spec(package) is None:
        raise SettingError(
            f"hydra/sweeper/sampler={sampler['_target_']} needs the package {package}, which is "
            f"not installed. Install it (pip install {package}), or choose tpe_joint or gp."
        )


def check_sweeper(node: DictConfig) -> None:
    """Raise SettingError if a number of `hydra.sweeper` is out of its range.

    Args:
        node: `hydra.sweeper` of the config.
    """
    numbers = typing.cast(dict, OmegaConf.to_container(node, resolve=True))
    for key, annotation in SWEEPER_RANGES.items():
        fit(numbers[key], annotation, f"hydra.sweeper.{key}")
    sampler = {key: value for key, value in numbers["sampler"].items() if key != "_partial_"}
    path = "hydra.sweeper.sampler"
    target = import_target(sampler[TARGET], f"{path}.{TARGET}={sampler[TARGET]}")
    check_arguments(target, sampler, path)


@dataclass
class TrialQueue(TaskQueue):
    """The trials of one study, shared with other workers.

    Args:
        folder: of the search.
        study: of the search.
        space: that is searched.
        sampler: a config node. Each trial has a sampler with a seed of its own, so that a search
            that was interrupted suggests what it would have suggested.
        num_trials: in all, of every worker together.
        settings: that all trials share.
    """

    folder: Path
    study: optuna.Study
    space: Space
    sampler: Any
    num_trials: int
    settings: TrainSettings

    def next(self) -> TrainingTask | None:
        """Claim an abandoned trial, or a new one; return None if there is none."""
        with locks.wait_for_lock(self.folder / ".lock"):
            trials = self.study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state is TrialState.RUNNING and (
                    task := self._adopt_abandoned_trial(trial)
                ):
                    return task
            if len(trials) >= self.num_trials:
                return None
            self.study.sampler = self._sampler(len(trials))
            return self._claim(self.study.ask())

    def _sampler(self, number: int) -> Any:
        if self.sampler.get("_partial_"):  # the grid sampler, of which all share one order
            grid = instantiate(
                self.sampler, seed=self.settings.seed, _execution_whitelist_=SAMPLERS
            )
            return grid(list_grid(self.space))
        seed = (self.settings.seed * 100_003 + number) % 2**32
        return instantiate(self.sampler, seed=seed, _execution_whitelist_=SAMPLERS)

    def _claim(self, trial: Trial) -> TrainingTask | None:
        """Draw the parameters of a trial that it does not have yet, and claim its training."""
        pruning = {
            "_target_": dotted_name(Pruning),
            "folder": self.folder,
            "number": trial.number,
            "pruner": Interpolation("${pruner}"),
        }
        overrides = suggest_overrides(self.space, trial)
        return claim_training(
            self.folder / trial_name(trial.number),
            trial.number,
            [*overrides, override_text("+callbacks.pruning", pruning)],
            tracker=self.settings.logger,
            fold=self.settings.fold,
        )

    def _adopt_abandoned_trial(self, trial: FrozenTrial) -> TrainingTask | None:
        """Claim a trial whose worker died; return None if it runs, has finished or is given up."""
        folder = self.folder / trial_name(trial.number)
        if trial.number in self.interrupted or is_claimed(folder, trial.number):
            return None
        self.study.sampler = self._sampler(trial.number)  # draws only what was not drawn yet
        self.study.sampler.before_trial(self.study, trial)
        task = self._claim(Trial(self.study, trial._trial_id))
        if task is None:
            return None
        attempts = trial.user_attrs.get("attempts", 1)
        if task.outcome():  # it had finished, but its worker died before it could record that
            self.record_result(task, ProcessResult(0, ""))
        elif attempts >= MAX_ATTEMPTS:
            self._fail(trial.number, f"its worker died {attempts} times")
        else:
            self._set_attribute(trial.number, "attempts", attempts + 1)
            logger.info("Trial %d was left unfinished by its worker: it goes on.", trial.number)
            return task
        task.release()
        return None

    def record_result(self, task: TrainingTask, result: ProcessResult) -> None:
        """Record in the study how a trial ended."""
        self.study.sampler = optuna.samplers.RandomSampler()  # the grid's would end the study
        if failure := find_failure(task, result, self.settings.logger):
            self._fail(task.number, failure.reason)
            return
        outcome = task.outcome()
        assert outcome is not None
        self._set_attribute(task.number, "seconds", outcome.seconds)
        if outcome.state == "pruned":
            self.study.tell(task.number, state=TrialState.PRUNED, skip_if_finished=True)
            logger.info("Trial %d was pruned.", task.number)
            return
        objectives = self.settings.objectives
        values = {n: v for n in objectives if (v := outcome.values.get(n)) is not None}
        if missing := [name for name in objectives if name not in values]:
            self._fail(task.number, f"{', '.join(missing)}: n/a in validation")
            return
        self.study.tell(task.number, list(values.values()), skip_if_finished=True)
        text = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        logger.info("Trial %d: %s.", task.number, text)

    def record_interruption(self, task: TrainingTask, result: ProcessResult) -> None:
        """Remember what stopped a trial; it counts as no attempt."""
        super().record_interruption(task, result)
        trial = self.study.get_trials(deepcopy=False)[task.number]
        attempts = trial.user_attrs.get("attempts", 1)
        self._set_attribute(task.number, "attempts", max(0, attempts - 1))
        logger.info("Trial %d was interrupted: %s", task.number, result.reason)

    def num_elsewhere(self) -> int:
        """Count the trials that other workers have taken."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(
            t.state is TrialState.RUNNING and t.number not in self.interrupted for t in trials
        )

    def _fail(self, number: int, reason: str) -> None:
        self._set_attribute(number, "reason", reason)
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        logger.warning("Trial %d failed: %s", number, reason)

    def _set_attribute(self, number: int, name: str, value: Any) -> None:
        trial = self.study.get_trials(deepcopy=False)[number]
        self.study._storage.set_trial_user_attr(trial._trial_id, name, value)

    def num_finished(self) -> int:
        """Count the trials that have ended, in whatever state."""
        return sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))


def list_grid(space: Space) -> dict[str, list[Any]]:
    """List every value of every parameter, for the grid sampler."""
    if conditions := [condition for condition in space.params if condition != UNCONDITIONAL]:
        raise SettingError(
            "The grid sampler knows no conditions: fix what they depend on "
            f"({shorten_list(conditions)}), or take another sampler."
        )
    return {
        name: list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
        for name, distribution in space.params.get(UNCONDITIONAL, {}).items()
    }
