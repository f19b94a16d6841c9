"""What a search has found, in words: a file that names the best trial, a table for the log."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from octopi.exploration.findings import STATES, Findings, Parameter, distinct, folder_of, shorten
from octopi.provenance import write_yaml

RESULTS = "optimization_results.yaml"
SHOWN = 10  # trials in the table
SCREEN = 100  # characters across
CELL = 18  # characters across a parameter's column


def results(study: Study, *, objectives: Sequence[str]) -> dict[str, Any]:
    """What came of the search: counts, the best trial, the Pareto front, why trials failed.

    There is no `best` before a trial is complete, and `solutions` is for several objectives.
    """
    found = Findings(study, objectives)
    out: dict[str, Any] = {
        "name": study.study_name,
        "objectives": [{"name": o.name, "direction": o.direction} for o in found.objectives],
        "trials": counts(found),
    }
    if found.ranked:
        out["best"] = _trial(found, found.ranked[0])
    if found.ranked and len(found.objectives) > 1:
        out["solutions"] = [_trial(found, trial) for trial in found.front]
    if causes := failures(found):
        out["failures"] = causes
    return out


def write_results(folder: Path, study: Study, objectives: Sequence[str]) -> None:
    """`optimization_results.yaml` says what came of the search so far, and how to retrain it."""
    content = results(study, objectives=objectives)
    if "best" in content:
        content["retrain"] = f"octopi train experiment={folder / 'best'}"
    write_yaml(folder / RESULTS, content)


def table(study: Study, objectives: Sequence[str]) -> str:
    """The best trials with what they differ in, and why others failed, for a screen."""
    found = Findings(study, objectives)
    said = ", ".join(f"{count} {state}" for state, count in counts(found).items() if count)
    total = len(found.trials)
    lines = [f"{total} {'trial' if total == 1 else 'trials'}" + (f": {said}" if said else "")]
    lines += _ranking(found) if found.complete else ["No trial is complete yet."]
    for cause in failures(found):
        head = f"failed {cause['count']} × "
        lines.append(head + shorten(cause["cause"], SCREEN - len(head)))
    return "\n".join(lines)


def counts(found: Findings) -> dict[str, int]:
    """How many trials are in each state; waiting ones only where there are any."""
    held = {name: len(found.of_state(state)) for state, name in STATES.items()}
    return {name: count for name, count in held.items() if count or name != "waiting"}


def failures(found: Findings) -> list[dict[str, Any]]:
    """The causes of failures, the most frequent first; alike but for their numbers is one."""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in found.of_state(TrialState.FAIL):
        groups.setdefault(re.sub(r"[\d.]+", "#", _reason(trial)), []).append(trial)
    causes = [
        {"cause": _reason(trials[0]), "count": len(trials), "trials": [t.number for t in trials]}
        for trials in groups.values()
    ]
    return sorted(causes, key=lambda cause: -cause["count"])


def _reason(trial: FrozenTrial) -> str:
    lines = str(trial.user_attrs.get("reason", "")).strip().splitlines()
    return lines[0] if lines else "no reason is known"


def _trial(found: Findings, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "folder": folder_of(trial),
        "values": {objective.name: objective.of(trial) for objective in found.objectives},
        "params": dict(trial.params),
    }


def _ranking(found: Findings) -> list[str]:
    several = len(found.objectives) > 1
    front = {trial.number for trial in found.front} if several else set()
    # Those of the front come first: the sort keeps the order of what is alike.
    best = sorted(found.ranked, key=lambda trial: trial.number not in front)[:SHOWN]
    columns = {"trial": [folder_of(t) + (" *" if t.number in front else "") for t in best]}
    for objective in found.objectives:
        columns[shorten(objective.arrow, CELL)] = [f"{objective.of(t):.4g}" for t in best]
    columns["seconds"] = [_seconds(trial) for trial in best]
    labels = distinct((p.label for p in found.parameters), CELL)
    cells = {
        label: [_shown(parameter, trial) for trial in best]
        for label, parameter in zip(labels, found.parameters, strict=True)
    }
    fitting = _fitting(columns, cells)
    rows = _aligned(columns | fitting)
    if left := [parameter.label for parameter in found.parameters[len(fitting) :]]:
        text = f"They differ in {len(left)} more: {', '.join(left)}"
        rows += textwrap.wrap(text, SCREEN, subsequent_indent="  ")
    return rows + (["* none is better in every objective"] if several else [])


def _fitting(columns: Mapping[str, list[str]], more: Mapping[str, list[str]]) -> dict:
    """The first of the further columns for which the screen has room."""
    used = sum(_width(head, cells) + 2 for head, cells in columns.items())
    out = {}
    for label, cells in more.items():
        used += _width(label, cells) + 2
        if used - 2 > SCREEN:
            break
        out[label] = cells
    return out


def _width(head: str, cells: list[str]) -> int:
    return max(map(len, [head, *cells]))


def _aligned(columns: Mapping[str, list[str]]) -> list[str]:
    """The columns as lines: the first to the left, the others to the right."""
    padded = [
        [cell.ljust(width) if place == 0 else cell.rjust(width) for cell in (head, *cells)]
        for place, (head, cells) in enumerate(columns.items())
        if (width := _width(head, cells))
    ]
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _seconds(trial: FrozenTrial) -> str:
    seconds = trial.user_attrs.get("seconds")
    if seconds is None and trial.duration is not None:
        seconds = trial.duration.total_seconds()
    return "" if seconds is None else f"{seconds:.0f}"


def _shown(parameter: Parameter, trial: FrozenTrial) -> str:
    if parameter.name not in trial.params:
        return "–"
    value = trial.params[parameter.name]
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shorten(text, CELL)
