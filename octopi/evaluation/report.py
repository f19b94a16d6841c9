"""What a scorer says: counts and figures per object and in all, as JSON and as a table."""

from dataclasses import asdict, dataclass
from typing import Any

Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """How one object was picked in all runs together; None = n/a, for want of truth.

    Args:
        interval: of F-beta, 95 %, over resampled runs; None for a single run.
        weight: share in the total.
        intervals: the same of precision, recall and F1, by name; empty for a single run.
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


@dataclass(frozen=True)
class Report:
    """What a scorer says.

    Args:
        scores: object name -> score.
        total: weighted mean F-beta of the objects with truth.
        interval: of the total, 95 %, over resampled runs; None for a single run.
        mean_f1: unweighted mean F1 of the objects with truth.
        mean_f1_interval: as `interval`, of mean_f1.
        runs: run name -> object name -> (tp, fp, fn).
        curves: object name -> precision, recall and F-beta at every threshold.
    """

    beta: float
    scores: dict[str, Score]
    total: float | None
    interval: Interval | None
    mean_f1: float | None
    mean_f1_interval: Interval | None
    runs: dict[str, dict[str, tuple[int, int, int]]]
    curves: dict[str, dict[str, list[float]]]

    @property
    def num_runs(self) -> int:
        """How many runs were judged."""
        return len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON knows it; None = n/a."""
        return asdict(self) | {"num_runs": self.num_runs}

    def table(self) -> str:
        """The report as aligned text."""
        width = max([*map(len, self.scores), len("weighted total")])
        head = (
            f"{'object':<{width}}  weight    tp    fp    fn  precision  recall"
            f"  {f'F{self.beta:g}':>6}      F1  95 % interval"
        )
        lines = [head, *(_row(name, s, width) for name, s in self.scores.items())]
        lines.append(
            f"{'weighted total':<{width}}{'':47}{_number(self.total):>6}{_number(self.mean_f1):>8}"
            f"  {_between(self.interval)}"
        )
        return "\n".join(lines)


def _row(name: str, s: Score, width: int) -> str:
    return (
        f"{name:<{width}}  {s.weight:>6g} {s.tp:>5} {s.fp:>5} {s.fn:>5}  {_number(s.precision):>9}"
        f"  {_number(s.recall):>6}  {_number(s.fbeta):>6}  {_number(s.f1):>6}  "
        f"{_between(s.interval)}"
    )


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _between(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} … {interval[1]:.3f}"
