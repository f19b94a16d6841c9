"""Show what a person should look at as an HTML page, and write what was decided as picks.

Run it as `octopi review`, open the page, decide, save; then `octopi review decisions=FILE`, or
`python -m octopi.review`. The page needs no server and no network.
"""

import dataclasses
import functools
import logging
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from octopi.candidates import build_stored_localizer, find_run_candidates, read_picking_info
from octopi.cli.job import Command, log_dry_run
from octopi.config.build import build
from octopi.config.overrides import override_key
from octopi.config.settings import ReviewSettings
from octopi.errors import DataError, SettingError, shorten_list
from octopi.evaluation.data_thresholds import MIN_CHANCE
from octopi.geometry import Points
from octopi.html_report.html import choose_page_path
from octopi.project import Project
from octopi.project.queries import PicksQuery, TomogramQuery, check_name
from octopi.project.run import Run
from octopi.project.run_scores import (
    RunScores,
    find_score_map,
    particle_radii,
    warn_of_several_networks,
)
from octopi.project.selection import (
    OCTOPI_USER,
    REJECTED_SUFFIX,
    find_pick_sets,
    keep_runs_with,
    tomogram_for_display,
)
from octopi.reviews.apply import apply_decisions
from octopi.reviews.page import PageRun, build_page, describe_objects, is_page
from octopi.reviews.selection import RunToReview, choose_cards, count_kinds
from octopi.reviews.training import TrainedOn, find_trained_on
from octopi.system.files import write_text
from octopi.system.job_folder import Job

logger = logging.getLogger(__name__)

OF_PAGES = ("runs", "picks", "num", "output", "beta", "max_megabytes")  # settings of a page alone


def review(settings: ReviewSettings, job: Job) -> None:
    """Write the page of places to look at; or, given its decisions, write these as picks."""
    typed = set(map(override_key, job.overrides))
    check_review_settings(settings, typed)
    project: Project = build(settings.project, "project")
    typed_sets = [*(settings.annotations or ()), *([settings.picks] if "picks" in typed else ())]
    find_pick_sets(
        project.runs, objects=None, source=list(dict.fromkeys(typed_sets)), rejected=None
    )
    if settings.decisions is None:
        write_page(project, settings, job)
    else:
        apply_decisions(project, Path(settings.decisions), settings, job.overrides)


def check_review_settings(settings: ReviewSettings, typed: Collection[str]) -> None:
    """Raise SettingError for names that picks cannot have, and for settings without an effect."""
    user_id = settings.user_id
    if user_id == OCTOPI_USER or user_id.endswith(REJECTED_SUFFIX):
        raise SettingError(
            f"user_id {user_id!r} cannot be who decides: {OCTOPI_USER} is for octopi's own picks, "
            f"and names in {REJECTED_SUFFIX} are for rejected places. Choose another user_id."
        )
    for name in (user_id, user_id + REJECTED_SUFFIX):
        check_name("user_id", name)
    if settings.session_id is not None:
        check_name("session_id", settings.session_id)
    # a setting that is null, as experiment=FOLDER may add, asks for nothing
    unused = [n for n in OF_PAGES if n in typed and getattr(settings, n) is not None]
    if settings.decisions is not None and unused:
        raise SettingError(
            f"decisions=… writes what was decided, on which {shorten_list(unused)} has no effect: "
            "this is for making a page. Leave it out."
        )


def write_page(project: Project, settings: ReviewSettings, job: Job) -> None:
    """Choose what to look at in all runs that have scores, and write the page."""
    all_scores = find_all_scores(project, settings)
    warn_of_several_networks(all_scores, project.warn_once)
    info = all_scores[0].read_info()
    radii, thresholds = particle_radii(info, project.objects), info.thresholds_at(settings.beta)
    trained_on = find_trained_on(
        project,
        all_scores,
        annotations=settings.annotations,
        checkpoint=settings.checkpoint,
        objects=list(radii),
    )
    if not trained_on.picks:
        logger.warning(
            "Nothing says which picks the network was trained on, so none counts as unmarked or "
            "doubted. Name them: annotations=USER/SESSION."
        )
    runs = [to_review(s, trained_on, radii, settings) for s in all_scores]
    cards = choose_cards(runs, radii, thresholds, settings.num)
    if not cards:
        raise DataError(
            f"There is nothing to look at in {len(runs)} runs: no candidate has a chance of "
            f"{MIN_CHANCE:g}, or all were decided before."
        )
    num = Counter(card.run_name for card in cards)
    mistakes = {run.name: run.expected_mistakes(thresholds) for run in runs}
    shown = [
        show_run(one.run, mistakes[one.run.name], radii, settings)
        for one in sorted(all_scores, key=lambda one: -mistakes[one.run.name])
    ]
    summary = f"{len(cards)} places ({count_kinds(cards)})"
    lines = [
        f"{one.run.name}: ≈ {one.expected_mistakes:.0f} mistakes, {num[one.run.name]} places"
        for one in shown
    ]
    page_id, page = build_page(
        cards,
        shown,
        describe_objects(radii, thresholds, project.objects),
        max_bytes=settings.max_megabytes * 1e6,
        texts=page_texts(project, settings, job),
    )
    path = choose_page_path(
        settings.output,
        f"outputs/review/{project.config_paths[0].stem}-{page_id}.html",
        may_replace=functools.partial(is_page, page_id=page_id),
        other="another page, which somebody may be working through, or no page",
    )
    if settings.dry_run:
        state = "is written anew" if path.exists() else "is new"
        log_dry_run(
            "review", [f"would show {summary}", *lines, f"written    {path}, which {state}"]
        )
        return
    write_text(path, page)
    logger.info(
        "%s, %.1f MB: %s\nWhere most is to be gained: %s.",
        summary, path.stat().st_size / 1e6, path, shorten_list(lines, "; "),
    )  # fmt: skip


def find_all_scores(project: Project, settings: ReviewSettings) -> list[RunScores]:
    """Find the score maps of all runs, sorted by run; check that they are of today's tomograms."""
    located = keep_runs_with(
        project.select(settings.runs, keep_contents=True),
        lambda run: find_score_map(run, settings.input, settings.tomo_type),
        settings.runs,
    )
    checkpoint_info, all_scores = read_picking_info(settings.checkpoint), []
    for _, scores in sorted(located, key=lambda pair: pair[0].name):
        scores.check()
        all_scores.append(dataclasses.replace(scores, checkpoint_info=checkpoint_info))
    return all_scores


def page_texts(project: Project, settings: ReviewSettings, job: Job) -> dict[str, Any]:
    """Return the texts of the page, and what its decisions repeat."""
    kept = (
        "project", "experiment", "input", "checkpoint", "tomo_type", "user_id", "session_id"
    )  # fmt: skip
    typed = [o for o in job.overrides if override_key(o).split(".")[0] in kept]
    return {
        "title": project.config_paths[0].stem,
        "picks": settings.picks,
        "annotations": settings.annotations,
        "command": " ".join(["octopi review", *map(shlex.quote, typed), "decisions="]),
        "origin": f"Score maps {settings.input}; picks {settings.picks}.",
    }


def to_review(
    scores: RunScores,
    trained_on: TrainedOn,
    names: Collection[str],
    settings: ReviewSettings,
) -> RunToReview:
    """Find the candidates of a run, what is annotated there, and what was decided before.

    Args:
        scores: of the run.
        trained_on: what the network was trained on.
        names: of the objects that are asked about.
        settings: of the command.
    """
    run, info = scores.run, scores.read_info()
    run_candidates = find_run_candidates(
        scores,
        build_stored_localizer(info, run.name, settings.trust),
        lambda info: dict.fromkeys(info.radii, MIN_CHANCE),
    )
    decided: dict[str, list[PicksQuery]] = {}
    for query in run.picks():
        if query.user_id in (settings.user_id, settings.user_id + REJECTED_SUFFIX):
            decided.setdefault(query.object_name, []).append(query)
    grid = run.tomogram_grid(choose_tomogram(run, settings))

    def keep_shown(points: Mapping[str, Points]) -> dict[str, Points]:
        return {n: p[grid.contains(p.positions)] for n, p in points.items() if n in names}

    return RunToReview(
        run.name,
        keep_shown(run_candidates.by_object),
        keep_shown(read_sets(run, trained_on.annotated_picks(run))),
        read_sets(run, decided),
    )


def read_sets(run: Run, sets: Mapping[str, Sequence[PicksQuery]]) -> dict[str, Points]:
    """Read all points of each object's sets of picks."""
    return {
        name: Points(np.concatenate([run.read_picks(query).positions for query in queries]))
        for name, queries in sets.items()
    }


def choose_tomogram(run: Run, settings: ReviewSettings) -> TomogramQuery:
    """Choose the tomogram of a run that is shown."""
    tomogram = tomogram_for_display(run, settings.tomo_type)
    assert tomogram is not None, "a score map lies beside a tomogram"
    return tomogram


def show_run(
    run: Run, mistakes: float, names: Collection[str], settings: ReviewSettings
) -> PageRun:
    """Read the picks of a run that are reviewed."""
    user_id, session_id = settings.picks.split("/")
    queries = {name: PicksQuery(name, user_id, session_id) for name in names}
    picks = run.read_existing_picks(queries)
    return PageRun(run, choose_tomogram(run, settings), picks, mistakes)


main = Command("review", review)

if __name__ == "__main__":
    main()
