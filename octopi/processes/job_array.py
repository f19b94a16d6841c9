"""A command as the tasks of one job array of SLURM, which share its runs by claims."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from octopi.processes.launcher import slurm_runner
from octopi.processes.tasks import TrainingTask, UnfinishedError, run_unfinished

logger = logging.getLogger(__name__)


def start_workers(
    parameters: Mapping[str, Any],
    command: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    number: int,
) -> None:
    """Submit a command several times, as one job array, and wait until its runs are done.

    Args:
        parameters: of Hydra's launcher submitit_slurm.
        command: the module that `python -m` runs, and arguments that each job needs.
        overrides: of the command, the same for all.
        folder: in which each job has its own.
        number: of jobs.

    Raises:
        UnfinishedError: no job has ended well; one that has, has waited for those of the others.
    """
    module, *arguments = command
    runner = slurm_runner(parameters, number, module, arguments, on_restart=())
    tasks = [
        TrainingTask(index, folder / f"worker_{index}", [*overrides]) for index in range(number)
    ]
    resume_command = f"the same command (hydra.sweep.dir={folder})"
    failed = run_unfinished(
        tasks, runner, desc="workers", unit="worker", resume_command=resume_command
    )
    causes = [f"{tasks[index].folder.name}: {result.reason}" for index, result in failed.items()]
    if len(failed) == number:
        raise UnfinishedError(
            f"No worker has ended well. {causes[0]}\nContinue with {resume_command}.",
            next(iter(failed.values())),
        )
    for cause in causes:
        logger.warning("%s. The other workers have done its runs.", cause.rstrip("."))
    logger.info("Every run is done. The logs of the workers are in %s.", folder)
