"""Validation by the commands' own predictor, localizer and scorer."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from octopi.config.build import build
from octopi.config.overrides import shell_override
from octopi.config.settings import TrainSettings
from octopi.errors import SettingError
from octopi.evaluation.calibration import Calibration, calibrate
from octopi.evaluation.chances import AnnotatedShare
from octopi.evaluation.coverage import keep_comparable
from octopi.evaluation.score_report import Report
from octopi.evaluation.scores import Scorer
from octopi.evaluation.share_report import advise_partial, count_annotated, describe_shares
from octopi.geometry import Grid, PicksByRun, Points
from octopi.inference.predictor import Predictor
from octopi.localization.components import Components
from octopi.localization.localizer import Localizer
from octopi.models.net_output import NetOutput
from octopi.models.properties import COST_METRICS
from octopi.training.dataset_info import DatasetInfo
from octopi.training.metrics import check_metric

logger = logging.getLogger(__name__)

CALIBRATED_BETAS = (0.5, 1.0, 2.0, 4.0)  # every checkpoint has thresholds for these


def check_metric_names(settings: TrainSettings, object_names: list[str]) -> None:
    """Raise SettingError unless the best metric and every objective exist."""
    check_metric(settings.best_metric, object_names)
    for name in settings.objectives:
        if name not in COST_METRICS:
            check_metric(name, object_names)


@dataclass(frozen=True)
class Validation:
    """Makes the calls of the commands: predicts, localizes, calibrates and scores.

    Args:
        predictor: of score maps.
        localizer: of candidates.
        scorer: of picks.
        info: of the dataset.
        divisor: voxels of which every edge of the network's input is a multiple.
        net_output: what the network's logits mean.
        beta: the β whose thresholds the score is taken at.
    """

    predictor: Predictor
    localizer: Localizer
    scorer: Scorer
    info: DatasetInfo
    divisor: int
    net_output: NetOutput
    beta: float

    def __deepcopy__(self, memo: object) -> Self:
        """Return the same: copies of a module, for averages of weights, share project and runs."""
        return self

    def predict(self, net: nn.Module, volume: NDArray) -> NDArray[np.uint8]:
        """Return the score map (c, z, y, x) of a volume (z, y, x)."""
        return self.predictor(net, volume, divisor=self.divisor, net_output=self.net_output)

    def segment(self, scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the label volume of a score map."""
        return self.net_output.segmentation(scores)

    def localize(self, scores: NDArray[np.uint8], grid: Grid) -> dict[str, Points]:
        """Return the scored candidates of each object in a score map."""
        channels = [self.info.labels[name] - 1 for name in self.info.radii]
        return self.localizer(scores[channels], grid=grid, radii=self.info.radii)

    def calibrate(self, candidates: PicksByRun, truth: PicksByRun) -> Calibration:
        """Return the chances and thresholds of each object."""
        return calibrate(
            candidates,
            truth,
            radii=self.info.radii,
            weights=self.info.weights,
            tolerance_scale=self.scorer.tolerance_scale,
            betas=dict.fromkeys([*CALIBRATED_BETAS, float(self.beta)]),
            partial=self.info.partial,
        )

    def score_candidates(
        self, candidates: PicksByRun, truth: PicksByRun, calibration: Calibration
    ) -> dict[str, float | None]:
        """Score the candidates at or above the thresholds; return metrics by name, None = n/a."""
        # Also where particles are not annotated: an estimate through a share that this very network
        # gives would prefer a network with many false picks.
        return object_metrics(self.report(calibration.pick(candidates, self.beta), truth))

    def report(self, picks: PicksByRun, truth: PicksByRun) -> Report:
        """Score picks against what is annotated, in the runs and of the objects that have both."""
        both = keep_comparable(picks, truth)
        radii, weights = self.info.radii, self.info.weights
        return self.scorer(both.picks, both.truth, radii=radii, weights=weights)


def build_validation(
    settings: TrainSettings, info: DatasetInfo, divisor: int, net_output: NetOutput
) -> Validation:
    """Build what validates a network; see `Validation`.

    Args:
        settings: of the training.
        info: of the dataset.
        divisor: voxels of which every edge of the network's input is a multiple.
        net_output: what the network's logits mean.
    """
    predictor = build(settings.predictor, "predictor")
    predictor.check(divisor)
    localizer = build(settings.localizer, "localizer")
    check_gathers(localizer, net_output)
    scorer = build(settings.scorer, "scorer")
    beta = settings.threshold_beta
    return Validation(predictor, localizer, scorer, info, divisor, net_output, beta)


def check_gathers(localizer: Localizer, net_output: NetOutput) -> None:
    """Raise SettingError if scores gather in points, and the localizer looks for regions."""
    if net_output.offsets and isinstance(localizer, Components):
        raise SettingError(
            "painter=offsets gathers the scores of a particle at its centre, where "
            f"{type(localizer).__name__} finds no region of its size. Choose localizer=peaks, or "
            "painter=spheres or heatmaps."
        )


def object_metrics(report: Report) -> dict[str, float | None]:
    """Return the scorer's report as metrics by name; None = n/a."""
    metrics: dict[str, float | None] = {
        "object_fbeta": report.total,
        "object_f1": report.mean_f1,
    }
    for statistic in ("recall", "precision"):
        values = [getattr(s, statistic) for s in report.scores.values()]
        present = [v for v in values if v is not None]
        metrics[f"object_{statistic}"] = sum(present) / len(present) if present else None
    for name, score in report.scores.items():
        for statistic in ("fbeta", "f1", "recall", "precision"):
            metrics[f"object_{statistic}_{name}"] = getattr(score, statistic)
    return metrics


def log_shares(shares: Mapping[str, AnnotatedShare], truth: PicksByRun, info: DatasetInfo) -> None:
    """Log which part of the particles seems annotated, and what that means for the metrics.

    Warn where clearly not all are annotated that are said to be.

    Args:
        shares: object name -> share of its particles that is annotated.
        truth: run name -> object name -> annotated particles that the shares were taken from.
        info: of the dataset.
    """
    for sentence in describe_shares(shares, info.partial & info.radii.keys()):
        logger.info(sentence)
    if info.metrics_note:
        logger.info(info.metrics_note)
    advice = advise_partial(
        shares,
        count_annotated(truth, shares.keys()),
        partial=info.partial,
        object_names=info.labels.keys(),
        write_override=shell_override,
    )
    if advice is not None:
        logger.warning(advice)
