"""Try one step and one validation on random numbers, so that what fails fails in the dry run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from octopi.config.settings import TrainSettings
from octopi.errors import SettingError
from octopi.geometry import Grid, Points
from octopi.training.build_checks import explain_failure
from octopi.training.run import Training
from octopi.training.trial_batch import draw_batch

MAX_CROPS = 2  # of the trial's step


def try_training(settings: TrainSettings, training: Training) -> None:
    """Take one step and validate one window, both of random numbers, on the CPU.

    Raises:
        SettingError: the network, the loss, the localizer or the scorer fails at them.
    """
    generator = torch.Generator().manual_seed(0)
    crops, classes = settings.data["crops_per_step"], max(training.info.labels.values()) + 1
    batch = draw_batch(min(crops, MAX_CROPS), settings.data["crop_size"], classes, generator)
    with torch.random.fork_rng(devices=[]):
        try_step(training, batch)
        image = batch["image"][0, 0].numpy()
        try_validation(settings, training, image)


def try_step(training: Training, batch: Mapping[str, Any]) -> None:
    """Compute loss and gradients of a batch; raise SettingError where they are no numbers."""
    module = training.module.cpu().train()
    with explain_failure("A training step on random numbers"):
        loss = module.batch_loss(batch)
        loss.backward()
    gradients = [p.grad for p in module.net.parameters() if p.grad is not None]
    if not all(tensor.isfinite().all() for tensor in [loss, *gradients]):
        raise SettingError(
            f"A training step on random numbers gives a loss of {float(loss.detach()):g} or "
            "gradients that are not finite. Choose another loss or network."
        )
    module.net.zero_grad()


def try_validation(settings: TrainSettings, training: Training, image: np.ndarray) -> None:
    """Predict a volume, find candidates in it, calibrate and score them.

    Args:
        settings: of the training.
        training: whose net and validation are tried.
        image: (z, y, x).
    """
    module = training.module.eval()
    steps, info = module.validation_steps, training.info
    spacing = info.working_spacing(settings)
    grid = Grid.cubic(image.shape, spacing)
    with explain_failure("A validation on random numbers"):
        scores = steps.predict(module.net, image)
        steps.segment(scores)
        candidates = {"trial": steps.localize(scores, grid)}
        check_candidates(candidates["trial"], settings.localizer)
        centre = np.array([image.shape[::-1]]) * spacing / 2
        truth = {"trial": {name: Points(centre) for name in info.radii}}
        calibration = steps.calibrate(candidates, truth)
        steps.score_candidates(candidates, truth, calibration)
    module.train()


def check_candidates(candidates: Any, node: Mapping[str, Any]) -> None:
    """Raise SettingError unless a localizer returned points with scores for each object."""
    is_right = isinstance(candidates, Mapping) and all(
        isinstance(points, Points) and points.scores is not None for points in candidates.values()
    )
    if not is_right:
        raise SettingError(
            f"localizer: {node.get('_target_')} must return Points with scores for each object, "
            f"not {candidates!r:.200}."
        )
