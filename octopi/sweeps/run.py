"""What `octopi train -m` does: check, run everything that is missing, and sum up."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState
from tqdm import tqdm

from octopi.cli.job import config_search_arguments, log_dry_run
from octopi.config.build import build
from octopi.config.check import check_settings
from octopi.config.settings import TrainSettings
from octopi.cross_validation import run
from octopi.errors import SettingError, SweepError
from octopi.processes.trainings import (
    HydraLauncherRunner,
    Processes,
    Runner,
    check_one_device,
    process_environments,
    run_tasks,
)
from octopi.sweeps import plots, space, study, summary
from octopi.sweeps.grid import Combination, TrainingGrid
from octopi.sweeps.search import Search, make_search
from octopi.system import locks
from octopi.system.files import read_yaml, to_builtin_types, write_yaml
from octopi.system.job_folder import ANY_TRIAL, OUTCOME_FILE, OUTPUT_FILE, PARENT_RUN, STUDY_FILE
from octopi.tracking.mlflow import end_sweep_run, list_artifacts, start_sweep_run
from octopi.training.dataset_info import read_dataset_info
from octopi.training.validation import check_metric_names

logger = logging.getLogger(__name__)

# Settings that a sweep may change when it is run again: they change no result.
SETTINGS_THAT_MAY_CHANGE = {"resume", "logger", "dry_run"}


def sweep(sweeper: Any, folder: Path, arguments: list[str]) -> float | None:
    """Everything has run, and what it found together is in the folder.

    Args:
        sweeper: the `OctopiSweeper`.
        folder: of the sweep.
        arguments: the command line, without Hydra's own words.
    """
    overrides = OverridesParser.create().parse_overrides(arguments)
    swept_settings = [o.get_key_element() for o in overrides if o.is_sweep_override()]
    ranges = [o for o in overrides if o.is_sweep_override() and not o.is_discrete_sweep()]
    plain_words = [o.input_line for o in overrides if not o.is_sweep_override()]
    settings = check(sweeper, [word for word in plain_words if word])
    again = f"the same command (hydra.sweep.dir={folder})"
    if sweeper.params or ranges:
        return search(sweeper, folder, settings, arguments, swept=swept_settings, again=again)
    return grid(sweeper, folder, settings, arguments, again=again)


def check(sweeper: Any, words: Sequence[str]) -> TrainSettings:
    """The settings all trainings start from; what is wrong is found before the first begins."""
    settings = check_settings(sweeper.settings_node(), TrainSettings, overrides=words)
    check_one_device(settings)
    project = build(settings.project, "project")
    facts = read_dataset_info(project, settings)
    check_metric_names(settings, list(facts.radii))
    if settings.pruner:
        if len(settings.objectives) > 1:
            raise SettingError("Pruning knows one objective: set pruner=none.")
        build(settings.pruner, "pruner")
    return settings


def search(
    sweeper: Any,
    folder: Path,
    settings: TrainSettings,
    arguments: list[str],
    *,
    swept: list[str],
    again: str,
) -> float | None:
    """All trials of a search are finished; returns the best value of the first objective."""
    if "fold" in swept:
        raise SettingError(
            "A fold is a coordinate, not a parameter: search on one (fold=0 num_folds=3), then "
            "train the best on all: octopi train -m experiment=DIR/best fold=0,1,2 num_folds=3"
        )
    if sweeper.n_trials < 1:
        raise SettingError(f"hydra.sweeper.n_trials must be 1 or more, not {sweeper.n_trials}.")
    searched = space.read_space(sweeper.params, sweeper.when, arguments)
    facts = {
        "study_name": sweeper.study_name,
        "storage": sweeper.storage,
        "objectives": settings.objectives,
        "directions": study.directions(settings.objectives),
        "space": space.describe_space(searched),
        "settings": shared_settings(settings),
    }
    if settings.dry_run:
        study.check_same_sweep(folder, facts)
        done = [p.parent.name for p in sorted(folder.glob(f"{ANY_TRIAL}/{OUTCOME_FILE}"))]
        log_dry_run(
            "train -m", describe_sweep(folder, [], done, f"{sweeper.n_trials - len(done)} trials")
        )
        return None
    folder.mkdir(parents=True, exist_ok=True)
    study.write_sweep_file(folder, facts)
    source = make_search(
        folder, settings, searched, sampler=sweeper.sampler, num_trials=sweeper.n_trials
    )
    with (
        tracked_sweep(folder, settings) as metrics,
        _bar(sweeper.n_trials, finished(source), "trial") as bar,
    ):
        try:
            run_tasks(
                source, runner(sweeper, settings, sweeper.n_trials), bar, resume_command=again
            )
        finally:
            write_summary(folder, source)
        best = outcome(folder, source)
        metrics |= {settings.objectives[0]: best, "trials": finished(source)}
    return best


@contextlib.contextmanager
def tracked_sweep(folder: Path, settings: TrainSettings) -> Iterator[dict[str, float | None]]:
    """MLflow shows the sweep as the parent of its trainings; what is put in is its metrics."""
    path = folder / STUDY_FILE
    with locks.wait_for_lock(folder / ".lock"):
        facts = read_yaml(path)
        run = start_sweep_run(
            settings.logger,
            folder.name,
            params=shared_settings(settings),
            tags={"sweep": str(folder)},
            run_id=facts.get(PARENT_RUN),
        )
        if run and run != facts.get(PARENT_RUN):
            write_yaml(path, {**facts, PARENT_RUN: run})
            path.chmod(0o600)
    metrics: dict[str, float | None] = {}
    status = "FAILED"
    try:
        yield metrics
        status = "FINISHED"
    except BaseException as error:
        if getattr(error, "exit_code", 1) > 128:
            status = "KILLED"
        raise
    finally:
        files = [path for path in list_artifacts(folder) if path.name != STUDY_FILE]
        end_sweep_run(settings.logger, run, status=status, metrics=metrics, artifacts=files)


def finished(source: Search) -> int:
    """How many trials are over, with whatever end."""
    return sum(trial.state.is_finished() for trial in source.study.get_trials(deepcopy=False))


def write_summary(folder: Path, source: Search) -> None:
    """The folder tells, in words and pictures, what has been found so far."""
    with locks.wait_for_lock(folder / ".lock"):
        summary.write_results(folder, source.study, source.objectives)
        plots.draw(folder, source.study, source.objectives)
    logger.info("%s\n%s", folder, summary.table(source.study, source.objectives))


def outcome(folder: Path, source: Search) -> float | None:
    """The best value; SweepError where nothing succeeded."""
    trials = source.study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if complete:
        best = summary.collect_results(source.study, objectives=source.objectives)["best"]
        return best["values"][source.objectives[0]]
    if any(trial.state is TrialState.RUNNING for trial in trials):
        logger.info("The trials that are left run elsewhere.")
        return None
    reasons = {trial.user_attrs.get("reason", trial.state.name.lower()) for trial in trials}
    raise SweepError(
        f"None of {len(trials)} trials succeeded. Causes: {'; '.join(sorted(reasons))}.\n"
        f"Their logs are {folder}/{ANY_TRIAL}/{OUTPUT_FILE}."
    )


def shared_settings(settings: TrainSettings) -> dict[str, Any]:
    """The settings that every training of a sweep shares, and a later start must share too."""
    held = to_builtin_types(dataclasses.asdict(settings))
    held["trainer"].pop("enable_progress_bar", None)
    return {key: value for key, value in held.items() if key not in SETTINGS_THAT_MAY_CHANGE}


def runner(sweeper: Any, settings: TrainSettings, num_tasks: int) -> Runner:
    """What starts the trainings: Hydra's launcher, or processes of this machine."""
    launcher = sweeper.launcher()
    if launcher is not None:
        return HydraLauncherRunner(launcher, min(sweeper.n_jobs or num_tasks, num_tasks))
    return Processes(
        process_environments(settings, sweeper.n_jobs, num_tasks),
        sweeper.module,
        config_search_arguments(),
    )


def grid(
    sweeper: Any, folder: Path, settings: TrainSettings, arguments: list[str], *, again: str
) -> float | None:
    """Every combination has been trained; folds that belong together are summed up."""
    points = points_of(arguments)
    names = [point.folder_name for point in points]
    if len(set(names)) < len(names):
        raise SettingError(f"Two of these trainings would share a folder: {', '.join(names)}.")
    facts = {"settings": shared_settings(settings), "trainings": names}
    source = TrainingGrid(folder, points, settings.logger, settings.fold)
    done = len(points) - len(source.missing())
    if settings.dry_run:
        study.check_same_sweep(folder, facts)
        missing = [names[number] for number in source.missing()]
        log_dry_run(
            "train -m", describe_sweep(folder, names, [n for n in names if n not in missing], "")
        )
        return None
    folder.mkdir(parents=True, exist_ok=True)
    study.write_sweep_file(folder, facts)
    with (
        tracked_sweep(folder, settings) as metrics,
        _bar(len(points), done, "training") as bar,
    ):
        run_tasks(source, runner(sweeper, settings, len(points)), bar, resume_command=again)
        best = build_finished_ensembles(folder, source)
        metrics[settings.best_metric] = best
        if source.failed:
            told = "; ".join(f"{names[n]}: {reason}" for n, reason in source.failed.items())
            raise SweepError(
                f"{len(source.failed)} of {len(points)} trainings failed. {told}.\n"
                f"Run what is missing with {again}."
            )
    return best


def points_of(arguments: list[str]) -> list[Combination]:
    """Every combination of the swept values, the first setting varying slowest."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: PLC0415

    overrides = OverridesParser.create().parse_overrides(arguments)
    swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
    (combinations,) = BasicSweeper.split_arguments(overrides, None)
    points = []
    for words in combinations:
        values = dict(word.split("=", 1) for word in words)
        points.append(Combination({key: values[key] for key in swept}, words))
    return points


def build_finished_ensembles(folder: Path, source: TrainingGrid) -> float | None:
    """Each cross-validation whose folds are all there has its ensemble and its scores."""
    cross_validations: dict[tuple, list[int]] = {}
    for number, point in enumerate(source.points):
        if "fold" in point.swept:
            cross_validations.setdefault(point.cross_validation_key(), []).append(number)
    best = None
    missing = set(source.missing())
    for siblings, numbers in cross_validations.items():
        if missing & set(numbers) or len(numbers) < 2:
            continue
        name = source.points[numbers[0]].folder_name.split(",fold_")[0]
        ensemble_folder = folder / f"{name},all_folds" if siblings else folder
        ensemble_folder.mkdir(exist_ok=True)
        with locks.wait_for_lock(folder / ".lock"):
            score = run.build_ensemble(ensemble_folder, [source.task(n).folder for n in numbers])
        logger.info("%s\n%s", ensemble_folder, run.summarize(ensemble_folder))
        best = score if best is None else max(best, score or best)
    return best


def _bar(total: int, initial: int, unit: str) -> "tqdm[Any]":
    return tqdm(total=total, initial=min(initial, total), unit=unit)


def describe_sweep(folder: Path, names: Sequence[str], done: Sequence[str], what: str) -> list[str]:
    """Return lines on which trainings a sweep would run and skip."""
    missing = [name for name in names if name not in done]
    return [
        f"folder     {folder}",
        f"would run  {what or len(missing)}{': ' if missing else ''}{', '.join(missing)}",
        f"skipped    {len(done)} that are done{': ' if done else ''}{', '.join(done)}",
    ]
