"""The LightningModule: a network, its loss, and validation as in the commands."""

import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Timer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from octopi.config.build import build
from octopi.config.settings import TrainSettings
from octopi.errors import DivergedError
from octopi.evaluation.calibration import Calibration
from octopi.geometry import Points
from octopi.models.properties import logits_per_head
from octopi.models.soup import sample_weights
from octopi.targets import drop_unknown
from octopi.training.cpu_budget import CpuBudget
from octopi.training.metrics import count_voxels, metric_value, voxel_metrics
from octopi.training.mixing import Mix
from octopi.training.schedule import build_lr_scheduler
from octopi.training.training_loss import TrainingLoss
from octopi.training.validation import Validation

DIVERGED = (
    "The best model so far is kept. Try a lower learning rate (optim.optimizer.lr) or "
    "trainer.precision=32-true."
)


class PickingModule(pl.LightningModule):
    """Trains a network; validates it by the picks that it gives in whole tomograms."""

    def __init__(
        self,
        net: nn.Module,
        settings: TrainSettings,
        *,
        loss: TrainingLoss,
        validation: Validation,
        labels: Mapping[str, int],
        mix: Mix | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.net = net
        self.initial_weights = sample_weights(net)
        self.loss = loss
        self.validation = validation
        self.labels = dict(labels)
        self.mix = mix
        self.best_metric = settings.best_metric
        self.calibration = Calibration({}, {}, {})
        self.metrics: dict[str, float | None] = {}
        self.best_value: float | None = None
        self.validated_step = -1
        self.candidates: dict[str, dict[str, Points]] = {}
        self._truth: dict[str, Mapping[str, Points]] = {}
        self._counts = np.zeros((len(labels), 3), np.int64)  # tp, fp, fn
        self._examiner: ThreadPoolExecutor | None = None
        self._examined: Future[None] | None = None

    def configure_optimizers(self) -> dict[str, Any]:
        """Make the optimizer and its learning-rate scheduler.

        The scheduler moves with every optimizer step; ReduceLROnPlateau with every validation.
        """
        optim = self.settings.optim
        make_optimizer = build(optim["optimizer"], "optim.optimizer", partial=True)
        optimizer = make_optimizer(self.net.parameters())
        scheduler = build_lr_scheduler(optim["lr_scheduler"], optimizer, self.spent_budget)
        timing: dict[str, Any] = {"interval": "step"}
        if isinstance(scheduler, ReduceLROnPlateau):
            timing = {
                "interval": "epoch",
                "frequency": self.trainer.check_val_every_n_epoch,
                "monitor": f"val/{self.best_metric}",
                "strict": False,  # the metric can be n/a
            }
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **timing}}

    def spent_budget(self, step: int) -> float:
        """Return the part of the step, time or CPU budget that is spent, whichever is furthest."""
        # Not trainer.estimated_stepping_batches: it would load the crops of epoch 0 for a resume.
        batches = (self.trainer.max_epochs or 0) * self.settings.data["steps_per_epoch"]
        total = batches / self.trainer.accumulate_grad_batches
        spent = step / total if total > 0 else 0.0
        for timer in (c for c in self.trainer.callbacks if isinstance(c, Timer)):  # type: ignore[attr-defined]
            elapsed, remaining = timer.time_elapsed(), timer.time_remaining()
            if remaining is not None:
                spent = max(spent, elapsed / max(elapsed + remaining, 1e-9))
        budgets = [c for c in self.trainer.callbacks if isinstance(c, CpuBudget)]  # type: ignore[attr-defined]
        return max([spent, *(budget.spent for budget in budgets)])

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch, over all heads of a deeply supervised network.

        Randomness in a step, such as dropout, depends on the seed and the step only: so a resumed
        training ends with the same weights as an uninterrupted one.
        """
        torch.manual_seed(self.settings.seed * 1_000_003 + self.global_step)
        loss = self.batch_loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss is {value} at step {self.global_step} (epoch {self.current_epoch}, "
                f"batch {batch_idx}). {DIVERGED}"
            )
        self.log(
            "train/loss",
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            sync_dist=True,
            batch_size=1,
        )
        return loss

    def batch_loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Return the loss of a batch, over all heads of a deeply supervised network."""
        if self.mix is None:
            return self.loss(logits_per_head(self.net(batch["image"])), batch)
        rng = np.random.default_rng((self.settings.seed, self.global_step))
        image, weighted = self.mix(batch["image"], self.loss.read_known(batch), rng)
        outputs = logits_per_head(self.net(image))
        losses = [weight * self.loss.compare(outputs, known) for weight, known in weighted]
        return torch.stack(losses).sum()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save no checkpoint of a net that has diverged."""
        self._check_finite()

    def _check_finite(self) -> None:
        """Raise DivergedError if a weight or statistic of the network is not finite.

        The loss can be finite nevertheless: in training, batch norm does not use its statistics.
        """
        for name, value in self.net.state_dict().items():
            if not value.isfinite().all():
                raise DivergedError(
                    f"{name} of the network holds values that are not numbers after step "
                    f"{self.global_step} (epoch {self.current_epoch}). {DIVERGED}"
                )

    def on_validation_epoch_start(self) -> None:
        """Reset the validation state."""
        self._check_finite()
        self.candidates, self._truth = {}, {}
        self._counts = np.zeros((len(self.labels), 3), np.int64)
        if self.device.type != "cpu":  # whose cores have no time left, and memory for one score map
            self._examiner = ThreadPoolExecutor(1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Predict one whole tomogram; examine its scores, on a GPU while it predicts the next."""
        scores = self.validation.predict(self.net, batch.image)
        self._finish_examining()
        if self._examiner is None:
            self._examine(batch, scores)
        else:
            self._examined = self._examiner.submit(self._examine, batch, scores)

    def _finish_examining(self) -> None:
        """Wait until the tomogram that was predicted before is examined; raise its errors."""
        examined, self._examined = self._examined, None
        if examined is not None:
            examined.result()

    def _examine(self, batch: Any, scores: NDArray) -> None:
        """Find the candidates of a tomogram and count its voxels."""
        segmentation = self.validation.segment(scores)
        counts = count_voxels(segmentation, batch.target, self.labels)
        is_annotated = [name not in batch.not_annotated for name in self.labels]
        self._counts[is_annotated] += counts[is_annotated]
        candidates = self.validation.localize(scores, batch.grid)
        self.candidates[batch.run_name] = drop_unknown(
            candidates, batch.target, batch.grid, self.labels
        )
        self._truth[batch.run_name] = batch.truth

    def on_validation_epoch_end(self) -> None:
        """Calibrate thresholds on these tomograms; compute and log every metric."""
        self._finish_examining()
        if self._examiner is not None:
            self._examiner.shutdown()
            self._examiner = None  # which cannot be copied, as the module is for weight averages
        self.validated_step = self.global_step
        self.calibration = self.validation.calibrate(self.candidates, self._truth)
        measured = self.validation.score_candidates(self.candidates, self._truth, self.calibration)
        names = list(self.labels)
        self.metrics = voxel_metrics(self._counts, names) | measured
        self.best_value = metric_value(self.best_metric, self._counts, names, self.metrics)
        self.metrics[self.best_metric] = self.best_value
        for name, value in self.metrics.items():
            if value is not None:
                is_best_metric = name == self.best_metric
                self.log(f"val/{name}", value, prog_bar=is_best_metric, batch_size=1)
