"""The score report: counts and figures per object and in all, as JSON and as a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.reliability import Reliability
from octopi.system.tables import format_rows

Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """Counts and figures of one object in all runs together; None = n/a, without truth.

    Args:
        tp: particles found.
        fp: picks that found none.
        fn: particles not found.
        precision: 0..1.
        recall: 0..1.
        fbeta: 0..1.
        f1: 0..1.
        interval: of F-beta, 95 %, over resampled runs; None for a single run.
        weight: of the object in the total.
        intervals: the same of precision, recall and F1, by name; empty for a single run.
        annotated_share: of the object's particles, with its 95 % interval, where precision, F-beta
            and F1 are estimates through it; None where every particle is annotated.
    """

    tp: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None
    fbeta: float | None
    f1: float | None
    interval: Interval | None
    weight: float
    intervals: dict[str, Interval]
    annotated_share: AnnotatedShare | None = None


@dataclass(frozen=True)
class Report:
    """The result of a scorer.

    Args:
        beta: recall weighs β² times precision.
        scores: object name -> score.
        total: weighted mean F-beta of the objects with truth.
        interval: of the total, 95 %, over resampled runs; None for a single run.
        mean_f1: unweighted mean F1 of the objects with truth.
        mean_f1_interval: as `interval`, of mean_f1.
        runs: run name -> object name -> (tp, fp, fn).
        curves: object name -> precision, recall and F-beta at every threshold.
        reliability: object name -> the scores of picks beside how many of them are right.
        expected_particles: object name -> how many its picks say there are; None if they do not.
    """

    beta: float
    scores: dict[str, Score]
    total: float | None
    interval: Interval | None
    mean_f1: float | None
    mean_f1_interval: Interval | None
    runs: dict[str, dict[str, tuple[int, int, int]]]
    curves: dict[str, dict[str, list[float]]]
    reliability: dict[str, Reliability] = field(default_factory=dict)
    expected_particles: dict[str, float | None] = field(default_factory=dict)

    @property
    def num_runs(self) -> int:
        """The number of runs that were scored."""
        return len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Convert the report to types that JSON has; None = n/a."""
        return asdict(self) | {"num_runs": self.num_runs}

    def table(self) -> str:
        """Format the report as aligned text."""
        figures = ["precision", "recall", f"F{self.beta:g}", "F1", "95 % interval"]
        head = ["object", "weight", "tp", "fp", "fn", *figures]
        head += ["score error", "expected"] if self.reliability else []
        rows = [
            [name, *_cells(score), *self._reliability_cells(name)]
            for name, score in self.scores.items()
        ]
        mark = "~" if any(map(_mark, self.scores.values())) else ""
        totals = [mark + format_figure(value) for value in (self.total, self.mean_f1)]
        rows.append(["weighted total", *[""] * 6, *totals, format_interval(self.interval)])
        return format_rows(head, rows)

    def _reliability_cells(self, name: str) -> list[str]:
        """Format an object's calibration error and expected number of particles."""
        if name not in self.reliability:
            return []
        expected = self.expected_particles.get(name)
        return [
            _mark(self.scores[name]) + format_figure(self.reliability[name].error),
            "n/a" if expected is None else f"{expected:.0f}",
        ]


def _mark(score: Score) -> str:
    """Return the mark of an object's score: ~ where it is an estimate."""
    return "" if score.annotated_share is None else "~"


def _cells(score: Score) -> list[str]:
    """Format one object's score, in the order of the table's columns; ~ marks an estimate."""
    mark = _mark(score)
    precision, recall, *both = map(
        format_figure, (score.precision, score.recall, score.fbeta, score.f1)
    )
    return [
        f"{score.weight:g}",
        *map(str, (score.tp, score.fp, score.fn)),
        mark + precision,
        recall,
        *(mark + figure for figure in both),
        mark + format_interval(score.interval),
    ]


def format_figure(value: float | None) -> str:
    """Format a score for a table, also one that is missing."""
    return "n/a" if value is None else f"{value:.3f}"


def format_interval(interval: Sequence[float] | None) -> str:
    """Format a confidence interval for a table; a missing one is left out."""
    return "" if interval is None else f"{interval[0]:.3f} … {interval[1]:.3f}"
