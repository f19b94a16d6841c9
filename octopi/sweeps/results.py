"""The results of a search, for its table and its pictures."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from octopi.errors import shorten

MAX_LENGTH = 24  # characters of a choice in a picture
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
NUM_GOOD = 5  # trials that importance takes for good, where there are enough


@dataclass(frozen=True)
class Objective:
    """A metric or cost that a search optimises; `index` is that of its value in a trial."""

    index: int
    name: str
    maximize: bool

    @property
    def direction(self) -> str:
        """In Optuna's words."""
        return "maximize" if self.maximize else "minimize"

    @property
    def arrow(self) -> str:
        """The name with an arrow in the direction of better values."""
        return f"{self.name} {'↑' if self.maximize else '↓'}"

    def value_of(self, trial: FrozenTrial) -> float:
        """Return its value in a complete trial."""
        return trial.values[self.index]

    def loss(self, trial: FrozenTrial) -> float:
        """Return its value in a complete trial, with the sign with which less is better."""
        return -self.value_of(trial) if self.maximize else self.value_of(trial)


class StudyResults:
    """The results of a study, read once.

    Args:
        study: the search.
        objectives: their names, as many as the study has directions.
    """

    def __init__(self, study: Study, objectives: Sequence[str]) -> None:
        self.study = study
        self.objectives = [
            Objective(index, name, direction is StudyDirection.MAXIMIZE)
            for index, (name, direction) in enumerate(
                zip(objectives, study.directions, strict=True)
            )
        ]
        self.trials = study.get_trials(deepcopy=False)

    def in_state(self, state: TrialState) -> list[FrozenTrial]:
        """List the trials in a state."""
        return [trial for trial in self.trials if trial.state is state]

    @cached_property
    def complete(self) -> list[FrozenTrial]:
        """The complete trials whose values are finite."""
        done = self.in_state(TrialState.COMPLETE)
        return [trial for trial in done if all(map(math.isfinite, trial.values))]

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        """The complete trials, best in the first objective first."""
        return sorted(self.complete, key=lambda t: (self.objectives[0].loss(t), t.number))

    @cached_property
    def pareto_front(self) -> list[FrozenTrial]:
        """The complete trials that no other dominates, best in the first objective first."""
        front = {trial.number for trial in self.study.best_trials}
        return [trial for trial in self.ranked if trial.number in front]

    @cached_property
    def labels(self) -> dict[str, str]:
        """The short name of each parameter of a complete trial."""
        return short_names(dict.fromkeys(name for t in self.complete for name in t.params))

    @cached_property
    def varying(self) -> list[str]:
        """The parameters in which complete trials differ, the most important first."""
        values: dict[str, set[str]] = {}
        for trial in self.complete:
            for name, value in trial.params.items():
                values.setdefault(name, set()).add(repr(value))
        weight = self.importances[0] if self.importances else {}
        varying = [name for name in self.labels if len(values[name]) > 1]
        return sorted(varying, key=lambda name: -weight.get(name, 0.0))

    @property
    def evaluator(self) -> PedAnovaImportanceEvaluator:
        """Optuna's measure of importance: which values of a parameter good trials share."""
        part = min(0.5, max(0.1, NUM_GOOD / len(self.complete)))
        return PedAnovaImportanceEvaluator(target_quantile=part)

    @cached_property
    def frequent_params(self) -> list[str]:
        """The parameters of enough trials that their importance is more than chance."""
        counts = Counter(name for trial in self.complete for name in trial.params)
        needed = min(len(self.complete), 2 * NUM_GOOD)
        return [name for name, count in counts.items() if count >= needed]

    @cached_property
    def importances(self) -> list[dict[str, float]]:
        """For each objective, parameter -> importance.

        Empty where the complete trials are too few or too similar.
        """
        if len(self.complete) < 2 or len({str(t.params) for t in self.complete}) < 2:
            return []
        if any(len({o.value_of(t) for t in self.complete}) < 2 for o in self.objectives):
            return []
        out = [self._importances(objective) for objective in self.objectives]
        return out if any(out) else []

    def _importances(self, objective: Objective) -> dict[str, float]:
        with warnings.catch_warnings():
            # It warns that less has to be better, which `loss` ensures.
            warnings.filterwarnings("ignore", message="PedAnova.* low `target` values")
            warnings.filterwarnings("ignore", message="Target and region quantiles select")
            parts = get_param_importances(
                self.study,
                evaluator=self.evaluator,
                params=self.frequent_params,
                target=objective.loss,
            )
        return parts if len(set(parts.values())) > 1 or len(parts) == 1 else {}


def plain_study(results: StudyResults) -> Study:
    """Copy a study for pictures, with short names and choices, and without infinite values.

    Trials that are not complete are copied without their parameters.
    """
    study = optuna.create_study(directions=results.study.directions)
    if len(results.objectives) > 1:
        study.set_metric_names([objective.arrow for objective in results.objectives])
    complete = {trial.number for trial in results.complete}
    texts = {name: _choice_texts(results.complete, name) for name in results.labels}
    for trial in results.trials:
        steps = {s: v for s, v in trial.intermediate_values.items() if math.isfinite(v)}
        if trial.number not in complete:
            state = TrialState.FAIL if trial.state is TrialState.COMPLETE else trial.state
            study.add_trial(create_trial(state=state, intermediate_values=steps))
            continue
        params: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        for name, value in trial.params.items():
            label, distribution = results.labels[name], trial.distributions[name]
            params[label], distributions[label] = value, distribution
            if isinstance(distribution, CategoricalDistribution) and texts[name]:
                params[label] = texts[name][repr(value)]
                distributions[label] = CategoricalDistribution(list(texts[name].values()))
        study.add_trial(
            create_trial(
                params=params,
                distributions=distributions,
                values=trial.values,
                intermediate_values=steps,
            )
        )
    return study


def _choice_texts(trials: Iterable[FrozenTrial], name: str) -> dict[str, str]:
    """Return the text of each choice of a parameter; none if all are numbers, which are sorted."""
    choices = {
        repr(choice): choice
        for trial in trials
        if isinstance(distribution := trial.distributions.get(name), CategoricalDistribution)
        for choice in distribution.choices
    }
    if all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices.values()):
        return {}
    return dict(zip(choices, shorten_distinctly(map(str, choices.values())), strict=True))


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Find the shortest dotted end of each name that no other name has."""
    names = list(names)
    out = {}
    for name in names:
        parts = name.split(".")
        ends = (".".join(parts[start:]) for start in reversed(range(len(parts))))
        out[name] = next(
            (e for e in ends if not any(o != name and f".{o}".endswith(f".{e}") for o in names)),
            name,
        )
    return out


def shorten_distinctly(texts: Iterable[str], length: int = MAX_LENGTH) -> list[str]:
    """Cut long texts in their middles where all stay different."""
    texts = list(texts)
    cut = [shorten(text, length) for text in texts]
    return [
        short if cut.count(short) == 1 else text for short, text in zip(cut, texts, strict=True)
    ]
