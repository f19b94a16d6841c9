"""The trials of a search: asked of the sampler one by one, taken over when their worker died."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.utils import instantiate
from optuna.trial import FrozenTrial, Trial, TrialState

from octopi.config.overrides import Interpolation, override_text
from octopi.config.settings import TrainSettings
from octopi.errors import SettingError
from octopi.processes.trainings import ProcessResult, Task, trial_overrides
from octopi.stored import dotted_name
from octopi.sweeps.pruning import Pruning
from octopi.sweeps.space import Space, suggest_overrides
from octopi.sweeps.study import open_study
from octopi.system import locks
from octopi.system.job_folder import OUTCOME_FILE, trial_name
from octopi.tracking.mlflow import close_child_run

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3  # of a trial whose workers keep dying
SAMPLERS = ("optuna.samplers.*", "hydra_plugins.hydra_optuna_sweeper.*")
Values = list[float]


@dataclass
class Search:
    """A source of trainings: the trials of one study, shared with other workers.

    Args:
        folder: of the search.
        study: where the trials are kept.
        space: what is searched.
        sampler: how: a config node; each trial has a sampler with a seed of its own, so that a
            search that was interrupted suggests what it would have suggested.
        seed: of all of them.
        num_trials: in all, of every worker together.
        objectives: names of what a trial returns.
        tracker: the settled logger, told of trials that cannot speak for themselves any more.
        fold: that all trials train, if they train one.
    """

    folder: Path
    study: optuna.Study
    space: Space
    sampler: Any
    seed: int
    num_trials: int
    objectives: list[str]
    tracker: dict[str, Any]
    fold: int | None = None

    def next(self) -> Task | None:
        """A trial nobody works on, or a new one, claimed."""
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
            trial = self.study.ask()
            return self._task(trial.number, self._suggest_overrides(trial))

    def _sampler(self, number: int) -> Any:
        if self.sampler.get("_partial_"):  # the grid sampler, of which all share one order
            grid = instantiate(self.sampler, seed=self.seed, _execution_whitelist_=SAMPLERS)
            return grid(grid_of(self.space))
        seed = (self.seed * 100_003 + number) % 2**32
        return instantiate(self.sampler, seed=seed, _execution_whitelist_=SAMPLERS)

    def _suggest_overrides(self, trial: Trial) -> list[str]:
        words = [*self.space.fixed, *suggest_overrides(self.space, trial)]
        trial.set_user_attr("words", words)
        trial.set_user_attr("folder", trial_name(trial.number))
        return words

    def _task(self, number: int, words: list[str]) -> Task | None:
        folder = self.folder / trial_name(number)
        claim = locks.try_lock(self.folder / ".claims" / str(number))
        if claim is None or locks.is_locked(folder / ".lock"):
            return None  # somebody is at work on it, here or on another machine
        own = trial_overrides(folder, number, tracker=self.tracker, fold=self.fold)
        pruning = {
            "_target_": dotted_name(Pruning),
            "folder": self.folder,
            "number": number,
            "pruner": Interpolation("${pruner}"),
        }
        own.append(override_text("+callbacks.pruning", pruning))
        return Task(number, folder, [*words, *own], claim)

    def _adopt_abandoned_trial(self, trial: FrozenTrial) -> Task | None:
        """The trial of a worker that is no more; its training goes on where it was."""
        words = trial.user_attrs.get("words")
        if words is None:  # it died between asking and writing down
            words = self._suggest_overrides(Trial(self.study, trial._trial_id))
        task = self._task(trial.number, words)
        if task is None:
            return None
        if task.outcome():  # it had finished, and nobody was there to say so
            self.record_result(task, ProcessResult(0, ""))
            return None
        attempts = trial.user_attrs.get("attempts", 1)
        if attempts >= MAX_ATTEMPTS:
            self._fail(trial.number, f"its worker died {attempts} times")
            return None
        self._attribute(trial.number, "attempts", attempts + 1)
        logger.info("Trial %d was left unfinished by its worker: it goes on.", trial.number)
        return task

    def record_result(self, task: Task, ended: ProcessResult) -> None:
        """The study knows what became of the trial."""
        self.study.sampler = optuna.samplers.RandomSampler()  # the grid's would end the study
        outcome = task.outcome()
        if ended.code < 0:
            tags = {"state": "failed", "reason": ended.reason}
            close_child_run(self.tracker, task.folder, status="KILLED", tags=tags)
        if ended.code or outcome is None:
            self._fail(task.number, ended.reason if ended.code else f"it left no {OUTCOME_FILE}")
            return
        self._attribute(task.number, "seconds", outcome["seconds"])
        values = [outcome["values"].get(name) for name in self.objectives]
        missing = [n for n, v in zip(self.objectives, values, strict=True) if v is None]
        if outcome["state"] == "pruned":
            self.study.tell(task.number, state=TrialState.PRUNED, skip_if_finished=True)
            logger.info("Trial %d was pruned.", task.number)
        elif missing:
            self._fail(task.number, f"{', '.join(missing)}: n/a in validation")
        else:
            self.study.tell(task.number, values, skip_if_finished=True)
            shown = ", ".join(f"{n} {v:.4f}" for n, v in zip(self.objectives, values, strict=True))
            logger.info("Trial %d: %s.", task.number, shown)

    def _fail(self, number: int, reason: str) -> None:
        self._attribute(number, "reason", reason)
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        logger.warning("Trial %d failed: %s", number, reason)

    def _attribute(self, number: int, name: str, value: Any) -> None:
        trial = self.study.get_trials(deepcopy=False)[number]
        self.study._storage.set_trial_user_attr(trial._trial_id, name, value)


def grid_of(space: Space) -> dict[str, list[Any]]:
    """Every value of every parameter, for the grid sampler."""
    if space.conditional:
        raise SettingError(
            "The grid sampler knows no conditions: fix what they depend on "
            f"({', '.join(space.conditional)}), or take another sampler."
        )
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl  # noqa: PLC0415

    return {
        name: list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
        for name, distribution in space.params.items()
    }


def make_search(
    folder: Path, settings: TrainSettings, space: Space, *, sampler: Any, num_trials: int
) -> Search:
    """The search of a folder, begun or continued.

    Args:
        folder: of the search.
        settings: that all trials begin with.
        space: what is searched.
        sampler: a config node.
        num_trials: in all.
    """
    with locks.wait_for_lock(folder / ".lock"):
        study = open_study(folder)
    return Search(
        folder,
        study,
        space,
        sampler,
        settings.seed,
        num_trials,
        settings.objectives,
        settings.logger,
        settings.fold,
    )
