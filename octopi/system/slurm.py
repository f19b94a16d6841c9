"""The SLURM job that this process is part of. Standard library only."""

import contextlib
import math
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator

from octopi.errors import ResourceError, shorten
from octopi.system.resources import parse_duration, variable_number

UNFINISHED_STATES = {
    *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SIGNALING", "STAGE_OUT"),
}
MINUTES_BESIDE_STEPS = 30  # of a job: to start, read tomograms and validate at the end
RETRY_WAITS = (5, 15, 60)  # seconds, while the controller of SLURM does not answer


def is_restarted() -> bool:
    """Return whether SLURM has started this job before: requeued, preempted, or its node lost."""
    return variable_number("SLURM_RESTART_COUNT", 0) > 0


def job_minutes(max_time: str) -> int:
    """Return how long a job of a training may run, for which Lightning's `max_time` is the steps'.

    Args:
        max_time: DD:HH:MM:SS.
    """
    return math.ceil(parse_duration(max_time) / 60) + MINUTES_BESIDE_STEPS


def requeue_job() -> str:
    """Have SLURM start this job again; return a sentence on what it answered, or an empty one."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        return ""
    try:
        subprocess.run(
            ["scontrol", "requeue", job],
            check=True,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip()
        return f"SLURM does not start job {job} again: {shorten(reason, 150)}."
    return f"SLURM starts job {job} again, which goes on from there."


@contextlib.contextmanager
def outside_job() -> Iterator[None]:
    """Hide the settings of this job in the block, which those that are submitted there would take.

    Where this process is in no job they are the user's own, such as SBATCH_ACCOUNT.
    """
    names = list(os.environ) if "SLURM_JOB_ID" in os.environ else []
    prefixes = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SALLOC_")
    hidden = {
        name: os.environ.pop(name)
        for name in names
        if name.startswith(prefixes) and not name.startswith("SLURM_CONF")
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def job_states(jobs: Iterable[str]) -> dict[str, str]:
    """Return the states of jobs, such as 12 or 12_3, that SLURM still knows.

    Raises:
        ResourceError: SLURM does not answer.
    """
    ids = sorted({job.partition("_")[0] for job in jobs})
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
    for wait in (*RETRY_WAITS, None):
        done = subprocess.run(
            [*command, f"--jobs={','.join(ids)}"],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode == 0 or "Invalid job id" in done.stderr:
            lines = (line.split() for line in done.stdout.splitlines())
            return {line[0]: line[1] for line in lines if len(line) == 2}
        if wait is not None:
            time.sleep(wait)
    raise ResourceError(f"SLURM does not answer: {shorten(done.stderr.strip(), 200)}.")


def exit_code(job: str) -> int:
    """Return the exit code of a job that has ended; 0 where SLURM no longer knows it."""
    done = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, encoding="utf-8", check=False
    )
    match = re.search(r"ExitCode=(\d+):", done.stdout)
    return int(match[1]) if match else 0
