"""Score picks against the truth: precision, recall and F-beta per object, with intervals.

Run it as `octopi evaluate` or `python -m octopi.evaluate`.
"""

import logging
from pathlib import Path

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import EvaluateSettings
from octopi.errors import DataError
from octopi.evaluation.picks_figure import draw_picks
from octopi.evaluation.scores import Scorer
from octopi.geometry import PicksByRun
from octopi.project import PicksQuery, Project, Run, find_picks, tomogram_for_display
from octopi.system.files import write_json
from octopi.system.job_folder import SCORES_FILE, Job

logger = logging.getLogger(__name__)

PICTURE = "picks.png"


def evaluate(settings: EvaluateSettings, job: Job) -> float | None:
    """Score picks against the truth: write `scores.json` and `picks.png`, log the table.

    Returns:
        The total F-beta; None in a dry run, or without particles.
    """
    scorer: Scorer = build(settings.scorer, "scorer")
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs)
    true_queries = find_picks(runs, objects=settings.objects, source=settings.truth)
    source = f"{settings.user_id}/{settings.session_id}"
    all_picks = {query for run in runs for query in run.picks()}
    picked_objects = {q.object_name for q in all_picks if q.user_session == source}
    if not picked_objects:
        raise DataError(
            f"No run has picks of {source}. Run localize first, or name others with user_id=… "
            "session_id=…"
        )
    objects = {
        name: project.objects[name]
        for name in [*true_queries, *sorted(picked_objects - set(true_queries))]
    }
    pick_queries = {n: PicksQuery(n, settings.user_id, settings.session_id) for n in objects}
    truth = {run.name: run.read_existing_picks(true_queries) for run in runs}
    truth = {run_name: points for run_name, points in truth.items() if points}
    picks = {run.name: run.read_existing_picks(pick_queries) for run in runs if run.name in truth}
    radii = {name: obj.require_radius() for name, obj in objects.items()}
    weights = {name: obj.weight for name, obj in objects.items()}
    if settings.dry_run:
        log_dry_run("evaluate", describe(job, picks, truth))
        return None
    report = scorer(picks, truth, radii=radii, weights=weights)
    path = job.folder / SCORES_FILE
    write_json(path, report.to_dict())
    draw_run_with_most_particles(job.folder / PICTURE, project, runs, picks=picks, truth=truth)
    logger.info("Scores of %d runs (%s):\n%s", len(truth), path, report.table())
    return report.total


def describe(job: Job, picks: PicksByRun, truth: PicksByRun) -> list[str]:
    """Describe, for a dry run, what would be done; in lines."""
    names = dict.fromkeys(name for run in [*truth.values(), *picks.values()] for name in run)
    return [
        f"folder     {job.folder}: {SCORES_FILE}, {PICTURE}, log",
        f"would run  {len(truth)} runs: {', '.join(truth)}",
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


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
