"""Score picks against the truth: precision, recall and F-beta per object, with intervals.

Run it as `octopi evaluate` or `python -m octopi.evaluate`.
"""

import json
import logging
from pathlib import Path

from octopi.cli.job import command, log_dry_run
from octopi.config.build import build
from octopi.config.settings import EvaluateSettings
from octopi.errors import DataError
from octopi.evaluation.picks_figure import draw_picks
from octopi.geometry import PicksByRun
from octopi.project import PicksQuery, Project, Run, find_picks, tomogram_for_display
from octopi.system.job_folder import SCORES_FILE, Job

logger = logging.getLogger(__name__)


def evaluate(settings: EvaluateSettings, job: Job) -> float | None:
    """`scores.json` holds every figure, the log the table; returns the total F-beta."""
    scorer = build(settings.scorer, "scorer")
    project: Project = build(settings.project, "project")
    runs = project.select(settings.runs)
    queries = find_picks(runs, objects=settings.objects, source=settings.truth)
    evaluated_objects = {
        q.object_name for run in runs for q in run.picks() if _is_evaluated(q, settings)
    }
    if not evaluated_objects:
        raise DataError(
            f"No run has picks of {settings.user_id}/{settings.session_id}. Run localize first, or "
            "name others with user_id=… session_id=…"
        )
    truth = {run.name: run.read_existing_picks(queries) for run in runs}
    truth = {name: points for name, points in truth.items() if points}
    names = list(queries) + sorted(evaluated_objects - set(queries))
    pick_queries = {n: PicksQuery(n, settings.user_id, settings.session_id) for n in names}
    picks = {run.name: run.read_existing_picks(pick_queries) for run in runs if run.name in truth}
    facts = {"radii": radii(project, names), "weights": weights(project, names)}
    if settings.dry_run:
        log_dry_run("evaluate", rehearsal(job, picks, truth))
        return None
    report = scorer(picks, truth, **facts)
    path = job.folder / SCORES_FILE
    path.write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")
    draw(job.folder / "picks.png", project, runs, picks=picks, truth=truth)
    logger.info("Scores of %d runs (%s):\n%s", len(truth), path, report.table())
    return report.total


def rehearsal(job: Job, picks: PicksByRun, truth: PicksByRun) -> list[str]:
    """What a dry run tells."""
    names = dict.fromkeys(name for found in [*truth.values(), *picks.values()] for name in found)
    return [
        f"folder     {job.folder}: {SCORES_FILE}, picks.png, log",
        f"would run  {len(truth)} runs: {', '.join(truth)}",
        *(
            f"object     {name}: {_count(picks, name)} picks, {_count(truth, name)} in truth"
            for name in names
        ),
    ]


def _count(runs: PicksByRun, name: str) -> int:
    return sum(len(picks[name]) for picks in runs.values() if name in picks)


def draw(
    path: Path, project: Project, runs: list[Run], *, picks: PicksByRun, truth: PicksByRun
) -> None:
    """`picks.png` shows the run with the most particles."""
    run_with_most_particles = max(truth, key=lambda name: sum(map(len, truth[name].values())))
    run = next(run for run in runs if run.name == run_with_most_particles)
    query = tomogram_for_display(run)
    if query is None:
        logger.info("Run %s has no tomogram to draw its picks on.", run.name)
        return
    names = sorted({*picks[run_with_most_particles], *truth[run_with_most_particles]})
    draw_picks(
        path,
        run.read_tomogram(query),
        run.tomogram_grid(query),
        picks=picks[run.name],
        truth=truth[run.name],
        radii=radii(project, names),
        colors={name: project.objects[name].color for name in names},
    )


def _is_evaluated(query: PicksQuery, settings: EvaluateSettings) -> bool:
    return (query.user_id, query.session_id) == (settings.user_id, settings.session_id)


def radii(project: Project, names: list[str]) -> dict[str, float]:
    """Radius of every object in Å."""
    return {name: project.objects[name].require_radius() for name in names}


def weights(project: Project, names: list[str]) -> dict[str, float]:
    """Weight of every object in the total: of its metadata, else 1."""
    return {name: project.objects[name].weight for name in names}


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
