"""Selection of picks: one set per object, or several that are named to count together."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.project.objects import NO_OBJECTS
from octopi.project.queries import PickSets, PicksQuery
from octopi.project.run import Run

logger = logging.getLogger(__name__)

PicksOrSets = TypeVar("PicksOrSets", PicksQuery, PickSets)
Source = str | Sequence[str] | None
OCTOPI_USER = "octopi"  # octopi's own picks are taken for truth only where they are named
REJECTED_SUFFIX = "-rejected"  # of users whose picks are places found to be no particle


def find_picks(
    runs: Sequence[Run], *, objects: Sequence[str] | None, source: str | None
) -> dict[str, PicksQuery]:
    """Find one set of picks per object.

    Args:
        runs: to search; a set of picks need not be in all of them.
        objects: names; None = every object that the source has picks of.
        source: `user/session`, or None: the only user and session there is, octopi's own and
            rejected places left out.

    Returns:
        Object name -> picks.

    Raises:
        NotInProjectError: no run has these picks.
        SettingError: an object has several sets of picks.
    """
    return choose_picks(_available(runs), objects=objects, source=source)


def find_pick_sets(
    runs: Sequence[Run], *, objects: Sequence[str] | None, source: Source, rejected: Source
) -> tuple[dict[str, PickSets], dict[str, PickSets]]:
    """Find the sets of picks of each object that count together, and its rejected places.

    Args:
        runs: to search; a set need not be in all of them.
        objects: see `find_picks`.
        source: as in `find_picks`, or a list of `user/session` and `name:user/session`.
        rejected: the same; None = nothing was rejected.

    Returns:
        Object name -> sets of picks, and the same of those that have rejected places.

    Raises:
        NotInProjectError: no run has one of the sets.
        SettingError: a set is named twice, or both as picks and as rejected places; an object has
            several sets and none is named, or is rejected by name but not picked.
    """
    return choose_pick_sets(_available(runs), objects=objects, source=source, rejected=rejected)


def _available(runs: Sequence[Run]) -> set[PicksQuery]:
    return {query for run in runs for query in run.picks()}


def choose_picks(
    available: Collection[PicksQuery], *, objects: Sequence[str] | None, source: str | None
) -> dict[str, PicksQuery]:
    """Choose one set of picks per object of those that exist; see `find_picks`."""
    candidates = [query for query in available if is_annotation(query, source)]
    names = list(objects or dict.fromkeys(sorted(q.object_name for q in candidates)))
    if not names:
        raise _not_in_project(source or "to learn from", available)
    return {name: _select_one(name, candidates, available, source) for name in names}


def choose_pick_sets(
    available: Collection[PicksQuery],
    *,
    objects: Sequence[str] | None,
    source: Source,
    rejected: Source,
) -> tuple[dict[str, PickSets], dict[str, PickSets]]:
    """Choose sets of picks of those that exist; see `find_pick_sets`."""
    if source is None or (isinstance(source, str) and ":" not in source):
        chosen = choose_picks(available, objects=objects, source=source)
        picks = {name: (query,) for name, query in chosen.items()}
    else:
        picks = _named_sets(source, available)
        if missing := [name for name in objects or () if name not in picks]:
            raise _not_in_project(f"of {missing[0]} by {shorten_list(_listed(source))}", available)
        picks = {name: picks[name] for name in objects or picks}
    places = _named_sets(rejected, available)
    both = [q for name in picks.keys() & places for q in picks[name] if q in places[name]]
    if both:
        raise SettingError(
            f"{min(map(str, both))} cannot be both picks and rejected places. Leave it out of one "
            "of the two."
        )
    rejected_names = {text.partition(":")[0] for text in _listed(rejected) if ":" in text}
    if unpicked := sorted(rejected_names - picks.keys()):
        raise SettingError(
            f"Places of {shorten_list(unpicked)} are rejected, of which there are no picks. "
            f"Objects with picks: {shorten_list(sorted(picks))}."
        )
    return (
        {name: PickSets(queries) for name, queries in picks.items()},
        {name: PickSets(queries) for name, queries in places.items() if name in picks},
    )


def _listed(source: Source) -> list[str]:
    return [source] if isinstance(source, str) else list(source or ())


def _named_sets(
    source: Source, available: Collection[PicksQuery]
) -> dict[str, tuple[PicksQuery, ...]]:
    """Return the sets of each object, in the order in which they are named."""
    sets: dict[str, tuple[PicksQuery, ...]] = {}
    for text in _listed(source):
        if ":" in text:
            matching = {PicksQuery.parse(text)} & set(available)
        elif text.count("/") == 1:
            matching = {query for query in available if query.user_session == text}
        else:
            raise SettingError(
                f"{text!r} does not name picks. Write user/session, as in data-portal/1, or "
                "object:user/session."
            )
        if not matching:
            raise _not_in_project(text, available)
        for query in sorted(matching, key=str):
            if query in sets.get(query.object_name, ()):
                raise SettingError(f"The picks {query} are named twice. Name each set once.")
            sets[query.object_name] = (*sets.get(query.object_name, ()), query)
    return sets


def keep_known(
    picks: Mapping[str, PicksOrSets], config_names: Collection[str], *, required: bool
) -> dict[str, PicksOrSets]:
    """Return the picks of objects that the copick config has, in its order; warn of the others.

    Args:
        picks: object name -> picks.
        config_names: names of the objects in the copick config.
        required: whether the user named the objects.

    Raises:
        DataError: the config has none of the objects, or lacks one that the user named.
    """
    if not config_names:
        raise DataError(NO_OBJECTS)
    kept = {name: picks[name] for name in config_names if name in picks}
    for name in sorted(picks.keys() - kept):
        error = NotInProjectError("The copick config", "object", name, config_names)
        if required or not kept:
            raise error
        logger.warning("The picks %s are left out. %s", picks[name], error)
    return kept


def is_annotation(query: PicksQuery, source: Source) -> bool:
    """Return whether picks count as truth.

    Args:
        query: the picks.
        source: `user/session` or `name:user/session` of the truth, or several of these; None =
            everyone's but octopi's own and rejected places.
    """
    if source is None:
        return query.user_id != OCTOPI_USER and not query.user_id.endswith(REJECTED_SUFFIX)
    return bool({query.user_session, str(query)} & set(_listed(source)))


def _not_in_project(requested: str, available: Iterable[PicksQuery]) -> NotInProjectError:
    return NotInProjectError("The project", "picks", requested, sorted(map(str, available)))


def _select_one(
    name: str,
    candidates: Iterable[PicksQuery],
    available: Collection[PicksQuery],
    source: str | None,
) -> PicksQuery:
    fit = sorted({q for q in candidates if q.object_name == name}, key=str)
    if not fit:
        raise _not_in_project(f"{name}:{source}" if source else f"of {name}", available)
    if len(fit) > 1:
        raise SettingError(
            f"There is more than one set of picks of {name}: {shorten_list(fit)}. "
            "Say whose are meant (USER/SESSION), or make one set of them: octopi merge_picks."
        )
    return fit[0]
