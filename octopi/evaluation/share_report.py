"""What the shares of annotated particles say of a training, in sentences."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from octopi.errors import SettingError, shorten_list
from octopi.evaluation.chances import AnnotatedShare
from octopi.geometry import PicksByRun

CLEARLY_INCOMPLETE = 0.9  # an interval of a share that ends below it: particles are missing
MIN_ANNOTATED = 10  # particles; fewer tell too little for advice
MAX_DESCRIBED = 3  # objects in an advice


def describe_share(name: str, share: AnnotatedShare) -> str:
    """Say which part of an object's particles seems annotated, with its 95 % interval."""
    estimate, low, high = share
    return f"About {estimate:.0%} of the {name} seem annotated ({low:.0%} to {high:.0%})."


def describe_shares(shares: Mapping[str, AnnotatedShare], partial: Collection[str]) -> list[str]:
    """Say for each partially annotated object which part of its particles seems annotated.

    Args:
        shares: object name -> share of its particles that is annotated.
        partial: names of the objects that are said to be partially annotated.
    """
    return [
        describe_share(name, shares[name])
        if name in shares
        else f"Nothing tells which part of the {name} is annotated, since no candidate lies at an "
        "annotated one. All count as annotated."
        for name in sorted(partial)
    ]


def advise_partial(
    shares: Mapping[str, AnnotatedShare],
    num_annotated: Mapping[str, int],
    *,
    partial: Collection[str],
    object_names: Collection[str],
    write_override: Callable[[str, Any], str],
) -> str | None:
    """Say which objects are said to be complete and clearly are not, and what to do.

    Args:
        shares: object name -> share of its particles that is annotated.
        num_annotated: object name -> number of annotated particles that the share is taken from.
        partial: names of the objects that are said to be partially annotated.
        object_names: of all objects of the targets.
        write_override: (key, value) -> override as typed in a shell.

    Returns:
        The advice; None where nothing is clearly incomplete.
    """
    incomplete = [name for name in clearly_incomplete(shares, num_annotated) if name not in partial]
    if not incomplete:
        return None
    sentences = [describe_share(name, shares[name]) for name in incomplete[:MAX_DESCRIBED]]
    if more := incomplete[MAX_DESCRIBED:]:
        sentences.append(f"So it is with {shorten_list(more)}.")
    names = {*incomplete, *partial}
    annotation = "partial" if names >= {*object_names} else dict.fromkeys(sorted(names), "partial")
    try:
        override = write_override("targets.annotation", annotation)
    except SettingError:  # of a name that no command line can hold
        override = write_override("targets.annotation", "partial")
    return (
        f"{' '.join(sentences)} But the targets say that all are, so the others were trained on as "
        "background and count as wrong picks. Make the targets again as before, with one override "
        f"more: octopi create_targets {override} overwrite=true. Then run the training again."
    )


def clearly_incomplete(
    shares: Mapping[str, AnnotatedShare], num_annotated: Mapping[str, int]
) -> list[str]:
    """List the objects of which particles clearly are missing; arguments as in `advise_partial`."""
    return [
        name
        for name, (_, _, high) in shares.items()
        if high < CLEARLY_INCOMPLETE and num_annotated.get(name, 0) >= MIN_ANNOTATED
    ]


def count_annotated(truth: PicksByRun, names: Collection[str]) -> dict[str, int]:
    """Count the particles of objects: object name -> number in all runs.

    Args:
        truth: run name -> object name -> particles.
        names: of the objects.
    """
    return {
        name: sum(len(objects[name]) for objects in truth.values() if name in objects)
        for name in names
    }
