"""The SLURM job that this process is part of. Standard library only."""

import os
import subprocess

from octopi.errors import shorten


def is_restarted() -> bool:
    """Return whether SLURM has started this job before: requeued, preempted, or its node lost."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


def requeue_job() -> str:
    """Have SLURM start this job again; return a sentence on what it answered, or an empty one."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        return ""
    try:
        subprocess.run(
            ["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip()
        return f"SLURM does not start job {job} again: {shorten(reason, 150)}."
    return f"SLURM starts job {job} again, which goes on from there."
