"""What a search has found so far, as the columns that its tables and pictures share."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

LABEL = 24  # characters of a choice that are shown
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

    def of(self, trial: FrozenTrial) -> float:
        """Its value in a complete trial."""
        return trial.values[self.index]

    def loss(self, trial: FrozenTrial) -> float:
        """Its value, turned so that less is better."""
        return -self.of(trial) if self.maximize else self.of(trial)


@dataclass(frozen=True)
class Parameter:
    """One parameter over the complete trials that have it.

    Args:
        name: as it is set on a command line.
        label: the shortest end of the name that is its own.
        log: whether it was drawn on a logarithmic scale.
        choices: how its choices are shown; None = a number.
        values: number of the trial -> its value, or the place of its choice.
    """

    name: str
    label: str
    log: bool
    choices: tuple[str, ...] | None
    values: dict[int, float]

    @property
    def varies(self) -> bool:
        """Whether the trials that have it differ in it."""
        return len(set(self.values.values())) > 1


@dataclass(frozen=True)
class Course:
    """What one trial reported while it ran; `state` is one of STATES."""

    number: int
    state: str
    steps: list[int]
    values: list[float]


class Findings:
    """A study, read once."""

    def __init__(self, study: Study, objectives: Sequence[str]) -> None:
        self.study = study
        self.objectives = [
            Objective(index, name, direction is StudyDirection.MAXIMIZE)
            for index, (name, direction) in enumerate(
                zip(objectives, study.directions, strict=True)
            )
        ]
        self.trials = study.get_trials(deepcopy=False)

    def of_state(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in one of the states."""
        return [trial for trial in self.trials if trial.state in states]

    @cached_property
    def complete(self) -> list[FrozenTrial]:
        """The complete trials whose values can be drawn and compared."""
        done = self.of_state(TrialState.COMPLETE)
        return [trial for trial in done if all(map(math.isfinite, trial.values))]

    @cached_property
    def ranked(self) -> list[FrozenTrial]:
        """The complete trials, best in the first objective first."""
        return sorted(self.complete, key=lambda t: (self.objectives[0].loss(t), t.number))

    @cached_property
    def front(self) -> list[FrozenTrial]:
        """The complete trials that none beats in every objective, best in the first one first."""
        losses = {t.number: [o.loss(t) for o in self.objectives] for t in self.complete}
        return [
            trial
            for trial in self.ranked
            if not any(_beats(other, losses[trial.number]) for other in losses.values())
        ]

    @cached_property
    def courses(self) -> list[Course]:
        """What trials of any state reported while they ran, without what is not a number."""
        out = []
        for trial in self.trials:
            known = {s: v for s, v in trial.intermediate_values.items() if math.isfinite(v)}
            steps = sorted(known)
            if steps and trial.state is not TrialState.WAITING:
                values = [known[step] for step in steps]
                out.append(Course(trial.number, STATES[trial.state], steps, values))
        return out

    @cached_property
    def labels(self) -> dict[str, str]:
        """The short name of each parameter of a complete trial."""
        return short_names(dict.fromkeys(name for t in self.complete for name in t.params))

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Those that vary among the complete trials, the most important first."""
        found = [self._parameter(name, label) for name, label in self.labels.items()]
        weight = self.importances[0] if self.importances else {}
        varying = [p for p in found if p.varies]
        return sorted(varying, key=lambda p: -weight.get(p.name, 0.0))

    def _parameter(self, name: str, label: str) -> Parameter:
        having = [trial for trial in self.complete if name in trial.params]
        given = {trial.number: trial.params[name] for trial in having}
        distributions = [trial.distributions[name] for trial in having]
        if not any(isinstance(d, CategoricalDistribution) for d in distributions):
            log = all(getattr(d, "log", False) for d in distributions)
            values = {number: float(value) for number, value in given.items()}
            return Parameter(name, label, log=log, choices=None, values=values)
        choices = _choices(distributions, given.values())
        places = {repr(choice): float(place) for place, choice in enumerate(choices)}
        values = {number: places[repr(value)] for number, value in given.items()}
        shown = tuple(distinct(map(str, choices)))
        return Parameter(name, label, log=False, choices=shown, values=values)

    @cached_property
    def importances(self) -> list[dict[str, float]]:
        """For each objective, the part of each parameter in reaching good values.

        Empty where the complete trials are too few or too alike to say.
        """
        if len(self.complete) < 2 or len({str(t.params) for t in self.complete}) < 2:
            return []
        if any(len({o.of(t) for t in self.complete}) < 2 for o in self.objectives):
            return []
        part = min(0.5, max(0.1, TOP / len(self.complete)))
        evaluator = PedAnovaImportanceEvaluator(target_quantile=part)
        held = Counter(name for trial in self.complete for name in trial.params)
        # Of a parameter that few trials have, chance decides what it seems to do.
        judged = [n for n, count in held.items() if count >= min(len(self.complete), 2 * TOP)]
        out = []
        for objective in self.objectives:
            with warnings.catch_warnings():
                # It reminds of what `loss` sees to: less has to be better.
                warnings.filterwarnings("ignore", message="PedAnova.* low `target` values")
                warnings.filterwarnings("ignore", message="Target and region quantiles select")
                found = get_param_importances(
                    self.study, evaluator=evaluator, params=judged, target=objective.loss
                )
            out.append(found if len(set(found.values())) > 1 or len(found) == 1 else {})
        return out if any(out) else []


def folder_of(trial: FrozenTrial) -> str:
    """The name of a trial's folder within that of the search."""
    return str(trial.user_attrs.get("folder", f"trial_{trial.number}"))


def short_names(names: Iterable[str]) -> dict[str, str]:
    """The shortest dotted end of each name that no other name has."""
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


def distinct(texts: Iterable[str], length: int = LABEL) -> list[str]:
    """The texts, long ones without their middles where all stay different."""
    texts = list(texts)
    cut = [shorten(text, length) for text in texts]
    return [
        short if cut.count(short) == 1 else text for short, text in zip(cut, texts, strict=True)
    ]


def shorten(text: str, length: int = LABEL) -> str:
    """The text without its middle where it is longer than that."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def _beats(one: list[float], other: list[float]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _choices(distributions: Iterable[BaseDistribution], given: Iterable[Any]) -> list[Any]:
    """The choices that trials made: numbers in their order, others as the space lists them."""
    listed = [
        choice
        for distribution in distributions
        if isinstance(distribution, CategoricalDistribution)
        for choice in distribution.choices
    ]
    made = set(map(repr, given))
    unique = {repr(choice): choice for choice in [*listed, *given] if repr(choice) in made}
    choices = list(unique.values())
    if all(isinstance(c, int | float) and not isinstance(c, bool) for c in choices):
        choices.sort()
    return choices
