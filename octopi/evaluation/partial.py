"""Scores where not every particle is annotated: precision is estimated through the share."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.matching import ComparedCandidates
from octopi.evaluation.reliability import reliability
from octopi.evaluation.score_report import Report, Score
from octopi.evaluation.scores import compute_figures


def with_shares(
    report: Report,
    annotated: Mapping[str, ComparedCandidates],
    shares: Mapping[str, AnnotatedShare],
) -> Report:
    """Add how reliable the picks' scores are; estimate the scores of partially annotated objects.

    Args:
        report: of picks against what is annotated.
        annotated: object name -> its picks compared with what is annotated.
        shares: object name -> share of its particles that is annotated; none where all are.
    """
    by_object = {
        name: reliability(one.scores, one.hits, shares[name][0] if name in shares else 1.0)
        for name, one in annotated.items()
        if len(one.scores) and one.scores.min() >= 0 and one.scores.max() <= 1  # else no chances
    }
    return dataclasses.replace(estimate_scores(report, shares), reliability=by_object)


def estimate_scores(report: Report, shares: Mapping[str, AnnotatedShare]) -> Report:
    """Replace precision, F-beta and F1 of some objects by estimates; recall stays as it is.

    Of the picks that are particles only the annotated share can be matched, so the part that is
    matched is divided by the share. The intervals are those of the share.

    Args:
        report: of picks against what is annotated.
        shares: object name -> share of its particles that is annotated; without any, the report
            stays as it is.
    """
    if not shares:
        return report
    scores = {
        name: _estimate(score, shares[name], report.beta) if name in shares else score
        for name, score in report.scores.items()
    }
    with_truth = [score for score in scores.values() if score.fbeta is not None]
    weights = np.array([score.weight for score in with_truth])
    total = report.total
    if weights.sum() > 0:
        total = float(np.average([s.fbeta for s in with_truth], weights=weights))  # type: ignore[arg-type]
    mean_f1 = float(np.mean([s.f1 for s in with_truth])) if with_truth else report.mean_f1  # type: ignore[arg-type]
    return dataclasses.replace(
        report, scores=scores, total=total, interval=None, mean_f1=mean_f1, mean_f1_interval=None
    )


def _estimate(score: Score, share: AnnotatedShare, beta: float) -> Score:
    """Return the score of an object with estimates; the same where nothing is annotated."""
    if score.precision is None:
        return score
    # Of the right picks only the annotated share is matched; all counts are scaled by the share.
    counts = [(score.tp, max(s * (score.tp + score.fp) - score.tp, 0), score.fn) for s in share]
    figures = compute_figures(np.array(counts), beta)
    estimates = {name: float(values[0]) for name, values in figures.items()}
    intervals = {name: (float(values[2]), float(values[1])) for name, values in figures.items()}
    return dataclasses.replace(
        score,
        precision=estimates["precision"],
        fbeta=estimates["fbeta"],
        f1=estimates["f1"],
        interval=intervals["fbeta"],
        intervals={**score.intervals, "precision": intervals["precision"], "f1": intervals["f1"]},
        annotated_share=share,
    )
