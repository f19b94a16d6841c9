"""Whose annotations are meant: one user and session per object, never everyone's by accident."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from octopi.errors import NotInProjectError, SettingError
from octopi.project.queries import PicksQuery, TomogramQuery
from octopi.project.run import Run

logger = logging.getLogger(__name__)

Found = TypeVar("Found")
OWN_USER = "octopi"  # what octopi picked itself is not taken for truth unless asked for by name


def find_picks(
    runs: Sequence[Run], *, objects: Sequence[str] | None, source: str | Sequence[str] | None
) -> dict[str, PicksQuery]:
    """For each object the one set of picks that is meant, over all runs.

    Args:
        runs: where to look.
        objects: names; None = every particle that the source has picks of.
        source: `user/session` for all objects, a list of `name:user/session`, or None: the only
            user and session there is, octopi's own left out.
    """
    held = Counter(query for run in runs for query in run.picks())
    if source is not None and not isinstance(source, str):
        named = [_present(query, held) for query in map(PicksQuery.parse, source)]
        for query in named:
            _the_one(query.object_name, named, held, None)
        return {query.object_name: query for query in named}
    if source is not None:
        user_id, _, session_id = source.partition("/")
        candidates = [q for q in held if (q.user_id, q.session_id) == (user_id, session_id)]
    else:
        candidates = [q for q in held if q.user_id != OWN_USER]
    names = list(objects or dict.fromkeys(sorted(q.object_name for q in candidates)))
    if not names:
        raise NotInProjectError("The project", "picks", source or "to learn from", _shown(held))
    return {name: _the_one(name, candidates, held, source) for name in names}


def _present(query: PicksQuery, held: Mapping[PicksQuery, int]) -> PicksQuery:
    if query not in held:
        raise NotInProjectError("The project", query.kind, query, _shown(held))
    return query


def _the_one(
    name: str, candidates: Iterable[PicksQuery], held: Mapping[PicksQuery, int], source: str | None
) -> PicksQuery:
    fit = sorted({q for q in candidates if q.object_name == name}, key=str)
    if not fit:
        asked = f"{name}:{source}" if source else f"of {name}"
        raise NotInProjectError("The project", "picks", asked, _shown(held))
    if len(fit) > 1:
        raise SettingError(
            f"There is more than one set of picks of {name}: {', '.join(map(str, fit))}. "
            "Say whose are meant (USER/SESSION)."
        )
    return fit[0]


def _shown(held: Mapping[PicksQuery, int]) -> list[str]:
    return sorted(map(str, held))


def find_tomograms(
    run: Run, *, tomo_types: Sequence[str] | None, voxel_spacing: float | None
) -> list[TomogramQuery]:
    """The run's tomograms of these types, in this order, at one voxel spacing.

    Args:
        run: where to look.
        tomo_types: None = every type there is.
        voxel_spacing: Å, within 1 %; None = the only one there is.
    """
    held = run.tomograms()
    spacings = sorted({q.voxel_spacing for q in held})
    if voxel_spacing is None and len(spacings) > 1:
        raise SettingError(
            f"Run {run.name} has tomograms at {', '.join(f'{s:g}' for s in spacings)} Å. "
            "Say which: voxel_spacing=…"
        )
    types = list(tomo_types) if tomo_types is not None else sorted({q.tomo_type for q in held})
    if not types:
        raise NotInProjectError(f"Run {run.name}", "tomogram", voxel_spacing or "at all", held)
    return [run.find_tomogram(tomo_type, voxel_spacing) for tomo_type in types]


def find_in_runs(
    runs: Iterable[Run], find: Callable[[Run], Found], *, named: bool
) -> list[tuple[Run, Found]]:
    """The runs that hold what is looked for, and what it is; the others are told and left out.

    Args:
        runs: where to look.
        find: raises NotInProjectError where it is not there.
        named: whether the runs were asked for by name; then each must hold it, else one of them.
    """
    having, missing = [], []
    for run in runs:
        try:
            having.append((run, find(run)))
        except NotInProjectError as error:
            missing.append(error)
    if missing and (named or not having):
        raise missing[0]
    if missing:
        logger.warning("%d runs are left out. %s", len(missing), missing[0])
    return having


def refuse_others_picks(
    runs: Iterable[Run], replaced: Callable[[PicksQuery], bool], *, overwrite: bool
) -> None:
    """Raise SettingError if picks that may not be octopi's own would be replaced unasked.

    Args:
        runs: that picks will be written to.
        replaced: whether picks will be written under that name.
        overwrite: whether that was asked for.
    """
    if overwrite:
        return
    for run in runs:
        others = [q for q in run.picks() if q.user_id != OWN_USER and replaced(q)]
        if others:
            raise SettingError(
                f"Run {run.name} already has the picks {min(map(str, others))}. Choose another "
                "session_id, or replace them with overwrite=true."
            )
