"""A head start: the cache is filled while torch and Lightning are imported, which takes seconds.

A forked process does it, with what is light to import. It needs no answer: the training asks the
cache for the same volumes, waits for one that is just being made, and meets the same errors.
"""

import contextlib
import inspect
import logging
import multiprocessing
import sys
import threading

from octopi import processes
from octopi.config import build
from octopi.data.intake import Intake
from octopi.facts import gather_facts
from octopi.settings import TrainSettings
from octopi.training.ranks import is_helper

OURS = ("octopi.data.datamodule.TomogramDataModule", "octopi.project.open_project")


def fill_cache(settings: TrainSettings) -> None:
    """A process fills the cache, where one can be forked safely and gains time by it."""
    targets = (settings.data.get("_target_"), settings.project.get("_target_"))
    safe = sys.platform == "linux" and threading.active_count() == 1
    gains = "torch" not in sys.modules and not settings.dry_run
    if targets == OURS and safe and gains and not is_helper():
        fork = multiprocessing.get_context("fork")
        fork.Process(target=_fill_cache, args=(settings,), daemon=True).start()


def _fill_cache(settings: TrainSettings) -> None:
    processes.belong_to_parent()
    logging.disable()  # the training says what there is to say
    with contextlib.suppress(Exception), contextlib.redirect_stderr(None):
        facts = gather_facts(build(settings.project, "project"), settings)
        parameters = inspect.signature(Intake.of).parameters
        named = {name: value for name, value in settings.data.items() if name in parameters}
        intake = Intake.of(
            runs=facts.runs,
            target=facts.target,
            tomograms=facts.tomograms,
            labels=facts.labels,
            **named,
        )
        intake.fill(*intake.read())
