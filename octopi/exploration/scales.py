"""What both kinds of pictures share: colours, and the upright lines of parallel coordinates."""

import math
from dataclasses import dataclass

from octopi.exploration.findings import Findings, Objective, Parameter

COMPLETE, BEST, PRUNED, FAILED, RUNNING = "#3b6fb6", "#c0392b", "#e39c2d", "#7f1d1d", "#3a9d5d"
STATES = {"complete": COMPLETE, "pruned": PRUNED, "failed": FAILED, "running": RUNNING}
UPRIGHTS = 8  # parameters in parallel coordinates
BARS = 15  # parameters in a picture of importances
NAMED = 12  # trials of a Pareto front that are numbered
ABSENT = -0.15  # place of trials that do not have a parameter
NUM_TICKS = 5
PALE, DARK = (201, 214, 232), (20, 56, 115)  # of bad and good trials


@dataclass(frozen=True)
class Upright:
    """One line of parallel coordinates, from 0 to 1.

    Args:
        label: what it measures.
        places: number of the trial -> place.
        ticks: place -> what is written there.
    """

    label: str
    places: dict[int, float]
    ticks: dict[float, str]


def beside(parameter: Parameter, number: int) -> float:
    """Where a trial is drawn along a parameter: those of one choice beside one another.

    The golden ratio spreads neighbouring numbers apart, the same each time.
    """
    value = parameter.values[number]
    if parameter.choices is None:
        return value
    return value + ((number * 0.618034) % 1 - 0.5) * 0.4


def uprights(found: Findings) -> list[Upright]:
    """The objectives, then the parameters that matter most."""
    numbers = [trial.number for trial in found.complete]
    return [
        *(_of_objective(found, objective) for objective in found.objectives),
        *(_of_parameter(parameter, numbers) for parameter in found.parameters[:UPRIGHTS]),
    ]


def _of_objective(found: Findings, objective: Objective) -> Upright:
    values = {trial.number: objective.of(trial) for trial in found.complete}
    return _numeric(objective.arrow, values, log=False)


def _of_parameter(parameter: Parameter, numbers: list[int]) -> Upright:
    if parameter.choices is None:
        line = _numeric(parameter.label, parameter.values, log=parameter.log)
    else:
        last = max(1, len(parameter.choices) - 1)
        places = {number: value / last for number, value in parameter.values.items()}
        ticks = {place / last: text for place, text in enumerate(parameter.choices)}
        line = Upright(parameter.label, places, ticks)
    without = {number: ABSENT for number in numbers if number not in parameter.values}
    ticks = {ABSENT: "not used", **line.ticks} if without else line.ticks
    return Upright(line.label, line.places | without, ticks)


def _numeric(label: str, values: dict[int, float], *, log: bool) -> Upright:
    scaled = {n: math.log(value) if log else value for n, value in values.items()}
    low, high = min(scaled.values()), max(scaled.values())
    span = high - low or 1.0
    places = {number: (value - low) / span for number, value in scaled.items()}
    found = sorted(set(values.values()))
    if len(found) <= NUM_TICKS:
        written = dict(zip(sorted(set(places.values())), found, strict=True))
    else:
        even = [step / (NUM_TICKS - 1) for step in range(NUM_TICKS)]
        at = {place: low + place * span for place in even}
        written = {place: math.exp(value) if log else value for place, value in at.items()}
    return Upright(label, places, {place: f"{value:.3g}" for place, value in written.items()})
