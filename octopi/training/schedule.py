"""Learning-rate schedulers: ours, which know the budget of a training, and torch's."""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from octopi.config.build import build
from octopi.errors import ExitCode, SettingError, describe_error, exit_code_of
from octopi.ranges import CountOrZero, Share, validated

LR_SCHEDULER = "optim.lr_scheduler"  # the section of the config


class Schedule(ABC):
    """A factor of the base learning rate.

    `progress` is the part of the budget that is spent, 0..1: of the epochs or, where
    `trainer.max_time` or `max_cpu_seconds` ends first, of those. So a training that is cut short
    by its budget has still cooled down.
    """

    @abstractmethod
    def __call__(self, *, step: int, progress: float) -> float:
        """Return the factor at an optimizer step."""


@validated
@dataclass(kw_only=True)
class WarmupCosine(Schedule):
    """A linear rise over `warmup_steps`, then a half cosine down to `min_lr_factor`; 1: no fall."""

    warmup_steps: CountOrZero
    min_lr_factor: Share

    def __call__(self, *, step: int, progress: float) -> float:
        """Return the factor at an optimizer step."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        factor = self.min_lr_factor + (1 - self.min_lr_factor) * cosine
        return min(1.0, (step + 1) / max(self.warmup_steps, 1)) * factor


def build_lr_scheduler(
    node: Mapping[str, Any], optimizer: Optimizer, progress: Callable[[int], float]
) -> LRScheduler | ReduceLROnPlateau:
    """Build the scheduler that `optim.lr_scheduler` describes.

    Args:
        node: a `Schedule` of ours or a class of `torch.optim.lr_scheduler`, and its arguments.
        optimizer: whose learning rate it sets.
        progress: optimizer step -> part of the budget that is spent, see `Schedule`.

    Raises:
        SettingError: if the class refuses its arguments or the optimizer.
    """
    make_scheduler: functools.partial = build(node, LR_SCHEDULER, partial=True)
    try:
        if not issubclass(make_scheduler.func, Schedule):  # type: ignore[arg-type]
            return make_scheduler(optimizer)
        schedule = make_scheduler()
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        raise SettingError(f"{LR_SCHEDULER}: {error}") from error
    return LambdaLR(optimizer, lambda step: schedule(step=step, progress=progress(step)))


def check_lr_scheduler(
    node: Mapping[str, Any], optimizer: Optimizer, *, num_steps: int, best_metric: str
) -> None:
    """Raise SettingError unless optimizer and scheduler take a step and last to the training's end.

    Args:
        node: see `build_lr_scheduler`.
        optimizer: one like that of the training, of weights that have gradients; it takes a step.
        num_steps: optimizer steps of the training.
        best_metric: that `ReduceLROnPlateau` follows.
    """
    scheduler = build_lr_scheduler(node, optimizer, lambda step: 0.0)
    if isinstance(scheduler, ReduceLROnPlateau) and scheduler.mode != "max":
        raise SettingError(
            f"{LR_SCHEDULER}.mode={scheduler.mode} lowers the learning rate when {best_metric} "
            f"gets better. Set +{LR_SCHEDULER}.mode=max."
        )
    total_steps = getattr(scheduler, "total_steps", None)  # of OneCycleLR, which fails after them
    if total_steps is not None and total_steps < num_steps:
        raise SettingError(
            f"{LR_SCHEDULER} ends after {total_steps} steps, the training after {num_steps}. "
            f"Set +{LR_SCHEDULER}.total_steps={num_steps}."
        )
    part = "optim.optimizer"
    try:
        optimizer.step(lambda: 0.0)  # a loss, for those that ask for it again
        part = LR_SCHEDULER
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(0.0)
        else:
            scheduler.step()
    except Exception as error:  # of a library or of the user
        if exit_code_of(error) == ExitCode.RESOURCE:
            raise
        raise SettingError(f"{part} takes no step: {describe_error(error)}.") from error
