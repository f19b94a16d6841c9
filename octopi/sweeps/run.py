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
from octopi.config.overrides import typed_overrides
from octopi.config.settings import TrainSettings
from octopi.cross_validation.ensemble import build_ensemble
from octopi.cross_validation.table import summarize_folds
from octopi.errors import SettingError, SweepError, shorten_list
from octopi.processes.launcher import LauncherRunner, slurm_runner
from octopi.processes.local import LocalRunner, slot_environments
from octopi.processes.tasks import Runner, TaskQueue, run_tasks
from octopi.sweeps import plots
from octopi.sweeps.grid import GridQueue, list_combinations
from octopi.sweeps.results import StudyResults
from octopi.sweeps.search import TrialQueue, check_sampler, check_sweeper
from octopi.sweeps.space import describe_space, read_space
from octopi.sweeps.study import check_storage_url, open_study
from octopi.sweeps.summary import format_table
from octopi.sweeps.sweep_file import check_same_sweep, shared_settings, write_sweep_file
from octopi.sweeps.training_checks import check_grid, check_search
from octopi.sweeps.trainings import tracked_sweep
from octopi.system import locks, ranks, slurm
from octopi.system.job_folder import ANY_TRIAL, OUTCOME_FILE
from octopi.system.progress import ProgressBar
from octopi.system.resources import check_writable
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
        fixed: those that all trainings share.
        settings: that all trainings share.
        data: the content of the dataset, see `DatasetInfo.content`.
    """

    sweeper: "OctopiSweeper"
    folder: Path
    arguments: list[str]
    fixed: list[str]
    settings: TrainSettings
    data: Mapping[str, Any]

    @property
    def resume_command(self) -> str:
        """The command that continues it, as a message says it."""
        return f"the same command (hydra.sweep.dir={self.folder})"

    def check_unchanged(self) -> None:
        """Raise an error if files have changed in which a training would find something else.

        Trainings read the project and the config files anew; only as the first read them can they
        be compared.
        """
        node = self.sweeper.settings_node(self.fixed)
        settings = check_settings(node, TrainSettings, overrides=self.fixed)
        data = read_dataset_info(build(settings.project, "project"), settings).content()
        check_same_sweep(self.folder, {"settings": shared_settings(settings), "data": data})

    def run(self, queue: TaskQueue, bar: ProgressBar) -> None:
        """Run the trainings of a queue, of which the bar shows how many there are."""
        run_tasks(
            queue,
            self.make_runner(bar.total),
            bar,
            resume_command=self.resume_command,
            check_start=self.check_unchanged,
        )

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
        typed = typed_overrides(self.sweeper.config.hydra.overrides.hydra)
        max_time = self.settings.trainer["max_time"]
        if max_time and not any(o.startswith("hydra.launcher.timeout_min=") for o in typed):
            parameters = {**parameters, "timeout_min": slurm.job_minutes(max_time)}
        size = min(self.sweeper.n_jobs or num_tasks, num_tasks)
        return slurm_runner(parameters, size, self.sweeper.module, config_search_arguments())


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
    check_writable(folder, "Choose another folder with hydra.sweep.dir=…")
    sweep = Sweep(sweeper, folder, arguments, fixed, *check_training(sweeper, fixed))
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
    ranks.check_one_device(settings.trainer)
    if settings.dry_run:
        end_dry_run_without_phantom(settings)
    info = read_dataset_info(build(settings.project, "project"), settings)
    check_metric_names(settings, list(info.radii))
    if settings.pruner:
        if len(settings.objectives) > 1:
            raise SettingError("Pruning knows one objective: set pruner=none.")
        build(settings.pruner, "pruner")
    return settings, info.content()


def begin_sweep(
    sweep: Sweep, specific: Mapping[str, Any], *, would_run: str, finished: Sequence[str]
) -> bool:
    """Write the settings of a sweep into its folder; in a dry run, log what it would do instead.

    Args:
        sweep: to begin, or to go on with.
        specific: what is its own beside the settings that its trainings share.
        would_run: which trainings are missing, for the log.
        finished: names of the trainings that are done.

    Returns:
        Whether to run what is missing.
    """
    sweep_settings = {
        **specific,
        "settings": shared_settings(sweep.settings),
        "data": sweep.data,
    }
    if not sweep.settings.dry_run:
        write_sweep_file(sweep.folder, sweep_settings)
        return True
    check_same_sweep(sweep.folder, sweep_settings)
    lines = [
        f"folder     {sweep.folder}",
        f"would run  {would_run}",
        f"skipped    {len(finished)} that are done: {shorten_list(finished)}".rstrip(": "),
    ]
    log_dry_run("train -m", lines)
    return False


def check_interrupted(queue: TaskQueue, kind: str, folder: Path) -> None:
    """Raise SweepError if some trainings or trials of a sweep were stopped."""
    if queue.interrupted:
        reasons = sorted({result.reason for result in queue.interrupted.values()})
        raise SweepError(
            f"{len(queue.interrupted)} {kind} were interrupted: {shorten_list(reasons, '; ')}. "
            f"The same command takes them up where they stopped (hydra.sweep.dir={folder})."
        )


def run_search(sweep: Sweep) -> float | None:
    """Run the trials of a search that are missing; return the best value of the first objective."""
    folder, num_trials, objectives = sweep.folder, sweep.sweeper.n_trials, sweep.settings.objectives
    check_sampler(sweep.sweeper.sampler)
    check_storage_url(sweep.sweeper.storage)
    space = read_space(sweep.sweeper.params, sweep.sweeper.when, sweep.arguments)
    finished = [path.parent.name for path in sorted(folder.glob(f"{ANY_TRIAL}/{OUTCOME_FILE}"))]
    specific = {
        "study_name": sweep.sweeper.study_name,
        "storage": sweep.sweeper.storage,
        "objectives": objectives,
        "space": describe_space(space),
    }
    if len(finished) < num_trials:
        check_search(sweep.sweeper, space)
    would_run = f"{max(0, num_trials - len(finished))} trials"
    if not begin_sweep(sweep, specific, would_run=would_run, finished=finished):
        return None
    with locks.wait_for_lock(folder / ".lock"):
        study = open_study(folder)
    queue = TrialQueue(
        folder=folder,
        study=study,
        space=space,
        sampler=sweep.sweeper.sampler,
        num_trials=num_trials,
        settings=sweep.settings,
    )
    bar = ProgressBar(
        total=num_trials, initial=min(queue.num_finished(), num_trials), unit="trial", desc="search"
    )
    with tracked_sweep(folder, sweep.settings) as metrics, bar:
        try:
            sweep.run(queue, bar)
        finally:
            results = plots.write_summary(folder, study, objectives)
            logger.info("%s\n%s", folder, format_table(results))
        check_interrupted(queue, "trials", folder)
        best = best_value(results, folder)
        metrics |= {objectives[0]: best, "trials": queue.num_finished()}
    return best


def best_value(results: StudyResults, folder: Path) -> float:
    """Return the best value of the first objective; raise SweepError if no trial succeeded."""
    if results.ranked:
        return results.objectives[0].value_of(results.ranked[0])
    trials = results.trials
    reasons = {trial.user_attrs.get("reason", trial.state.name.lower()) for trial in trials}
    raise SweepError(
        f"None of {len(trials)} trials succeeded. Causes: {shorten_list(sorted(reasons), '; ')}.\n"
        f"Their logs are in {folder}/{ANY_TRIAL}."
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
    queue = GridQueue(folder, combinations, sweep.settings)
    missing = [names[number] for number in queue.missing()]
    overrides = {c.folder_name: c.overrides for c in combinations if c.folder_name in missing}
    check_grid(sweep.sweeper, folder, overrides)
    finished = [name for name in names if name not in missing]
    would_run = f"{len(missing)}{': ' if missing else ''}{shorten_list(missing)}"
    if not begin_sweep(sweep, {"trainings": names}, would_run=would_run, finished=finished):
        return None
    bar = ProgressBar(total=len(names), initial=len(finished), unit="training", desc="sweep")
    with tracked_sweep(folder, sweep.settings) as metrics, bar:
        sweep.run(queue, bar)
        best = build_finished_ensembles(sweep, queue)
        metrics[sweep.settings.best_metric] = best
        if queue.failed:
            reasons = "; ".join(f"{names[n]}: {end.reason}" for n, end in queue.failed.items())
            raise SweepError(
                f"{len(queue.failed)} of {len(names)} trainings failed. {reasons}.\n"
                f"Run what is missing with {sweep.resume_command}."
            )
        check_interrupted(queue, "trainings", folder)
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
