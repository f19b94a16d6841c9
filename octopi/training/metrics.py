"""Metrics of a validation by name, from voxels and from picks.

Names: `avg_f1`, `avg_recall`, `avg_precision`, `fBeta2` (any β), each over all objects, and
`f1_ribosome`, `fBeta4_ribosome` … for one; `object_fbeta`, `object_f1`, `object_fbeta_ribosome` …
for picks matched with truth. A metric of an object without truth is None: n/a.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from octopi.errors import SettingError, did_you_mean
from octopi.targets import UNKNOWN, marks_outside

_VOXEL = ("f1", "recall", "precision")
_OBJECT = ("object_fbeta", "object_f1", "object_recall", "object_precision")
_FBETA = re.compile(r"fBeta(\d+(?:\.\d+)?)(?:_(.+))?$")


@dataclass(frozen=True)
class Counts:
    """Voxels of one object: true positives, false positives, false negatives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Add the counts."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def fbeta(self, beta: float) -> float | None:
        """Return F-beta; None where the object is absent from the truth."""
        if self.tp + self.fn == 0:
            return None
        b2 = beta * beta
        return (1 + b2) * self.tp / ((1 + b2) * self.tp + b2 * self.fn + self.fp)

    @property
    def recall(self) -> float | None:
        """The part of the true voxels that was predicted; None without truth."""
        return self.fbeta(float("1e6")) if self.tp + self.fn else None

    @property
    def precision(self) -> float | None:
        """The part of the predicted voxels that is true; 0 without any, None without truth."""
        if self.tp + self.fn == 0:
            return None
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else 0.0


def count_voxels(
    segmentation: NDArray, target: NDArray, labels: Mapping[str, int]
) -> dict[str, Counts]:
    """Count the voxels of every object in one tomogram; leave out those that are unknown.

    Rejected places are background; outside of what is annotated, for their own object alone.
    """
    size = max(labels.values()) + 1
    pairs = np.bincount(
        target.ravel().astype(np.intp) * size + segmentation.ravel(),
        minlength=(UNKNOWN + 1) * size,
    ).reshape(-1, size)
    for name, mark in marks_outside(labels).items():
        pairs[0, labels[name]] += pairs[mark, labels[name]]
        pairs[mark] = 0
    pairs[0] += pairs[size:UNKNOWN].sum(axis=0)
    return {
        name: Counts(
            tp=int(pairs[label, label]),
            fp=int(pairs[:size, label].sum() - pairs[label, label]),
            fn=int(pairs[label, :].sum() - pairs[label, label]),
        )
        for name, label in labels.items()
    }


def voxel_metrics(counts: Mapping[str, Counts]) -> dict[str, float | None]:
    """Return recall, precision and F1 of every object, and their means over those with truth."""
    out: dict[str, float | None] = {}
    for statistic in _VOXEL:
        values = {name: _statistic(c, statistic) for name, c in counts.items()}
        out[f"avg_{statistic}"] = _mean(values.values())
        out.update({f"{statistic}_{name}": value for name, value in values.items()})
    return out


def _statistic(counts: Counts, statistic: str) -> float | None:
    return counts.fbeta(1) if statistic == "f1" else getattr(counts, statistic)


def _mean(values: Iterable[float | None]) -> float | None:
    present = [v for v in values if v is not None]
    return float(np.mean(present)) if present else None


def metric_value(
    name: str, counts: Mapping[str, Counts], metrics: Mapping[str, float | None]
) -> float | None:
    """Return the value of a metric that `check_metric` accepted.

    Args:
        name: of the metric.
        counts: of voxels, by object.
        metrics: that were computed already, by name.
    """
    if match := _FBETA.match(name):
        beta, single = float(match[1]), match[2]
        if single:
            return counts[single].fbeta(beta)
        return _mean([c.fbeta(beta) for c in counts.values()])
    return metrics.get(name)


def check_metric(name: str, object_names: Sequence[str]) -> None:
    """Raise SettingError, listing the names, unless the metric exists."""
    match = _FBETA.match(name)
    if match and (match[2] is None or match[2] in object_names):
        return
    names = [f"avg_{s}" for s in _VOXEL] + ["fBeta2", "fBeta0.5", *_OBJECT]
    for statistic in (*_VOXEL, "fBeta4", *_OBJECT):
        names += [f"{statistic}_{object_name}" for object_name in object_names]
    if name not in names:
        raise SettingError(
            f"There is no metric {name}.{did_you_mean(name, names)} Known: "
            f"{', '.join(k for k in names if not k.endswith(tuple(object_names)))}, each but avg_… "
            f"also for one object ('f1_{object_names[0]}'); fBeta takes any β. "
            f"Objects: {', '.join(object_names)}."
        )
