"""Score picks against the truth: precision, recall and F-beta per object, with intervals.

Run it as `octopi evaluate` or `python -m octopi.evaluate`.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from octopi.checks.picks import warn_of_odd_picks
from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import EvaluateSettings
from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.evaluation.calibration import compare_all
from octopi.evaluation.chances import fit_partial
from octopi.evaluation.coverage import keep_comparable
from octopi.evaluation.partial import with_shares
from octopi.evaluation.picks_figure import draw_picks
from octopi.evaluation.reliability_figure import plot_reliability
from octopi.evaluation.score_report import Report
from octopi.evaluation.scores import Scorer
from octopi.evaluation.share_report import clearly_incomplete, describe_share, describe_shares
from octopi.geometry import PicksByRun, Points
from octopi.project import Project
from octopi.project.provenance import replaced_tomogram
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.project.run import Run
from octopi.project.selection import (
    check_covers_tomogram,
    find_picks,
    keep_known,
    keep_runs_with,
    readable_grids,
    tomogram_for_display,
)
from octopi.system.files import write_figure, write_json
from octopi.system.job_folder import PICKS_PICTURE, RELIABILITY_PICTURE, SCORES_FILE, Job
from octopi.targets import drop_unknown, mark_unknown

logger = logging.getLogger(__name__)


def evaluate(settings: EvaluateSettings, job: Job) -> float | None:
    """Score picks against the truth: write `scores.json` and `picks.png`, log the table.

    Returns:
        The total F-beta; None in a dry run, or without particles.
    """
    scorer: Scorer = build(settings.scorer, "scorer")
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs, keep_contents=True)
    true_queries = keep_known(
        find_picks(runs, objects=settings.objects, source=settings.truth),
        project.objects,
        required=bool(settings.objects),
    )
    check_is_not_truth(true_queries, settings)
    queries = find_picked(runs, true_queries, settings)
    queries = keep_known(queries, project.objects, required=False)
    region = None if settings.annotated is None else SegmentationQuery.parse(settings.annotated)
    localized = keep_localized(runs, true_queries, queries, region, settings.runs)
    coverage = keep_comparable(
        {run.name: read_inside(run, queries, region) for run in localized},
        {run.name: read_inside(run, true_queries, region) for run in localized},
    )
    for remark in coverage.remarks:
        logger.warning(remark)
    warn_of_odd_sets(localized, queries, coverage.picks)
    warn_of_odd_sets(localized, true_queries, coverage.truth)
    warn_of_provenance(localized, queries)
    picks, truth = coverage.picks, coverage.truth
    objects = {name: project.objects[name] for name in queries}
    radii = {name: obj.require_radius() for name, obj in objects.items()}
    weights = {name: obj.weight for name, obj in objects.items()}
    if settings.dry_run:
        log_dry_run("evaluate", describe(job, picks, truth))
        return None
    report = scorer(picks, truth, radii=radii, weights=weights)
    report = describe_scores(report, picks, truth, radii, scorer, settings)
    report = dataclasses.replace(report, expected_particles=sum_expected(localized, queries, truth))
    path = job.folder / SCORES_FILE
    write_json(path, report.to_dict())
    shares = {n: share for n, one in report.scores.items() if (share := one.annotated_share)}
    figure = plot_reliability(report.reliability, estimated=shares)
    write_figure(job.folder / RELIABILITY_PICTURE, figure)
    draw_run_with_most_particles(
        job.folder / PICKS_PICTURE, project, runs, picks=picks, truth=truth
    )
    logger.info("Scores of %d runs (%s):\n%s", len(truth), path, report.table())
    if settings.truth_annotation == "partial":
        with_truth = [name for name, score in report.scores.items() if score.tp + score.fn]
        logger.info("%s ~ marks estimates.", " ".join(describe_shares(shares, with_truth)))
    return report.total


def describe_scores(  # noqa: PLR0917  what a scorer takes
    report: Report,
    picks: PicksByRun,
    truth: PicksByRun,
    radii: Mapping[str, float],
    scorer: Scorer,
    settings: EvaluateSettings,
) -> Report:
    """Add how reliable the picks' scores are; of a partial truth, estimate the scores.

    Warn where particles clearly are missing in a truth that is said to be complete.

    Args:
        report: of the picks against what is annotated.
        picks: run name -> object name -> picks.
        truth: the same of the annotated particles.
        radii: object name -> Å.
        scorer: that made the report.
        settings: of the command.
    """
    annotated = compare_all(picks, truth, radii=radii, tolerance_scale=scorer.tolerance_scale)
    with_hits = {name: one for name, one in annotated.items() if one.hits.any()}
    shares = {name: share for name, (_, share) in fit_partial(with_hits).items()}
    if settings.truth_annotation == "partial":
        return with_shares(report, annotated, shares)
    num_annotated = {name: one.num_particles for name, one in annotated.items()}
    for name in clearly_incomplete(shares, num_annotated):
        logger.warning(
            "%s If particles are missing in the truth, precision, F-beta and F1 are too low: "
            "truth_annotation=partial estimates them.", describe_share(name, shares[name]),
        )  # fmt: skip
    return with_shares(report, annotated, {})


def sum_expected(
    runs: Sequence[Run], queries: Mapping[str, PicksQuery], truth: PicksByRun
) -> dict[str, float | None]:
    """Sum the particles that the picks of each object say there are, in the scored runs."""
    sums: dict[str, float | None] = {}
    for name, query in queries.items():
        scored = [run for run in runs if name in truth.get(run.name, {})]
        numbers = [run.picks_provenance(query).get("expected_particles") for run in scored]
        numbers_known = [number for number in numbers if number is not None]
        sums[name] = sum(numbers_known) if scored and len(numbers_known) == len(scored) else None
    return sums


def read_inside(
    run: Run, queries: Mapping[str, PicksQuery], region: SegmentationQuery | None
) -> dict[str, Points]:
    """Read the picks that exist in a run, of a region those inside: object name -> picks.

    Raises:
        DataError: the region is empty, or of another box than the run's tomograms.
    """
    picks = run.read_existing_picks(queries)
    if region is None:
        return picks
    mask, grid, _ = run.read_mask(region, may_be_full=True)
    check_covers_tomogram(run, region, grid)
    return drop_unknown(picks, mark_unknown(mask, f"Run {run.name}: {region}"), grid)


def check_is_not_truth(truth: Mapping[str, PicksQuery], settings: EvaluateSettings) -> None:
    """Raise SettingError if the picks to score are the truth."""
    source = f"{settings.user_id}/{settings.session_id}"
    if same := [name for name, query in truth.items() if query.user_session == source]:
        raise SettingError(
            f"The picks {source} of {shorten_list(same)} would be scored against themselves: they "
            "are also the truth. Name other picks with user_id=… session_id=…, or another "
            "truth=USER/SESSION."
        )


def find_picked(
    runs: Sequence[Run], truth: Mapping[str, PicksQuery], settings: EvaluateSettings
) -> dict[str, PicksQuery]:
    """Find the picks to score by object, in the order of the truth; warn of objects without any.

    Raises:
        DataError: no run has picks to score, or none of an object that the user named.
    """
    source = f"{settings.user_id}/{settings.session_id}"
    queries = {query for run in runs for query in run.picks() if query.user_session == source}
    picked = {query.object_name: query for query in sorted(queries, key=str)}
    if not picked:
        raise DataError(
            f"No run has picks of {source}. Run localize first, or name others with user_id=… "
            "session_id=…"
        )
    if missing := [name for name in truth if name not in picked]:
        message = f"No run has picks of {shorten_list(missing)} by {source}"
        if settings.objects is not None or len(missing) == len(truth):
            raise DataError(f"{message}. There are picks of {shorten_list(picked)}.")
        logger.warning("%s: not scored.", message)
    names = list(truth) if settings.objects is not None else dict.fromkeys([*truth, *picked])
    return {name: picked[name] for name in names if name in picked}


def keep_localized(
    runs: Sequence[Run],
    truth: Mapping[str, PicksQuery],
    queries: Mapping[str, PicksQuery],
    region: SegmentationQuery | None,
    requested: Sequence[str] | None,
) -> list[Run]:
    """Return the runs that have picks, truth and the region; warn about those with truth alone.

    Args:
        runs: to choose from.
        truth: object name -> true picks.
        queries: object name -> picks to score.
        region: mask of what is scored; None = everywhere.
        requested: runs that the user named, which all must have picks.

    Raises:
        NotInProjectError: no run has all of it, or one that was named lacks some.
    """
    existing = {run.name: set(run.picks()) for run in runs}
    annotated = [run for run in runs if existing[run.name] & set(truth.values())]

    def check_localized(run: Run) -> None:
        if not existing[run.name] & set(queries.values()):
            source = next(iter(queries.values())).user_session
            available = sorted({query.user_session for query in existing[run.name]})
            raise NotInProjectError(
                f"Run {run.name} was not localized: it", "picks of", source, available
            )
        if region is not None:
            run.find_segmentation(region)

    return [run for run, _ in keep_runs_with(annotated, check_localized, requested)]


def warn_of_odd_sets(
    runs: Sequence[Run], queries: Mapping[str, PicksQuery], picks: PicksByRun
) -> None:
    """Warn of picks that cannot all be where particles are; see `warn_of_odd_picks`."""
    grids = {run.name: next(iter(readable_grids(run)), None) for run in runs}
    for name, query in queries.items():
        picks_by_run = {run: objects[name] for run, objects in picks.items() if name in objects}
        warn_of_odd_picks(query, picks_by_run, grids)


def warn_of_provenance(runs: Sequence[Run], queries: Mapping[str, PicksQuery]) -> None:
    """Warn of runs trained on, of tomograms replaced since, and of picks of several networks."""
    trained_on, replaced, checkpoints = [], [], set()
    for run in runs:
        existing = set(run.picks()) & set(queries.values())
        made_of = [run.picks_provenance(query) for query in existing]
        if any(run.name in one.get("train_runs", ()) for one in made_of):
            trained_on.append(run.name)
        by_tomogram = {one.get("tomogram_stamp"): one for one in made_of}
        if any(replaced_tomogram(run, one) for one in by_tomogram.values()):
            replaced.append(run.name)
        checkpoints |= {", ".join(sorted(one.get("checkpoints", {}))) for one in made_of}
    if trained_on:
        logger.warning(
            "%d of %d runs have the names of runs that the network was trained on (%s): their "
            "scores are too good for a score of new data.",
            len(trained_on), len(runs), shorten_list(trained_on),
        )  # fmt: skip
    if replaced:
        logger.warning(
            "%d runs have other tomograms than when their picks were made: %s. Make them again: "
            "octopi segment, then localize.", len(replaced), shorten_list(replaced),
        )  # fmt: skip
    if len(checkpoints) > 1:
        made_by = shorten_list(sorted(names or "unknown" for names in checkpoints))
        logger.warning("The picks were made by different networks: %s.", made_by)


def describe(job: Job, picks: PicksByRun, truth: PicksByRun) -> list[str]:
    """Describe, for a dry run, what would be done; in lines."""
    names = dict.fromkeys(name for run in [*truth.values(), *picks.values()] for name in run)
    return [
        f"folder     {job.folder}: {SCORES_FILE}, {PICKS_PICTURE}, {RELIABILITY_PICTURE}, log",
        f"would run  {len(truth)} runs: {shorten_list(truth)}",
        *(
            f"object     {name}: {_count(picks, name)} picks, {_count(truth, name)} in truth"
            for name in names
        ),
    ]


def _count(picks: PicksByRun, name: str) -> int:
    return sum(len(objects[name]) for objects in picks.values() if name in objects)


def draw_run_with_most_particles(
    path: Path, project: Project, runs: list[Run], *, picks: PicksByRun, truth: PicksByRun
) -> None:
    """Draw the picks of the run with the most particles as a PNG."""
    run_name = max(truth, key=lambda name: sum(map(len, truth[name].values())))
    run = next(run for run in runs if run.name == run_name)
    query = tomogram_for_display(run)
    if query is None:
        logger.info("Run %s has no tomogram to draw its picks on.", run_name)
        return
    objects = {name: project.objects[name] for name in sorted({*picks[run_name], *truth[run_name]})}
    draw_picks(
        path,
        run.read_tomogram(query),
        run.tomogram_grid(query),
        picks=picks[run_name],
        truth=truth[run_name],
        radii={name: obj.require_radius() for name, obj in objects.items()},
        colors={name: obj.color for name, obj in objects.items()},
    )


main = Command("evaluate", evaluate)

if __name__ == "__main__":
    main()
