"""What the page knows of each run: candidates that are found or not, particles, pictures."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.evaluation.score_report import Report
from octopi.evaluation.scores import Scorer
from octopi.geometry import Grid, Points
from octopi.html_report import mosaics
from octopi.html_report.mosaics import Mosaic
from octopi.project import PickableObject
from octopi.project.score_map import ScoreMap, particle_channels

MOST_CROPS = 6000  # pictures of particles on a page
BASE64 = 4 / 3


@dataclass(frozen=True)
class ShownRun:
    """A run on the page.

    Args:
        name: of the run.
        part: what the run was to the network, in words.
        in_totals: whether its counts belong into those of all runs.
        candidates: object name -> scored candidates, down to low scores.
        truth: object name -> particles; empty where nobody picked.
        scores: reads the score map, where there is one.
    """

    name: str
    part: str
    in_totals: bool
    candidates: Mapping[str, Points]
    truth: Mapping[str, Points]
    scores: Callable[[], ScoreMap] | None

    @property
    def has_truth(self) -> bool:
        """Whether there is truth to judge its picks by."""
        return any(map(len, self.truth.values()))

    def ranked(self, name: str) -> Points:
        """The candidates of an object, best first; those without scores are certain."""
        points = self.candidates.get(name, Points.empty())
        scores = np.ones(len(points), np.float32) if points.scores is None else points.scores
        order = np.argsort(-scores, kind="stable")
        return Points(points.positions[order], scores[order])


@dataclass(frozen=True)
class Objects:
    """The objects of the page, in its order.

    Args:
        radii: name -> Å.
        weights: name -> share in the total.
        thresholds: β -> name -> the threshold chosen for it; may be empty.
        initial_thresholds: name -> the threshold the page begins with.
        known: what the project says of each.
    """

    radii: Mapping[str, float]
    weights: Mapping[str, float]
    thresholds: Mapping[str, Mapping[str, float]]
    initial_thresholds: Mapping[str, float]
    known: Mapping[str, PickableObject]

    def to_list(self, tolerance_scale: float) -> list[dict[str, Any]]:
        """The objects as the page reads them."""
        return [
            {
                "name": name,
                "color": list(self.known[name].color[:3]),
                "radius": radius,
                "tolerance": tolerance_scale * radius,
                "weight": self.weights[name],
                "chosen": self.initial_thresholds[name],
                "thresholds": {
                    beta: thresholds[name]
                    for beta, thresholds in self.thresholds.items()
                    if name in thresholds
                },
            }
            for name, radius in self.radii.items()
        ]


def report_of(runs: list[ShownRun], objects: Objects, scorer: Scorer) -> Report | None:
    """Octopi's own scores at the chosen thresholds, of all runs that count; None without truth."""
    judged = [run for run in runs if run.has_truth and run.in_totals]
    if not judged:
        return None
    picks = {
        run.name: {n: run.ranked(n).above(objects.initial_thresholds[n]) for n in objects.radii}
        for run in judged
    }
    truth = {run.name: run.truth for run in judged}
    return scorer(picks, truth, radii=objects.radii, weights=objects.weights)


def pick_arrays(run: ShownRun, objects: Objects, scorer: Scorer) -> list[dict[str, Any]]:
    """Candidates and particles of each object, and which finds which at every threshold.

    A particle is found from its finder on when the threshold falls, so the page need not match.
    """
    out = []
    for name, radius in objects.radii.items():
        found = run.ranked(name)
        there = run.truth.get(name, Points.empty())
        assert found.scores is not None
        finders = scorer.finders(found.positions, there.positions, scorer.tolerance_scale * radius)
        gains = np.bincount(finders[finders >= 0], minlength=len(found))
        out.append(
            {
                "positions": to_base64(found.positions.astype(np.float32)),
                "scores": to_base64(found.scores),
                "gains": to_base64(gains.astype(np.uint8)),
                "truth": to_base64(there.positions.astype(np.float32)),
                "finders": to_base64(finders.astype(np.int32)),
            }
        )
    return out


def marks_size(run: ShownRun) -> int:
    """About how many bytes of the page the run's candidates and particles take."""
    found, there = (
        sum(map(len, points_by_object.values())) for points_by_object in (run.candidates, run.truth)
    )
    return round(BASE64 * (17 * found + 16 * there))


def to_base64(values: NDArray) -> str:
    """The numbers' bytes, smallest first, in letters."""
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return base64.b64encode(little.tobytes()).decode()


def run_pictures(
    run: ShownRun,
    objects: Objects,
    tomogram: NDArray[np.float32],
    grid: Grid,
    *,
    max_bytes: float,
    num_runs: int,
) -> tuple[dict[str, Any], Mosaic]:
    """The run's pictures as the page reads them, within the bytes, and that of the tomogram."""
    most = max(8, MOST_CROPS // (2 * num_runs * len(objects.radii)))
    crops = []
    for name, radius in objects.radii.items():
        found = run.ranked(name)[:most]
        there = run.truth.get(name, Points.empty())[:most]
        both = Points(np.concatenate([found.positions, there.positions]))
        crops.append(
            {
                **mosaics.particle_gallery(tomogram, grid, both, radius=radius),
                "candidates": len(found),
                "truth": len(there),
            }
        )
    scores = None
    if run.scores is not None:
        score_map = run.scores()
        known = {n: r for n, r in objects.radii.items() if n in score_map.info.objects}
        numbers = [list(objects.radii).index(name) for name in known]
        scores = mosaics.score_mosaic(
            particle_channels(score_map, known), score_map.grid, numbers
        ).to_dict()
    used = sum(len(crop["picture"] or "") for crop in crops)
    used += len(scores["picture"]) if scores else 0
    left = max((max_bytes - used) / BASE64, 0.2 * max_bytes / BASE64)
    shown = mosaics.tomogram_mosaic(tomogram, grid, max_bytes=int(left))
    return {"volume": shown.to_dict(), "scores": scores, "crops": crops}, shown
