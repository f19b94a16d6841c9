"""What an output was made of, compared with what would make it now, or made its neighbours."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.errors import DataError, NotInProjectError, SettingError, shorten_list
from octopi.geometry import Points
from octopi.project.digests import digest_array, digest_points
from octopi.project.queries import PickSets, PicksQuery, SegmentationQuery, TomogramQuery
from octopi.project.run import Run
from octopi.system.files import differing_values

# of a target: the same in all runs
PAINTING = ("labels", "sphere_radii", "picks", "rejected", "masks", "annotated", "annotation")
MAX_VALUE_LENGTH = 60  # characters of a value in a message; of a longer one only the key is named
ABSENT = "-"  # in place of the hash of a set of picks that a run lacks
REGION = "annotated region"  # among the digests of a target's masks: what is annotated


def describe_differences(stored: Any, current: Any) -> str:
    """Say in what the provenance of two outputs differs; return an empty text where they do not."""
    return shorten_list(
        f"{key} is {old}, not {new}".strip()
        if len(f"{old}{new}") <= MAX_VALUE_LENGTH
        else f"{key} differs"
        for key, (old, new) in differing_values(stored, current).items()
    )


def check_same_provenance(where: str, stored: Any, current: Any) -> None:
    """Raise SettingError unless an output is what the command would write.

    Args:
        where: the output, as the beginning of an error.
        stored: what made it.
        current: what would make it now.
    """
    if differences := describe_differences(stored, current):
        raise SettingError(
            f"{where} was made in another way: {differences}. Replace it with overwrite=true, or "
            "write under another session_id."
        )


def check_same_painting(run_name: str, attributes: Any, first_run: str, first: Any) -> None:
    """Raise DataError unless the targets of two runs were painted in the same way.

    Args:
        run_name: of a run.
        attributes: stored with its target.
        first_run: another run.
        first: attributes of that run's target.
    """
    if "labels" not in attributes:  # written by another program
        return
    painted, others = ({key: a[key] for key in PAINTING if key in a} for a in (attributes, first))
    if differences := describe_differences(painted, others):
        raise DataError(
            f"Run {run_name}: its target was painted in another way than that of run {first_run}: "
            f"{differences}. Make all targets with one create_targets (overwrite=true)."
        )


def identify_tomogram(
    run: Run, query: TomogramQuery, volume: NDArray[np.float32]
) -> dict[str, str]:
    """Return what identifies a tomogram: its name, the state of its files, a hash of its voxels."""
    return {
        "tomogram": str(query),
        "tomogram_stamp": run.fingerprint(query),
        "tomogram_voxels": digest_array(volume),
    }


def has_changed(run: Run, query: TomogramQuery, stored: Mapping[str, Any]) -> bool:
    """Return whether a tomogram is another than the one that an output was made of.

    Voxels are read only where the files have changed: a copy has other files, but the same voxels.

    Args:
        run: of the tomogram.
        query: of the tomogram.
        stored: attributes of the output, see `identify_tomogram`.
    """
    if stored.get("tomogram_stamp") == run.fingerprint(query):
        return False
    return stored.get("tomogram_voxels") != digest_array(run.read_tomogram(query))


def replaced_tomogram(run: Run, stored: Mapping[str, Any]) -> TomogramQuery | None:
    """Return the tomogram that scores or picks were made of, if its voxels are others by now.

    Args:
        run: of the scores or picks.
        stored: with them, see `identify_tomogram`.
    """
    for query in run.tomograms() if "tomogram_stamp" in stored else []:
        if str(query) == stored.get("tomogram") and has_changed(run, query, stored):
            return query
    return None


def digest_sets(stored: Mapping[PicksQuery, Points], sets: PickSets) -> str:
    """Return a hash (sha256, hex) of each set of an object's picks; ABSENT where there is none."""
    return " ".join(digest_points(stored[q]) if q in stored else ABSENT for q in sets.queries)


def describe_changed_inputs(run: Run, attributes: Mapping[str, Any]) -> str:
    """Name what has changed since a run's target was painted from it; "" if nothing has.

    Args:
        run: of the target.
        attributes: stored with the target.
    """
    region = {REGION: attributes["annotated"]} if "annotated" in attributes else {}
    changed = [
        f"the picks {query}"
        for key in ("picks", "rejected")
        for query in _changed_sets(run, attributes, key)
    ]
    changed += [
        f"the mask {source}"
        for name, source in {**attributes.get("masks", {}), **region}.items()
        if name in attributes.get("mask_digests", {})
        and _mask_has_changed(run, SegmentationQuery.parse(source), name, attributes)
    ]
    changed += [
        f"the radius of {name} (from {radius:g} to {run.objects[name].radius:g} Å)"
        for name, radius in attributes.get("object_radii", {}).items()
        if name in run.objects and run.objects[name].radius not in (None, radius)
    ]
    if not changed:
        return ""
    return (
        f"{shorten_list(changed)} changed since its target was painted from them. "
        "Paint it again: octopi create_targets overwrite=true."
    )


def _changed_sets(run: Run, attributes: Mapping[str, Any], key: str) -> list[PicksQuery]:
    """Return the sets of picks, or of rejected places, that are others than a target's."""
    digests = attributes.get(f"{key}_digests", {})
    names = {*digests, *attributes.get("not_annotated", ())}
    texts = attributes.get(key, {})
    all_sets = {name: PickSets.parse(text) for name, text in texts.items() if name in names}
    picks = run.read_existing_picks({q: q for sets in all_sets.values() for q in sets.queries})
    changed = []
    for name, sets in all_sets.items():
        before = digests[name].split() if name in digests else [ABSENT] * len(sets.queries)
        changed += [
            query
            for query, new, old in zip_longest(
                sets.queries, digest_sets(picks, sets).split(), before
            )
            if query is not None and new != old
        ]
    return changed


def _mask_has_changed(
    run: Run, query: SegmentationQuery, name: str, stored: Mapping[str, Any]
) -> bool:
    """Return whether a mask is another than a target's; read voxels only of files that changed."""
    try:
        if stored.get("mask_stamps", {}).get(name) == run.fingerprint(query):
            return False
        mask, _, _ = run.read_mask(query, may_be_full=name == REGION)
        return digest_array(mask) != stored["mask_digests"][name]
    except NotInProjectError:
        return True
