"""Write what a person decided as picks, and say how to train with them."""

import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from octopi.cli.job import log_dry_run
from octopi.config.settings import ReviewSettings
from octopi.errors import NotInProjectError, OctopiError, SettingError
from octopi.project import PicksQuery, Project, Run
from octopi.reviews.decisions import DecisionsFile, check_belongs, read_decisions
from octopi.reviews.training import (
    find_reviewed_scores,
    find_trained_on,
    next_session,
    write_commands,
)

logger = logging.getLogger(__name__)

REJECTED = "-rejected"  # follows the user_id of the accepted places


def apply_decisions(
    project: Project, path: Path, settings: ReviewSettings, overrides: Sequence[str]
) -> None:
    """Write the accepted and rejected places as picks of new sessions; log what to type next."""
    file = read_decisions(path)
    runs = {run.name: run for run in check_belongs(file, project, path)}
    users = {settings.user_id: file.accepted(), settings.user_id + REJECTED: file.rejected()}
    output = f"decisions of {settings.user_id}"
    with project.writing(project.runs, output, dry_run=settings.dry_run):  # all: one next session
        session_id, is_applied = choose_session(project, file, settings)
        to_write = {
            (run_name, PicksQuery(object_name, user_id, session_id)): points
            for user_id, places in users.items()
            for (run_name, object_name), points in places.items()
        }
        for run_name, query in to_write:
            runs[run_name].check_can_write(query)
        missing = {
            (run_name, query): points
            for (run_name, query), points in to_write.items()
            if not is_applied or query not in runs[run_name].picks()
        }
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
        line = retrain_command(
            project, file, runs, session_id=session_id, settings=settings, overrides=overrides
        )
    except OctopiError as error:  # the decisions are safe, whatever became of the training
        logger.warning("The line that trains with them cannot be written: %s", error)
    else:
        logger.info("To train with them:\n%s", line)


def choose_session(
    project: Project, file: DecisionsFile, settings: ReviewSettings
) -> tuple[str, bool]:
    """Return the session to write, and whether these very decisions were written there before.

    Raises:
        SettingError: the session that the user named has other picks.
    """
    users = (settings.user_id, settings.user_id + REJECTED)
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
        for count, kind, text in ((accepted, "accept", ""), (rejected, "reject", REJECTED)):
            relabelled = count[name, "relabel"]
            if total := count[name, kind] + relabelled:
                of_these = f", {relabelled} of them relabelled" if relabelled else ""
                lines.append(f"{name}:{user_id}{text}/{session_id}: {total} {kind}ed{of_these}")
    return lines


def retrain_command(
    project: Project,
    file: DecisionsFile,
    runs: Mapping[str, Run],
    *,
    session_id: str,
    settings: ReviewSettings,
    overrides: Sequence[str],
) -> str:
    """Write the line that trains with the decisions; objects become partial where they are new.

    An object that was not annotated in a run is not all annotated there by a few decisions.
    """
    all_scores = []
    for run in runs.values():
        with contextlib.suppress(NotInProjectError):  # the map was deleted meanwhile
            all_scores.append(find_reviewed_scores(run, settings.input, settings.tomo_type))
    trained_on = find_trained_on(
        all_scores,
        annotations=settings.annotations or file.annotations,
        checkpoint=settings.checkpoint,
        objects=file.objects,
    )
    accepted, rejected = file.accepted(), file.rejected()
    before = {name: trained_on.annotated_picks(run) for name, run in runs.items()}
    accepted_objects = sorted({name for _, name in accepted})
    new = {name for run_name, name in accepted if name not in before[run_name]}
    partial = frozenset(file.objects) if trained_on.partial is None else trained_on.partial | new
    return write_commands(
        project,
        trained_on,
        accepted=[PicksQuery(name, settings.user_id, session_id) for name in accepted_objects],
        rejected=f"{settings.user_id}{REJECTED}/{session_id}" if rejected else None,
        partial=partial,
        objects=file.objects,
        overrides=overrides,
    )
