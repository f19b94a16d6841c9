"""Describe the runs of a report: candidates, particles and pictures, as the page reads them."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octopi.evaluation.calibration import compare_all
from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.matching import count_new_hits
from octopi.evaluation.partial import with_shares
from octopi.evaluation.score_report import Report
from octopi.evaluation.scores import Scorer
from octopi.geometry import Grid, Points
from octopi.html_report import mosaics
from octopi.html_report.mosaics import Mosaic
from octopi.project.objects import PickableObject
from octopi.project.run_scores import ScoreMap, particle_channels

MAX_CROPS = 6000  # pictures of particles on a page
MIN_CROPS = 8  # of an object in a run, candidates and particles each
MIN_TOMOGRAM_SHARE = 0.2  # of a run's bytes, however many its other pictures take
BYTES_IN_BASE64 = 4 / 3  # characters for each byte
CANDIDATE_BYTES, PARTICLE_BYTES = 17, 16  # in the arrays of pick_arrays


@dataclass(frozen=True)
class ShownRun:
    """A run on the page.

    Args:
        name: of the run.
        role: of the run in the training of the network that scored it, as the page shows it.
        in_totals: whether its counts belong into those of all runs.
        candidates: object name -> scored candidates, down to low scores.
        truth: object name -> true particles; empty where there are none.
        read_scores: reads the score map; None without one.
    """

    name: str
    role: str
    in_totals: bool
    candidates: Mapping[str, Points]
    truth: Mapping[str, Points]
    read_scores: Callable[[], ScoreMap] | None

    @property
    def has_truth(self) -> bool:
        """Whether there are true particles to score its picks with."""
        return any(map(len, self.truth.values()))

    def ranked(self, name: str) -> Points:
        """Return an object's candidates, best first; those without scores get the score 1."""
        points = self.candidates.get(name, Points.empty())
        scores = points.scores_or_ones
        order = np.argsort(-scores, kind="stable")
        return Points(points.positions[order], scores[order])


@dataclass(frozen=True)
class Objects:
    """The objects of the page, in its order.

    Args:
        radii: name -> Å.
        thresholds: key of a β -> name -> the threshold calibrated for it; may be empty.
        initial_thresholds: name -> the threshold the page begins with.
        in_project: name -> the project's description of the object.
    """

    radii: Mapping[str, float]
    thresholds: Mapping[str, Mapping[str, float]]
    initial_thresholds: Mapping[str, float]
    in_project: Mapping[str, PickableObject]

    def to_list(self, tolerance_scale: float) -> list[dict[str, Any]]:
        """Convert to what the page's script reads."""
        return [
            {
                "name": name,
                "color": list(self.in_project[name].color[:3]),
                "radius": radius,
                "tolerance": tolerance_scale * radius,
                "weight": self.in_project[name].weight,
                "initialThreshold": self.initial_thresholds[name],
                "thresholds": {
                    beta: thresholds[name]
                    for beta, thresholds in self.thresholds.items()
                    if name in thresholds
                },
            }
            for name, radius in self.radii.items()
        ]


def score_runs(
    runs: Sequence[ShownRun],
    objects: Objects,
    scorer: Scorer,
    shares: Mapping[str, AnnotatedShare],
) -> Report | None:
    """Score all runs in the totals at the initial thresholds; return None without truth.

    Args:
        runs: of the page.
        objects: of the page.
        scorer: matches picks to particles.
        shares: object name -> share of its particles that is annotated, of those that are
            partially; their scores are estimates.
    """
    scored = [run for run in runs if run.has_truth and run.in_totals]
    if not scored:
        return None
    picks = {
        run.name: {n: run.ranked(n).above(objects.initial_thresholds[n]) for n in objects.radii}
        for run in scored
    }
    truth = {run.name: run.truth for run in scored}
    weights = {name: objects.in_project[name].weight for name in objects.radii}
    report = scorer(picks, truth, radii=objects.radii, weights=weights)
    annotated = compare_all(
        picks, truth, radii=objects.radii, tolerance_scale=scorer.tolerance_scale
    )
    return with_shares(report, annotated, shares)


def pick_arrays(run: ShownRun, objects: Objects, scorer: Scorer) -> list[dict[str, Any]]:
    """Encode candidates and particles of each object, and which candidate finds which particle.

    A particle is found at every threshold up to the score of its finder, the first candidate with
    which it joins the matching, so that the page's script need not match.
    """
    arrays = []
    for name, radius in objects.radii.items():
        candidates = run.ranked(name)
        particles = run.truth.get(name, Points.empty())
        assert candidates.scores is not None
        finders = scorer.first_hits(
            candidates.positions, particles.positions, scorer.tolerance_scale * radius
        )
        gains = count_new_hits(finders, len(candidates))
        arrays.append(
            {
                "positions": to_base64(candidates.positions.astype(np.float32)),
                "scores": to_base64(candidates.scores),
                "gains": to_base64(gains.astype(np.uint8)),
                "truth": to_base64(particles.positions.astype(np.float32)),
                "finders": to_base64(finders.astype(np.int32)),
            }
        )
    return arrays


def size_of_arrays(run: ShownRun) -> int:
    """Estimate the bytes of the page that the run's candidates and particles take."""
    num_candidates, num_particles = (
        sum(map(len, points.values())) for points in (run.candidates, run.truth)
    )
    num_bytes = CANDIDATE_BYTES * num_candidates + PARTICLE_BYTES * num_particles
    return round(BYTES_IN_BASE64 * num_bytes)


def to_base64(values: NDArray) -> str:
    """Encode the numbers' bytes, little-endian, in letters."""
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return base64.b64encode(little.tobytes()).decode()


def render_pictures(
    run: ShownRun,
    objects: Objects,
    tomogram: NDArray[np.float32],
    grid: Grid,
    *,
    max_bytes: float,
    num_runs: int,
) -> tuple[dict[str, Any], Mosaic]:
    """Render the run's pictures as the page reads them, within so many bytes.

    Args:
        run: whose candidates and particles.
        objects: of the page.
        tomogram: (z, y, x).
        grid: of the tomogram.
        max_bytes: of all pictures together, in base64.
        num_runs: that share the pictures of particles.

    Returns:
        The block of the page, and the mosaic of the tomogram in it.
    """
    max_crops = max(MIN_CROPS, MAX_CROPS // (2 * num_runs * len(objects.radii)))
    crops = []
    for name, radius in objects.radii.items():
        candidates = run.ranked(name)[:max_crops]
        particles = run.truth.get(name, Points.empty())[:max_crops]
        both = Points(np.concatenate([candidates.positions, particles.positions]))
        gallery = mosaics.particle_gallery(tomogram, grid, both, radius=radius)
        crops.append({**gallery, "candidates": len(candidates), "truth": len(particles)})
    scores = None if run.read_scores is None else _render_scores(run.read_scores(), objects)
    used = sum(len(crop["picture"] or "") for crop in crops)
    used += len(scores["picture"]) if scores else 0
    available = max(max_bytes - used, MIN_TOMOGRAM_SHARE * max_bytes)
    shown = mosaics.tomogram_mosaic(tomogram, grid, max_bytes=int(available / BYTES_IN_BASE64))
    return {"volume": shown.to_dict(), "scores": scores, "crops": crops}, shown


def _render_scores(score_map: ScoreMap, objects: Objects) -> dict[str, Any]:
    """Render the score map's objects that are on the page."""
    radii = {n: r for n, r in objects.radii.items() if n in score_map.info.objects}
    numbers = [list(objects.radii).index(name) for name in radii]
    channels = particle_channels(score_map, radii)
    return mosaics.score_mosaic(channels, score_map.grid, numbers).to_dict()
