"""What `octopi train -m` does: check, run every training that is missing, and summarise."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from octopi.cli.compose import config_search_arguments
from octopi.cli.job import end_dry_run_without_phantom, log_dry_run
from octopi.config.build import build
from octopi.config.check import check_settings
from octopi.config.settings import TrainSettings
from octopi.cross_validation.ensemble import build_ensemble
from octopi.cross_validation.table import summarize_folds
from octopi.errors import SettingError, SweepError, shorten_list
from octopi.processes.launcher import LauncherRunner
from octopi.processes.local import LocalRunner, check_one_device, slot_environments
from octopi.processes.tasks import Runner, run_tasks
from octopi.sweeps import plots, summary
from octopi.sweeps.grid import GridQueue, list_combinations
from octopi.sweeps.results import StudyResults
from octopi.sweeps.search import TrialQueue, check_sampler, check_sweeper
from octopi.sweeps.space import Space, describe_space, read_space
from octopi.sweeps.study import open_study
from octopi.sweeps.sweep_file import check_same_sweep, shared_settings, write_sweep_file
from octopi.sweeps.tracking import tracked_sweep
from octopi.system import locks
from octopi.system.job_folder import ANY_TRIAL, OUTCOME_FILE
from octopi.system.progress import ProgressBar
from octopi.training.dataset_info import read_dataset_info
from octopi.training.validation import check_metric_names

if TYPE_CHECKING:
    from octopi.sweeps.sweeper import OctopiSweeper

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was started.

    Args:
        sweeper: with Hydra's config of it.
        folder: of the sweep.
        arguments: the command line, without Hydra's own overrides.
        settings: that all trainings share.
        data: the content of the dataset, see `DatasetInfo.content`.
    """

    sweeper: "OctopiSweeper"
    folder: Path
    arguments: list[str]
    settings: TrainSettings
    data: Mapping[str, Any]

    @property
    def resume_command(self) -> str:
        """The command that continues it, as a message says it."""
        return f"the same command (hydra.sweep.dir={self.folder})"

    def make_runner(self, num_tasks: int) -> Runner:
        """Return what starts the trainings: Hydra's launcher, or processes of this machine."""
        launcher, num_slots = self.sweeper.launcher(), self.sweeper.n_jobs
        if type(launcher).__name__ == "SlurmLauncher":
            return self._slurm_runner(launcher.params, num_tasks)
        if launcher is not None:
            return LauncherRunner(launcher, min(num_slots or num_tasks, num_tasks))
        environments = slot_environments(self.settings, num_slots, num_tasks)
        return LocalRunner(environments, self.sweeper.module, config_search_arguments())

    def _slurm_runner(self, parameters: Mapping[str, Any], num_tasks: int) -> Runner:
        """Return what submits the trainings to SLURM, each for as long as `trainer.max_time`."""
        # submitit is an extra, which only those need who use SLURM
        from octopi.processes.slurm_jobs import SlurmRunner, job_minutes  # noqa: PLC0415

        typed = self.sweeper.config.hydra.overrides.hydra
        max_time = self.settings.trainer["max_time"]
        if max_time and not any(o.startswith("hydra.launcher.timeout_min=") for o in typed):
            parameters = {**parameters, "timeout_min": job_minutes(max_time)}
        size = min(self.sweeper.n_jobs or num_tasks, num_tasks)
        return SlurmRunner(parameters, size, self.sweeper.module, config_search_arguments())


def run_sweep(sweeper: "OctopiSweeper", folder: Path, arguments: list[str]) -> float | None:
    """Run a search or a grid of trainings and summarise it; return the best value.

    Args:
        sweeper: with Hydra's config of the sweep.
        folder: of the sweep.
        arguments: the command line, without Hydra's own overrides.
    """
    check_sweeper(sweeper.config.hydra.sweeper)
    parsed = OverridesParser.create().parse_overrides(arguments)
    fixed = [o.input_line for o in parsed if o.input_line and not o.is_sweep_override()]
    sweep = Sweep(sweeper, folder, arguments, *check_training(sweeper, fixed))
    swept = [override for override in parsed if override.is_sweep_override()]
    if not sweeper.params and all(override.is_discrete_sweep() for override in swept):
        return run_grid(sweep)
    if any(override.get_key_element() == "fold" for override in swept):
        raise SettingError(
            "A fold is a coordinate, not a parameter: search on one (fold=0 num_folds=3), then "
            "train the best on all: octopi train -m experiment=DIR/best fold=0,1,2 num_folds=3"
        )
    return run_search(sweep)


def check_training(
    sweeper: "OctopiSweeper", overrides: Sequence[str]
) -> tuple[TrainSettings, dict[str, Any]]:
    """Check what all trainings share before the first begins; return settings and content."""
    settings = check_settings(sweeper.settings_node(), TrainSettings, overrides=overrides)
    check_one_device(settings)
    if settings.dry_run:
        end_dry_run_without_phantom(settings)
    info = read_dataset_info(build(settings.project, "project"), settings)
    check_metric_names(settings, list(info.radii))
    if settings.pruner:
        if len(settings.objectives) > 1:
            raise SettingError("Pruning knows one objective: set pruner=none.")
        build(settings.pruner, "pruner")
    return settings, info.content()


def run_search(sweep: Sweep) -> float | None:
    """Run the trials of a search that are missing; return the best value of the first objective."""
    folder, num_trials = sweep.folder, sweep.sweeper.n_trials
    check_sampler(sweep.sweeper.sampler)
    space = read_space(sweep.sweeper.params, sweep.sweeper.when, sweep.arguments)
    sweep_settings = {
        "study_name": sweep.sweeper.study_name,
        "storage": sweep.sweeper.storage,
        "objectives": sweep.settings.objectives,
        "space": describe_space(space),
        "settings": shared_settings(sweep.settings),
        "data": sweep.data,
    }
    if sweep.settings.dry_run:
        check_same_sweep(folder, sweep_settings)
        finished = [path.parent.name for path in sorted(folder.glob(f"{ANY_TRIAL}/{OUTCOME_FILE}"))]
        log_dry_run("train -m", describe_search(folder, finished, num_trials))
        return None
    write_sweep_file(folder, sweep_settings)
    queue = open_queue(sweep, space)
    bar = ProgressBar(
        total=num_trials, initial=min(queue.num_finished(), num_trials), unit="trial", desc="search"
    )
    with tracked_sweep(folder, sweep.settings) as metrics, bar:
        try:
            runner = sweep.make_runner(num_trials)
            run_tasks(queue, runner, bar, resume_command=sweep.resume_command)
        finally:
            write_summary(queue)
        best = best_value(queue)
        metrics |= {queue.objectives[0]: best, "trials": queue.num_finished()}
    return best


def open_queue(sweep: Sweep, space: Space) -> TrialQueue:
    """Open the study of a search, new or begun, as a queue of trials."""
    with locks.wait_for_lock(sweep.folder / ".lock"):
        study = open_study(sweep.folder)
    return TrialQueue(
        folder=sweep.folder,
        study=study,
        space=space,
        sampler=sweep.sweeper.sampler,
        seed=sweep.settings.seed,
        num_trials=sweep.sweeper.n_trials,
        objectives=sweep.settings.objectives,
        tracker=sweep.settings.logger,
        fold=sweep.settings.fold,
    )


def write_summary(queue: TrialQueue) -> None:
    """Write the results and pictures of a search so far; log its table."""
    with locks.wait_for_lock(queue.folder / ".lock"):
        summary.write_results(queue.folder, queue.study, queue.objectives)
        plots.draw(queue.folder, queue.study, queue.objectives)
    logger.info("%s\n%s", queue.folder, summary.format_table(queue.study, queue.objectives))


def best_value(queue: TrialQueue) -> float | None:
    """Return the best value of the first objective.

    Raises:
        SweepError: no trial succeeded, or some were interrupted.
    """
    if queue.interrupted:
        raise interruption_error(queue.interrupted, "trials", f"hydra.sweep.dir={queue.folder}")
    results = StudyResults(queue.study, queue.objectives)
    if results.ranked:
        return results.objectives[0].value_of(results.ranked[0])
    trials = results.trials
    reasons = {trial.user_attrs.get("reason", trial.state.name.lower()) for trial in trials}
    raise SweepError(
        f"None of {len(trials)} trials succeeded. Causes: {shorten_list(sorted(reasons), '; ')}.\n"
        f"Their logs are in {queue.folder}/{ANY_TRIAL}."
    )


def interruption_error(interrupted: Mapping[int, str], kind: str, folder: str) -> SweepError:
    """Return the error of a sweep of which some trainings were stopped."""
    reasons = shorten_list(sorted(set(interrupted.values())), "; ")
    return SweepError(
        f"{len(interrupted)} {kind} were interrupted: {reasons}. "
        f"The same command takes them up where they stopped ({folder})."
    )


def run_grid(sweep: Sweep) -> float | None:
    """Train every combination that is missing, and build the ensembles of finished folds.

    Returns:
        The best metric of the ensembles; None if there is none.
    """
    folder, combinations = sweep.folder, list_combinations(sweep.arguments)
    names = [combination.folder_name for combination in combinations]
    if len(set(names)) < len(names):
        raise SettingError(f"Two of these trainings would share a folder: {shorten_list(names)}.")
    sweep_settings = {
        "settings": shared_settings(sweep.settings),
        "trainings": names,
        "data": sweep.data,
    }
    queue = GridQueue(folder, combinations, sweep.settings.logger, sweep.settings.fold)
    missing = [names[number] for number in queue.missing()]
    if sweep.settings.dry_run:
        check_same_sweep(folder, sweep_settings)
        log_dry_run("train -m", describe_grid(folder, names, missing))
        return None
    write_sweep_file(folder, sweep_settings)
    bar = ProgressBar(
        total=len(names), initial=len(names) - len(missing), unit="training", desc="sweep"
    )
    with tracked_sweep(folder, sweep.settings) as metrics, bar:
        runner = sweep.make_runner(len(names))
        run_tasks(queue, runner, bar, resume_command=sweep.resume_command)
        best = build_finished_ensembles(sweep, queue)
        metrics[sweep.settings.best_metric] = best
        if queue.failed:
            reasons = "; ".join(f"{names[n]}: {reason}" for n, reason in queue.failed.items())
            raise SweepError(
                f"{len(queue.failed)} of {len(names)} trainings failed. {reasons}.\n"
                f"Run what is missing with {sweep.resume_command}."
            )
        if queue.interrupted:
            raise interruption_error(queue.interrupted, "trainings", f"hydra.sweep.dir={folder}")
    return best


def build_finished_ensembles(sweep: Sweep, queue: GridQueue) -> float | None:
    """Build the ensemble of each cross-validation whose folds have all finished.

    Returns:
        The best metric of the best one; None if there is none.
    """
    cross_validations: dict[tuple, list[int]] = {}
    for number, combination in enumerate(queue.combinations):
        if "fold" in combination.swept:
            cross_validations.setdefault(combination.cross_validation_key(), []).append(number)
    scores, missing = [], set(queue.missing())
    for key, numbers in cross_validations.items():
        if missing & set(numbers) or len(numbers) < 2:
            continue
        first = queue.combinations[numbers[0]]
        name = f"{first.folder_name.split(',fold_')[0]},all_folds"
        folder = sweep.folder / name if key else sweep.folder
        folder.mkdir(exist_ok=True)
        settings = check_settings(
            sweep.sweeper.settings_node(first.overrides), TrainSettings, overrides=first.overrides
        )
        with locks.wait_for_lock(sweep.folder / ".lock"):
            score = build_ensemble(folder, [queue.training_folder(n) for n in numbers], settings)
        logger.info("%s\n%s", folder, summarize_folds(folder))
        scores.append(score)
    return max((score for score in scores if score is not None), default=None)


def describe_search(folder: Path, finished: Sequence[str], num_trials: int) -> list[str]:
    """Return lines on how many trials a search would run, and which it would skip."""
    return _dry_run_lines(folder, f"{num_trials - len(finished)} trials", finished)


def describe_grid(folder: Path, names: Sequence[str], missing: Sequence[str]) -> list[str]:
    """Return lines on which trainings a grid would run, and which it would skip."""
    finished = [name for name in names if name not in missing]
    would_run = f"{len(missing)}{': ' if missing else ''}{shorten_list(missing)}"
    return _dry_run_lines(folder, would_run, finished)


def _dry_run_lines(folder: Path, would_run: str, finished: Sequence[str]) -> list[str]:
    return [
        f"folder     {folder}",
        f"would run  {would_run}",
        f"skipped    {len(finished)} that are done: {shorten_list(finished)}".rstrip(": "),
    ]
