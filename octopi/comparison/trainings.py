"""Run the trainings of a comparison that are missing, one after the other."""

from collections.abc import Sequence
from pathlib import Path

from octopi.cli.compose import config_search_arguments
from octopi.comparison.methods import Method
from octopi.errors import SweepError
from octopi.processes.local import LocalRunner, check_one_device
from octopi.processes.tasks import TrainingTask, run_unfinished
from octopi.system.job_folder import OUTPUT_FILE, Job
from octopi.training.dry_run import describe_training
from octopi.training.run import build_training

MODULE = "octopi.train"


def check_trainings(methods: Sequence[Method]) -> None:
    """Check what each method trains, as its dry run does; write nothing.

    Raises:
        OctopiError: a method that cannot be trained.
    """
    for method in methods:
        missing = [training for training in method.trainings if not training.is_finished]
        if missing:
            folder, settings = missing[0].folder, missing[0].settings
            check_one_device(settings)
            training = build_training(settings, folder)
            describe_training(settings, Job(folder, missing[0].overrides), training)


def run_missing(methods: Sequence[Method], folder: Path) -> None:
    """Run every training that has not ended; a training uses all devices or cores for its folds.

    Args:
        methods: with their trainings.
        folder: of the comparison, for the message of what continues it.

    Raises:
        SweepError: a training failed; the others have been run.
        StoppedBySignal: after SIGTERM or Ctrl-C.
    """
    # seed by seed, so that every seed that is done compares all methods
    by_seed = zip(*(method.trainings for method in methods), strict=True)
    trainings = [training for of_seed in by_seed for training in of_seed]
    tasks = [
        TrainingTask(number, training.folder, training.overrides)
        for number, training in enumerate(trainings)
    ]
    resume_command = f"the same command (hydra.run.dir={folder})"
    runner = LocalRunner([{}], MODULE, config_search_arguments())
    failed = run_unfinished(
        tasks, runner, desc="compare", unit="training", resume_command=resume_command
    )
    if failed:
        number, result = next(iter(failed.items()))
        raise SweepError(
            f"{len(failed)} of {len(trainings)} trainings failed. "
            f"{trainings[number].folder}: {result.reason} (see {OUTPUT_FILE} there).\n"
            f"Run what is missing with {resume_command}, without what cannot be trained."
        )
