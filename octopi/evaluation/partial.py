"""Scores where not every particle is annotated: precision is estimated through the share."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from octopi.evaluation.chances import AnnotatedShare, ComparedCandidates
from octopi.evaluation.reliability import reliability
from octopi.evaluation.score_report import Report, Score


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
        name: reliability(one.scores, one.hits, shares[name].share if name in shares else 1.0)
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
    if score.precision is None or score.recall is None:
        return score
    precision, *interval = (
        min(1.0, score.precision / max(value, 1e-6))
        for value in (share.share, share.high, share.low)
    )
    fbeta, f1 = (_fbeta(precision, score.recall, b) for b in (beta, 1.0))
    low, high = (_fbeta(value, score.recall, beta) for value in interval)
    f1_low, f1_high = (_fbeta(value, score.recall, 1.0) for value in interval)
    intervals = {
        **score.intervals,
        "precision": (interval[0], interval[1]),
        "f1": (f1_low, f1_high),
    }
    return dataclasses.replace(
        score,
        precision=precision,
        fbeta=fbeta,
        f1=f1,
        interval=(low, high),
        intervals=intervals,
        annotated_share=(share.share, share.low, share.high),
    )


def _fbeta(precision: float, recall: float, beta: float) -> float:
    """Combine precision and recall."""
    if not precision or not recall:
        return 0.0
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)
