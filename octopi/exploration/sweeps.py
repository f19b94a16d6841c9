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

from octopi import locks, rehearsal
from octopi.config import build, settle
from octopi.errors import SettingError, SweepError
from octopi.exploration import crossval, plots, space, study, summary
from octopi.exploration.grid import Grid, Point
from octopi.exploration.search import Search, make_search
from octopi.exploration.workers import (
    Launched,
    Processes,
    Runner,
    check_one_device,
    places,
    work_off,
)
from octopi.facts import gather_facts
from octopi.job import search_flags
from octopi.provenance import (
    artifacts_of,
    end_parent,
    plain,
    read_yaml,
    start_parent,
    write_yaml,
)
from octopi.settings import TrainSettings
from octopi.training.folder import OUTCOME
from octopi.training.validation import check_metric_names

logger = logging.getLogger(__name__)

# Settings that a sweep may change when it is run again: they change no result.
FREE = {"resume", "logger", "dry_run"}


def sweep(sweeper: Any, folder: Path, arguments: list[str]) -> float | None:
    """Everything has run, and what it found together is in the folder.

    Args:
        sweeper: the `OctopiSweeper`.
        folder: of the sweep.
        arguments: the command line, without Hydra's own words.
    """
    overrides = OverridesParser.create().parse_overrides(arguments)
    swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
    ranges = [o for o in overrides if o.is_sweep_override() and not o.is_discrete_sweep()]
    plain_words = [o.input_line for o in overrides if not o.is_sweep_override()]
    settings = check(sweeper, [word for word in plain_words if word])
    again = f"the same command (hydra.sweep.dir={folder})"
    if sweeper.params or ranges:
        return search(sweeper, folder, settings, arguments, swept=swept, again=again)
    return grid(sweeper, folder, settings, arguments, again=again)


def check(sweeper: Any, words: Sequence[str]) -> TrainSettings:
    """The settings all trainings start from; what is wrong is found before the first begins."""
    settings = settle(sweeper.settings_node(), TrainSettings, overrides=words)
    check_one_device(settings)
    project = build(settings.project, "project")
    facts = gather_facts(project, settings)
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
        "space": space.describe(searched),
        "settings": began_with(settings),
    }
    if settings.dry_run:
        study.check_same(folder, facts)
        done = [p.parent.name for p in sorted(folder.glob(f"trial_*/{OUTCOME}"))]
        rehearsal.of_sweep(folder, [], done, f"{sweeper.n_trials - len(done)} trials")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    study.record(folder, facts)
    source = make_search(
        folder, settings, searched, sampler=sweeper.sampler, num_trials=sweeper.n_trials
    )
    with (
        tracked_family(folder, settings) as metrics,
        _bar(sweeper.n_trials, finished(source), "trial") as bar,
    ):
        try:
            work_off(source, runner(sweeper, settings, sweeper.n_trials), bar, again=again)
        finally:
            sum_up(folder, source)
        best = outcome(folder, source)
        metrics |= {settings.objectives[0]: best, "trials": finished(source)}
    return best


@contextlib.contextmanager
def tracked_family(folder: Path, settings: TrainSettings) -> Iterator[dict[str, float | None]]:
    """MLflow shows the sweep as the parent of its trainings; what is put in is its metrics."""
    path = folder / study.STUDY
    with locks.waiting_for(folder / ".lock"):
        facts = read_yaml(path)
        run = start_parent(
            settings.logger,
            folder.name,
            params=began_with(settings),
            tags={"sweep": str(folder)},
            run_id=facts.get(study.PARENT_RUN),
        )
        if run and run != facts.get(study.PARENT_RUN):
            write_yaml(path, {**facts, study.PARENT_RUN: run})
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
        files = [path for path in artifacts_of(folder) if path.name != study.STUDY]
        end_parent(settings.logger, run, status=status, metrics=metrics, artifacts=files)


def finished(source: Search) -> int:
    """How many trials are over, with whatever end."""
    return sum(trial.state.is_finished() for trial in source.study.get_trials(deepcopy=False))


def sum_up(folder: Path, source: Search) -> None:
    """The folder tells, in words and pictures, what has been found so far."""
    with locks.waiting_for(folder / ".lock"):
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
        f"Their logs are {folder}/trial_*/output.txt."
    )


def began_with(settings: TrainSettings) -> dict[str, Any]:
    """The settings that every training of a sweep shares, and a later start must share too."""
    held = plain(dataclasses.asdict(settings))
    held["trainer"].pop("enable_progress_bar", None)
    return {key: value for key, value in held.items() if key not in FREE}


def runner(sweeper: Any, settings: TrainSettings, num_tasks: int) -> Runner:
    """What starts the trainings: Hydra's launcher, or processes of this machine."""
    launcher = sweeper.launcher()
    if launcher is not None:
        return Launched(launcher, min(sweeper.n_jobs or num_tasks, num_tasks))
    return Processes(places(settings, sweeper.n_jobs, num_tasks), sweeper.module, search_flags())


def grid(
    sweeper: Any, folder: Path, settings: TrainSettings, arguments: list[str], *, again: str
) -> float | None:
    """Every combination has been trained; folds that belong together are summed up."""
    points = points_of(arguments)
    names = [point.folder_name for point in points]
    if len(set(names)) < len(names):
        raise SettingError(f"Two of these trainings would share a folder: {', '.join(names)}.")
    facts = {"settings": began_with(settings), "trainings": names}
    source = Grid(folder, points, settings.logger, settings.fold)
    done = len(points) - len(source.missing())
    if settings.dry_run:
        study.check_same(folder, facts)
        missing = [names[number] for number in source.missing()]
        rehearsal.of_sweep(folder, names, [n for n in names if n not in missing], "")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    study.record(folder, facts)
    with (
        tracked_family(folder, settings) as metrics,
        _bar(len(points), done, "training") as bar,
    ):
        work_off(source, runner(sweeper, settings, len(points)), bar, again=again)
        best = sum_up_folds(folder, source)
        metrics[settings.best_metric] = best
        if source.failed:
            told = "; ".join(f"{names[n]}: {reason}" for n, reason in source.failed.items())
            raise SweepError(
                f"{len(source.failed)} of {len(points)} trainings failed. {told}.\n"
                f"Run what is missing with {again}."
            )
    return best


def points_of(arguments: list[str]) -> list[Point]:
    """Every combination of the swept values, the first setting varying slowest."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: PLC0415

    overrides = OverridesParser.create().parse_overrides(arguments)
    swept = [o.get_key_element() for o in overrides if o.is_sweep_override()]
    (combinations,) = BasicSweeper.split_arguments(overrides, None)
    points = []
    for words in combinations:
        values = dict(word.split("=", 1) for word in words)
        points.append(Point({key: values[key] for key in swept}, words))
    return points


def sum_up_folds(folder: Path, source: Grid) -> float | None:
    """Each cross-validation whose folds are all there has its ensemble and its scores."""
    families: dict[tuple, list[int]] = {}
    for number, point in enumerate(source.points):
        if "fold" in point.swept:
            families.setdefault(point.siblings(), []).append(number)
    best = None
    missing = set(source.missing())
    for siblings, numbers in families.items():
        if missing & set(numbers) or len(numbers) < 2:
            continue
        name = source.points[numbers[0]].folder_name.split(",fold_")[0]
        home = folder / f"{name},all_folds" if siblings else folder
        home.mkdir(exist_ok=True)
        with locks.waiting_for(folder / ".lock"):
            score = crossval.pool_folder(home, [source.task(n).folder for n in numbers])
        logger.info("%s\n%s", home, crossval.summarize(home))
        best = score if best is None else max(best, score or best)
    return best


def _bar(total: int, initial: int, unit: str) -> "tqdm[Any]":
    return tqdm(total=total, initial=min(initial, total), unit=unit)
