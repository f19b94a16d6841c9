"""Collect what a report shows from a project and the folder of a training."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octopi.candidates import build_stored_localizer, find_run_candidates
from octopi.config.settings import ReportSettings
from octopi.errors import NotInProjectError, shorten_list
from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.coverage import keep_comparable
from octopi.geometry import Points
from octopi.html_report.runs import Objects, ShownRun
from octopi.html_report.training_history import (
    NEW,
    TRAINING,
    TrainingHistory,
    find_training_of,
    keep_maps_of,
)
from octopi.picking import DEFAULT_THRESHOLD, PickingInfo, apply_chance
from octopi.project import Project
from octopi.project.queries import PickSets, SegmentationQuery
from octopi.project.run import Run
from octopi.project.run_scores import RunScores, find_score_maps, particle_radii
from octopi.project.selection import find_pick_sets
from octopi.project.united_picks import first_target_attributes, read_true_picks

logger = logging.getLogger(__name__)

PICKED = "picks of the project"  # the role of a run without scores


@dataclass(frozen=True)
class ReportData:
    """All that a report shows.

    Args:
        runs: in the order of the project.
        objects: with candidates or truth.
        truth: object name -> the sets of picks taken for truth; empty where there are none.
        info: of the training or the score maps; without objects for mere picks.
        checkpoints: path -> digest of those that made the first score map.
        history: of the training that the scores come from, where it is known.
        partial: names of the objects of whose particles the truth may lack some; None where no
            target says so.
    """

    runs: list[ShownRun]
    objects: Objects
    truth: Mapping[str, PickSets]
    info: PickingInfo
    checkpoints: Mapping[str, str]
    history: TrainingHistory | None
    partial: frozenset[str] | None = None

    @property
    def annotated_share(self) -> Mapping[str, AnnotatedShare]:
        """The estimate and the 95 % interval of the share that is annotated, by object."""
        info = None if self.history is None else self.history.checkpoint_info
        return {} if info is None else info.annotated_share

    @property
    def estimated_shares(self) -> dict[str, AnnotatedShare]:
        """The shares through which scores are estimated: those of partially annotated objects."""
        partial = self.partial or ()
        return {name: share for name, share in self.annotated_share.items() if name in partial}


def collect_report(
    project: Project, history: TrainingHistory | None, settings: ReportSettings
) -> ReportData:
    """Collect the runs that were held out in training, have a score map, or have picks.

    Args:
        project: whose runs.
        history: of the training that the user named; None = that of the score maps, if they are of
            one training whose folder still exists.
        settings: of the command.
    """
    runs = project.select(settings.runs, keep_contents=True)
    target = _find_target(history, settings)
    target_attributes = first_target_attributes(runs, target)
    truth = find_truth(runs, target_attributes, settings)
    maps = find_score_maps(runs, settings.input, settings.tomo_type)
    if history is None:
        history = find_training_of(maps.values())
    else:
        maps = keep_maps_of(history, maps)
    first_map = next(iter(maps.values()), None)
    info = _picking_info(history, first_map)
    shown, not_picked = [], []
    for run in runs:
        view = _view_run(run, maps.get(run.name), history, info=info, settings=settings)
        particles: Mapping[str, Points] = read_true_picks(run, truth, target)
        if view is not None:
            particles = _comparable_truth(view, particles, truth, settings)
            shown.append(dataclasses.replace(view, truth=particles))
        elif particles and settings.folder is None:  # a training's page shows its own runs only
            not_picked.append(run.name)
    if shown and not_picked:
        names = shorten_list(not_picked)
        logger.warning("The page leaves out runs that have truth but were not picked: %s.", names)
    shown = keep_comparable_objects(shown)
    return ReportData(
        runs=_limit_runs(shown, settings.num_runs),
        objects=_describe_objects(shown, info, project, settings.beta),
        truth=truth,
        info=info,
        checkpoints={} if first_map is None else first_map.checkpoints(),
        history=history,
        partial=frozenset(target_attributes.get("annotation", {})) if target_attributes else None,
    )


def keep_comparable_objects(shown: Sequence[ShownRun]) -> list[ShownRun]:
    """Leave out, in runs with truth, the objects that were not picked or not annotated there."""
    truth = {run.name: run.truth for run in shown if run.truth}
    coverage = keep_comparable({run.name: run.candidates for run in shown}, truth)
    for remark in coverage.remarks:
        logger.warning(remark)
    picks, truth = coverage.picks, coverage.truth
    return [
        dataclasses.replace(run, candidates=picks[run.name], truth=truth[run.name])
        if run.name in truth
        else run
        for run in shown
    ]


def _comparable_truth(
    view: ShownRun,
    particles: Mapping[str, Points],
    truth: Mapping[str, PickSets],
    settings: ReportSettings,
) -> Mapping[str, Points]:
    """Leave out the particles that the run shows as its picks: they would all be found."""
    shown = f"{settings.user_id}/{settings.session_id}" if view.role == PICKED else None
    return {
        name: points for name, points in particles.items() if shown not in truth[name].user_sessions
    }


def find_truth(
    runs: Sequence[Run], target_attributes: Mapping[str, Any], settings: ReportSettings
) -> dict[str, PickSets]:
    """Find the true picks: the requested ones, those trained on, or the only ones there are."""
    if target_attributes:
        source_picks = target_attributes.get("picks", {})
        return {name: PickSets.parse(text) for name, text in source_picks.items()}
    try:
        return find_pick_sets(runs, objects=None, source=settings.truth, rejected=None)[0]
    except NotInProjectError:
        if settings.truth is not None:
            raise
        return {}


def _find_target(
    history: TrainingHistory | None, settings: ReportSettings
) -> SegmentationQuery | None:
    """Return the target of the training; None without one, or where the user named the truth."""
    target = history.config.get("target") if history is not None else None
    return SegmentationQuery.parse(target) if settings.truth is None and target else None


def _picking_info(history: TrainingHistory | None, score_map: RunScores | None) -> PickingInfo:
    """Return the picking info of the training or else of a score map; empty without either."""
    if history is not None and history.checkpoint_info is not None:
        return history.checkpoint_info.picking
    if score_map is not None:
        return score_map.read_info()
    return PickingInfo(objects=[], radii={})


def _view_run(
    run: Run,
    score_map: RunScores | None,
    history: TrainingHistory | None,
    *,
    info: PickingInfo,
    settings: ReportSettings,
) -> ShownRun | None:
    """Return a run with its candidates, without truth; None for a run that has none.

    Candidates are those of validation, else all peaks of the score map however low, else, if the
    user named no training, the picks in the project.
    """
    role = NEW if history is None else history.role_in_training(run.name)
    read_scores = None if score_map is None else score_map.read
    if history is not None and run.name in history.candidates:
        if role == TRAINING:  # its map was made by networks that had trained on the run
            read_scores = None
        role, candidates = history.role_when_scored(run.name), history.candidates[run.name]
        candidates = {n: apply_chance(points, info.chance(n)) for n, points in candidates.items()}
    elif score_map is not None:
        scores = dataclasses.replace(score_map, checkpoint_info=info)
        candidates = find_run_candidates(
            scores,
            build_stored_localizer(info, run.name, settings.trust),
            lambda info: dict.fromkeys(info.radii, 0.0),
        ).by_object
    elif settings.folder is None:
        role, candidates = PICKED, _read_picks(run, settings)
    else:
        return None
    if not candidates:
        return None
    return ShownRun(run.name, role, role != TRAINING, candidates, {}, read_scores)


def _read_picks(run: Run, settings: ReportSettings) -> dict[str, Points]:
    """Read the picks of the requested user and session."""
    requested = f"{settings.user_id}/{settings.session_id}"
    return run.read_existing_picks(
        {query.object_name: query for query in run.picks() if query.user_session == requested}
    )


def _describe_objects(
    shown: Sequence[ShownRun], info: PickingInfo, project: Project, beta: float | None
) -> Objects:
    """Describe every object with candidates or truth, and its initial threshold."""
    radii = particle_radii(info, project.objects)
    names = dict.fromkeys(radii)
    for run in shown:
        names |= dict.fromkeys(sorted({*run.candidates, *run.truth}))
    in_project = {name: project.objects[name] for name in names if name in project.objects}
    sizes = {name: radii.get(name) or obj.radius for name, obj in in_project.items()}
    with_radius = {name: float(radius) for name, radius in sizes.items() if radius is not None}
    thresholds = info.thresholds_at(beta)
    default = DEFAULT_THRESHOLD if info.objects else 0.0  # all picks of a project are shown
    return Objects(
        radii=with_radius,
        thresholds=info.thresholds,
        initial_thresholds={n: float(thresholds.get(n, default)) for n in with_radius},
        in_project=in_project,
    )


def _limit_runs(shown: list[ShownRun], num_runs: int) -> list[ShownRun]:
    """Keep so many runs, those with truth and in the totals first, in the project's order.

    Where none of them belongs into the totals, all of them do.
    """
    best = sorted(shown, key=lambda run: (not run.has_truth, not run.in_totals))[:num_runs]
    if len(best) < len(shown):
        logger.info("%d of %d runs are shown; more with num_runs=…", len(best), len(shown))
    names = {run.name for run in best}
    kept = [run for run in shown if run.name in names]
    if not any(run.in_totals for run in kept):
        return [dataclasses.replace(run, in_totals=True) for run in kept]
    return kept
