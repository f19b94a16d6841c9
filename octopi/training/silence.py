"""Silence messages of Lightning that are of no use in the log."""

import logging
import warnings

from lightning_fabric.utilities.warnings import PossibleUserWarning


def silence_lightning() -> None:
    """Keep Lightning's advertisements and its hints on how to use Lightning out of the log."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Hints: few workers, srun or a GPU that is not used, a logging interval, …
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # No validation runs is a choice: the training runs are validated at the end.
    warnings.filterwarnings("ignore", message="Total length of `list` across ranks is zero")
