"""How the learning rate moves: factors of the base rate, as functions of how much is done."""

import math
from abc import ABC, abstractmethod


class Schedule(ABC):
    """A factor of the base learning rate.

    `progress` is the part of the budget that is spent, 0..1: of the epochs or, where
    `trainer.max_time` ends first, of the time. So a training that is cut short by its time
    budget has still cooled down.
    """

    @abstractmethod
    def __call__(self, *, step: int, progress: float) -> float:
        """The factor at an optimizer step."""


class WarmupCosine(Schedule):
    """A linear rise over `warmup_steps`, then a half cosine down to `min_lr_factor`."""

    def __init__(self, *, warmup_steps: int, min_lr_factor: float) -> None:
        if warmup_steps < 0 or not 0 <= min_lr_factor <= 1:
            raise ValueError(
                f"Need warmup_steps >= 0 and 0 <= min_lr_factor <= 1, not {warmup_steps} and "
                f"{min_lr_factor}."
            )
        self.warmup_steps = warmup_steps
        self.min_lr_factor = min_lr_factor

    def __call__(self, *, step: int, progress: float) -> float:
        """The factor at an optimizer step."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return warmup * (self.min_lr_factor + (1 - self.min_lr_factor) * cosine)


class Constant(Schedule):
    """A linear rise over `warmup_steps`, then the base rate to the end."""

    def __init__(self, *, warmup_steps: int) -> None:
        if warmup_steps < 0:
            raise ValueError(f"Need warmup_steps >= 0, not {warmup_steps}.")
        self.warmup_steps = warmup_steps

    def __call__(self, *, step: int, progress: float) -> float:
        """The factor at an optimizer step."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
