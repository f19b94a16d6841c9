"""Summarise a search: a file that names the best trial, and a table for the log."""

import re
import textwrap
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from octopi.config.overrides import shell_override
from octopi.errors import shorten
from octopi.sweeps.results import STATES, StudyResults, shorten_distinctly
from octopi.system.files import write_yaml
from octopi.system.job_folder import SEARCH_RESULTS_FILE, trial_name
from octopi.system.tables import format_rows

MAX_TRIALS = 10  # in the table
SCREEN_WIDTH = 100  # characters
CELL_WIDTH = 18  # characters of a parameter's column


def collect_results(results: StudyResults) -> dict[str, Any]:
    """Collect the results of a search: counts, best trial, Pareto front, causes of failures.

    There is no `best` before a trial is complete, and `solutions` is for several objectives.
    """
    out: dict[str, Any] = {
        "name": results.study.study_name,
        "objectives": [{"name": o.name, "direction": o.direction} for o in results.objectives],
        "trials": counts(results),
    }
    if results.ranked:
        out["best"] = _describe_trial(results, results.ranked[0])
    if results.ranked and len(results.objectives) > 1:
        out["solutions"] = [_describe_trial(results, trial) for trial in results.pareto_front]
    if causes := failures(results):
        out["failures"] = causes
    return out


def write_results(folder: Path, results: StudyResults) -> None:
    """Write the results of a search so far, and how to train its best, into its folder."""
    content = collect_results(results)
    if "best" in content:
        content["retrain"] = f"octopi train {shell_override('experiment', folder / 'best')}"
    write_yaml(folder / SEARCH_RESULTS_FILE, content)


def format_table(results: StudyResults) -> str:
    """List the best trials with the parameters that differ, and the causes of failures."""
    states = ", ".join(f"{count} {state}" for state, count in counts(results).items() if count)
    total = len(results.trials)
    lines = [f"{total} {'trial' if total == 1 else 'trials'}" + (f": {states}" if states else "")]
    lines += _ranking(results) if results.complete else ["No trial is complete yet."]
    for cause in failures(results):
        head = f"failed {cause['count']} × "
        lines.append(head + shorten(cause["cause"], SCREEN_WIDTH - len(head)))
    return "\n".join(lines)


def counts(results: StudyResults) -> dict[str, int]:
    """Count the trials in each state."""
    return {name: len(results.in_state(state)) for state, name in STATES.items()}


def failures(results: StudyResults) -> list[dict[str, Any]]:
    """Group failures by cause, the most frequent first; causes differ in more than numbers."""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in results.in_state(TrialState.FAIL):
        groups.setdefault(re.sub(r"[\d.]+", "#", _reason(trial)), []).append(trial)
    causes = [
        {"cause": _reason(trials[0]), "count": len(trials), "trials": [t.number for t in trials]}
        for trials in groups.values()
    ]
    return sorted(causes, key=lambda cause: -cause["count"])


def _reason(trial: FrozenTrial) -> str:
    lines = str(trial.user_attrs.get("reason", "")).strip().splitlines()
    return lines[0] if lines else "no reason is known"


def _describe_trial(results: StudyResults, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "folder": trial_name(trial.number),
        "values": {objective.name: objective.value_of(trial) for objective in results.objectives},
        "params": dict(trial.params),
    }


def _ranking(results: StudyResults) -> list[str]:
    several = len(results.objectives) > 1
    front = {trial.number for trial in results.pareto_front} if several else set()
    # Those of the front come first; within each group the sort keeps the order.
    best = sorted(results.ranked, key=lambda trial: trial.number not in front)[:MAX_TRIALS]
    columns = {"trial": [trial_name(t.number) + (" *" if t.number in front else "") for t in best]}
    for objective in results.objectives:
        columns[shorten(objective.arrow, CELL_WIDTH)] = [
            f"{objective.value_of(t):.4g}" for t in best
        ]
    columns["seconds"] = [_seconds(trial) for trial in best]
    labels = shorten_distinctly((results.labels[name] for name in results.varying), CELL_WIDTH)
    cells = {
        label: [_cell(name, trial) for trial in best]
        for label, name in zip(labels, results.varying, strict=True)
    }
    tables = []
    for number in range(len(cells) + 1):
        shown = columns | dict(list(cells.items())[:number])
        tables.append(format_rows(list(shown), zip(*shown.values(), strict=True)).splitlines())
    fitting = [rows for rows in tables if max(map(len, rows)) <= SCREEN_WIDTH] or tables[:1]
    rows = fitting[-1]
    if left_out := [results.labels[name] for name in results.varying[len(fitting) - 1 :]]:
        text = f"They differ in {len(left_out)} more: {', '.join(left_out)}"
        rows += textwrap.wrap(text, SCREEN_WIDTH, subsequent_indent="  ")
    return rows + (["* none is better in every objective"] if several else [])


def _seconds(trial: FrozenTrial) -> str:
    seconds = trial.user_attrs.get("seconds")
    if seconds is None and trial.duration is not None:
        seconds = trial.duration.total_seconds()
    return "" if seconds is None else f"{seconds:.0f}"


def _cell(name: str, trial: FrozenTrial) -> str:
    if name not in trial.params:
        return "–"
    value = trial.params[name]
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return shorten(text, CELL_WIDTH)
