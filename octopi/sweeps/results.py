"""The results of a search, as its tables and pictures share them."""

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

from octopi.system.job_folder import trial_name

MAX_LENGTH = 24  # characters of a choice that are shown
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
TOP = 5  # trials that importance calls good, where there are enough


@dataclass(frozen=True)
class Objective:
    """What a search makes best; `index` is its place among a trial's values."""

    index: int
    name: str
    maximize: bool

    @property
    def direction(self) -> str:
        """As Optuna says it."""
        return "maximize" if self.maximize else "minimize"

    @property
    def arrow(self) -> str:
        """Its name and which way is better."""
        return f"{self.name} {'↑' if self.maximize else '↓'}"

    def value_of(self, trial: FrozenTrial) -> float:
        """Return its value in a complete trial."""
        return trial.values[self.index]

    def loss(self, trial: FrozenTrial) -> float:
        """Return its value, turned so that less is better."""
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
        """The complete trials whose values can be drawn and compared."""
        done = self.in_state(TrialState.COMPLETE)
        return [trial for trial in done if all(map(math.isfinite, trial.values))]

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        """The complete trials, best in the first objective first."""
        return sorted(self.complete, key=lambda t: (self.objectives[0].loss(t), t.number))

    @cached_property
    def pareto_front(self) -> list[FrozenTrial]:
        """The complete trials that none beats in every objective, best in the first one first."""
        losses = {t.number: [o.loss(t) for o in self.objectives] for t in self.complete}
        return [
            trial
            for trial in self.ranked
            if not any(_beats(other, losses[trial.number]) for other in losses.values())
        ]

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
        """What importance is measured with: which parameters good trials have in common."""
        part = min(0.5, max(0.1, TOP / len(self.complete)))
        return PedAnovaImportanceEvaluator(target_quantile=part)

    @cached_property
    def judged(self) -> list[str]:
        """The parameters of enough trials: of the others chance decides what they seem to do."""
        counts = Counter(name for trial in self.complete for name in trial.params)
        enough = min(len(self.complete), 2 * TOP)
        return [name for name, count in counts.items() if count >= enough]

    @cached_property
    def importances(self) -> list[dict[str, float]]:
        """For each objective, the part of each parameter in reaching good values.

        Empty where the complete trials are too few or too alike to say.
        """
        if len(self.complete) < 2 or len({str(t.params) for t in self.complete}) < 2:
            return []
        if any(len({o.value_of(t) for t in self.complete}) < 2 for o in self.objectives):
            return []
        out = [self._importances(objective) for objective in self.objectives]
        return out if any(out) else []

    def _importances(self, objective: Objective) -> dict[str, float]:
        with warnings.catch_warnings():
            # It reminds of what `loss` sees to: less has to be better.
            warnings.filterwarnings("ignore", message="PedAnova.* low `target` values")
            warnings.filterwarnings("ignore", message="Target and region quantiles select")
            parts = get_param_importances(
                self.study, evaluator=self.evaluator, params=self.judged, target=objective.loss
            )
        return parts if len(set(parts.values())) > 1 or len(parts) == 1 else {}


def plain_study(results: StudyResults) -> Study:
    """Copy a study for pictures: short names and choices, and only values that are finite.

    Parameters are copied of the complete trials alone.
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
    """Write each choice of a parameter; nothing where all are numbers, which have an order."""
    choices = {
        repr(choice): choice
        for trial in trials
        if isinstance(distribution := trial.distributions.get(name), CategoricalDistribution)
        for choice in distribution.choices
    }
    if all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices.values()):
        return {}
    return dict(zip(choices, shorten_distinctly(map(str, choices.values())), strict=True))


def folder_of(trial: FrozenTrial) -> str:
    """Return the name of a trial's folder within that of the search."""
    return str(trial.user_attrs.get("folder", trial_name(trial.number)))


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Find the shortest dotted end of each name that no other name has."""
    names = list(names)
    out = {}
    for name in names:
        parts = name.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
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


def shorten(text: str, length: int = MAX_LENGTH) -> str:
    """Cut a text in its middle where it is longer than that."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def _beats(one: list[float], other: list[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
