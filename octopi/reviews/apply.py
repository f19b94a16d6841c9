"""Write what a person decided as picks, and say how to train with them."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from octopi.cli.job import log_dry_run
from octopi.config.settings import ReviewSettings
from octopi.errors import DataError, OctopiError, SettingError
from octopi.geometry import Points
from octopi.project import Project
from octopi.project.queries import PicksQuery
from octopi.project.run_scores import find_score_maps
from octopi.project.selection import REJECTED_SUFFIX
from octopi.reviews.decisions import DecisionsFile, check_belongs, read_decisions
from octopi.reviews.training import find_trained_on, next_session, write_commands

logger = logging.getLogger(__name__)


def apply_decisions(
    project: Project, path: Path, settings: ReviewSettings, overrides: Sequence[str]
) -> None:
    """Write the accepted and rejected places as picks of new sessions; log what to type next."""
    file = read_decisions(path)
    output = f"decisions of {settings.user_id}"
    # of all runs, and by one process: the next session is chosen for all
    with project.writing(project.runs, output, {}, dry_run=settings.dry_run, alone=True):
        session_id, is_applied = choose_session(project, file, settings)
        decided = picks_of(file, settings.user_id, session_id)
        existing = {(run.name, q) for run in project.runs for q in run.picks() if is_applied}
        missing = {key: points for key, points in decided.items() if key not in existing}
        if missing or not is_applied:  # what was applied needs no state that may have changed since
            check_belongs(file, project, path)
        runs = {run.name: run for run in project.runs}
        for run_name, query in missing:
            runs[run_name].check_can_write(query)
        for (run_name, query), points in ({} if settings.dry_run else missing).items():
            runs[run_name].write_picks(
                query, points, provenance={"source": file.source}, by_person=True
            )
    lines = describe_decisions(file, settings.user_id, session_id)
    if settings.dry_run:
        log_dry_run("review", [f"would write {len(missing)} files of picks", *lines])
    elif missing:
        logger.info("Decisions of page %s:\n%s", file.page, "\n".join(lines))
    else:
        logger.info(
            "%s: already applied as %s/%s; nothing is written.", path, settings.user_id, session_id
        )
    try:
        line = retrain_command(project, file, list(decided), settings, overrides)
    except OctopiError as error:  # the decisions are safe, whatever became of the training
        logger.warning("The line that trains with them cannot be written: %s", error)
    else:
        logger.info("To train with them:\n%s", line)


def picks_of(
    file: DecisionsFile, user_id: str, session_id: str
) -> dict[tuple[str, PicksQuery], Points]:
    """Return the picks of each run that hold the accepted and the rejected places."""
    users = {user_id: file.accepted(), user_id + REJECTED_SUFFIX: file.rejected()}
    return {
        (run_name, PicksQuery(object_name, user, session_id)): points
        for user, places in users.items()
        for (run_name, object_name), points in places.items()
    }


def choose_session(
    project: Project, file: DecisionsFile, settings: ReviewSettings
) -> tuple[str, bool]:
    """Return the session to write, and whether these very decisions were written there before.

    Raises:
        SettingError: the session that the user named has other picks.
    """
    users = (settings.user_id, settings.user_id + REJECTED_SUFFIX)
    existing = [
        (run, query) for run in project.runs for query in run.picks() if query.user_id in users
    ]
    for run, query in existing:
        if run.picks_provenance(query).get("source") == file.source:
            return query.session_id, True
    used = {query.session_id for _, query in existing}
    if settings.session_id in used:
        raise SettingError(
            f"There are picks {settings.user_id}/{settings.session_id} already, of other "
            "decisions. Leave session_id out for the next number that is free."
        )
    return settings.session_id or next_session(sorted(used)), False


def describe_decisions(file: DecisionsFile, user_id: str, session_id: str) -> list[str]:
    """Count the decisions of each object."""
    accepted = Counter((d.accepted_object, d.decision) for d in file.decisions)
    rejected = Counter((d.object, d.decision) for d in file.decisions)
    lines = []
    for name in file.objects:
        for count, kind, text in ((accepted, "accept", ""), (rejected, "reject", REJECTED_SUFFIX)):
            relabelled = count[name, "relabel"]
            if total := count[name, kind] + relabelled:
                of_these = f", {relabelled} of them relabelled" if relabelled else ""
                lines.append(f"{name}:{user_id}{text}/{session_id}: {total} {kind}ed{of_these}")
    return lines


def retrain_command(
    project: Project,
    file: DecisionsFile,
    decided: Sequence[tuple[str, PicksQuery]],
    settings: ReviewSettings,
    overrides: Sequence[str],
) -> str:
    """Write the line that trains with all decisions of the user, those of earlier pages too.

    An object that was not annotated in a run is not all annotated there by a few decisions.

    Args:
        project: of the decisions.
        file: of the decisions that were applied last.
        decided: run name and picks of these; in a dry run they do not exist.
        settings: of the command.
        overrides: of the command.

    Raises:
        DataError: nothing says which picks the network was trained on.
    """
    runs = {run.name: run for run in project.runs}
    reviewed = [runs[name] for name in file.runs if name in runs]
    all_scores = find_score_maps(reviewed, settings.input, settings.tomo_type)
    trained_on = find_trained_on(
        project,
        list(all_scores.values()),
        annotations=settings.annotations or file.annotations,
        checkpoint=settings.checkpoint,
        objects=file.objects,
    )
    if not trained_on.picks:
        raise DataError(
            "Nothing says which picks the network was trained on. Name them, in the same command: "
            "annotations=USER/SESSION."
        )
    queries = {(run.name, query) for run in project.runs for query in run.picks()} | {*decided}
    accepted = [
        (run_name, query)
        for run_name, query in queries
        if query.user_id == settings.user_id and query.object_name in file.objects
    ]
    before = {name: trained_on.annotated_picks(runs[name]) for name, _ in accepted}
    new = {query.object_name for name, query in accepted if query.object_name not in before[name]}
    rejected = {q for _, q in queries if q.user_id == settings.user_id + REJECTED_SUFFIX}
    return write_commands(
        project,
        trained_on,
        accepted=sorted({query for _, query in accepted}, key=_by_session),
        rejected=[query.user_session for query in sorted(rejected, key=_by_session)],
        partial=frozenset(file.objects) if trained_on.partial is None else trained_on.partial | new,
        objects=file.objects,
        overrides=overrides,
    )


def _by_session(query: PicksQuery) -> tuple[float, str, str]:
    """Return the key that sorts picks by the number of their session; names follow numbers."""
    session = query.session_id
    return int(session) if session.isdecimal() else math.inf, session, query.object_name
