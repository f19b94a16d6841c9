"""Metrics of a validation by name, from voxels and from picks.

Names: `avg_f1`, `avg_recall`, `avg_precision`, `fBeta2` (any β), each over all objects, and
`f1_ribosome`, `fBeta4_ribosome` … for one; `object_fbeta`, `object_f1`, `object_fbeta_ribosome` …
for picks matched with truth. A metric of an object without truth is None: n/a.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from octopi.errors import SettingError, did_you_mean
from octopi.evaluation.scores import compute_figures, fbeta
from octopi.targets import UNKNOWN, marks_outside

_VOXEL = ("f1", "recall", "precision")
_OBJECT = ("object_fbeta", "object_f1", "object_recall", "object_precision")
_FBETA = re.compile(r"fBeta(\d+(?:\.\d+)?)(?:_(.+))?$")


def count_voxels(
    segmentation: NDArray, target: NDArray, labels: Mapping[str, int]
) -> NDArray[np.int64]:
    """Count the voxels of every object in one tomogram; leave out those that are unknown.

    Rejected places are background; outside of what is annotated, for their own object alone.

    Returns:
        True positives, false positives and false negatives (objects, 3), in the order of `labels`.
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
    rows = list(labels.values())
    tp, predicted, true = pairs[rows, rows], pairs[:size, rows].sum(axis=0), pairs[rows].sum(axis=1)
    return np.stack([tp, predicted - tp, true - tp], axis=-1)


def voxel_metrics(
    counts: NDArray[np.int64], object_names: Sequence[str]
) -> dict[str, float | None]:
    """Return recall, precision and F1 of every object, and their means over those with truth.

    Args:
        counts: as `count_voxels` returns them.
        object_names: of the objects, in the order of the counts.
    """
    figures = compute_figures(counts, beta=1)
    out: dict[str, float | None] = {}
    for statistic in _VOXEL:
        out[f"avg_{statistic}"] = _mean(figures[statistic])
        for name, value in zip(object_names, figures[statistic], strict=True):
            out[f"{statistic}_{name}"] = _mean(value)
    return out


def _mean(values: NDArray[np.float64]) -> float | None:
    """Average the values that are numbers; None without any."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else None


def metric_value(
    name: str,
    counts: NDArray[np.int64],
    object_names: Sequence[str],
    metrics: Mapping[str, float | None],
) -> float | None:
    """Return the value of a metric that `check_metric` accepted.

    Args:
        name: of the metric.
        counts: as `count_voxels` returns them.
        object_names: of the objects, in the order of the counts.
        metrics: that were computed already, by name.
    """
    if match := _FBETA.match(name):
        of_objects = [object_names.index(match[2])] if match[2] else slice(None)
        return _mean(fbeta(counts[of_objects], float(match[1])))
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
