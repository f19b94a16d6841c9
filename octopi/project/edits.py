"""Tell what octopi wrote from what a person has changed since, which is never replaced unasked."""

import itertools
from collections.abc import Callable, Iterable, Sequence

from octopi.errors import DataError, shorten, shorten_list
from octopi.project.attributes import FINGERPRINT, OURS
from octopi.project.digests import digest_array
from octopi.project.queries import PicksQuery, SegmentationQuery
from octopi.project.run import Run

EDITED = "edited"  # the value of `overwrite` that replaces a person's work too
Query = PicksQuery | SegmentationQuery


def check_not_edited(
    runs: Sequence[Run],
    list_replaced: Callable[[Run], Iterable[Query]],
    *,
    overwrite: bool | str,
    setting: str = "session_id",
) -> None:
    """Raise DataError if something would be replaced that is not as octopi wrote it.

    What has no fingerprint, such as files of other programs, counts as a person's.

    Args:
        runs: that will be written to.
        list_replaced: lists the picks or label volumes of a run that will be replaced or deleted.
        overwrite: of the command; "edited" replaces all.
        setting: by which the command writes into another session.
    """
    if overwrite == EDITED:
        return
    edits = [
        (run, query, edit)
        for run in runs
        for query in list_replaced(run)
        if (edit := describe_edit(run, query)) is not None
    ]
    if not edits:
        return
    run, query, edit = edits[0]
    others = shorten_list(f"{r.name} {q}" for r, q, _ in edits[1:])
    use = "train with it as it is"
    if isinstance(query, PicksQuery):
        use = f"train with them (octopi create_targets targets.picks={query.user_session})"
    raise DataError(
        f"Run {run.name}: the {query.kind} {query} would be replaced, and {edit}."
        f"{f' So are {others}.' if others else ''} Keep what is there and write elsewhere: "
        f"{setting}={free_session(runs, query)}. Or {use}. Or lose it: overwrite={EDITED}."
    )


def check_still_not_edited(
    run: Run, query: Query, *, overwrite: bool | str, setting: str = "session_id"
) -> None:
    """Repeat `check_not_edited` right before something is written or deleted, if it exists.

    Work takes hours, in which a person may save what was made before.
    """
    if run.is_stored(query):
        check_not_edited([run], lambda _run: [query], overwrite=overwrite, setting=setting)


def describe_edit(run: Run, query: Query) -> str | None:
    """Say how picks or a label volume differ from what octopi wrote; None if they do not."""
    if isinstance(query, PicksQuery):
        return run.describe_edit(query)
    try:
        labels, _, _ = run.read_segmentation(query)
    except DataError as error:
        return f"it cannot be compared with what octopi wrote ({shorten(error, 150)})"
    attributes = run.open_segmentation(query).attributes.get(OURS, {})
    if FINGERPRINT not in attributes:
        return "octopi did not write it as it is"
    is_same = attributes[FINGERPRINT] == digest_array(labels)
    return None if is_same else "somebody has changed its voxels since octopi wrote it"


def free_session(runs: Sequence[Run], query: Query) -> str:
    """Return a later session under which the user has nothing of this kind in any of the runs."""
    used_sessions = {
        other.session_id
        for run in runs
        for other in (run.picks() if isinstance(query, PicksQuery) else run.segmentations())
        if other.user_id == query.user_id
    }
    session = query.session_id
    if session.isdecimal():
        names = map(str, itertools.count(int(session) + 1))
    else:
        names = (f"{session}-{number}" for number in itertools.count(2))
    return next(name for name in names if name not in used_sessions)
