"""Trainings as jobs of SLURM, submitted by submitit; those that start together are one array."""

import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from octopi.config.overrides import override_text
from octopi.errors import ExitCode, ResourceError, SettingError, shorten
from octopi.processes.local import last_error_message
from octopi.processes.tasks import ProcessResult, TrainingTask
from octopi.system import slurm
from octopi.system.files import write_text
from octopi.system.job_folder import OUTPUT_FILE

logger = logging.getLogger(__name__)

JOB_FILE = "slurm_job"  # in a training's folder: the job that runs it
RESULT_INTERVAL, STATE_INTERVAL = 2.0, 15.0  # seconds between looks at files, and calls of squeue
LOOKS_AFTER_END = 4  # at a result that a slow file system may show late
SUBMITIT_KEYS = {"submitit_folder", "max_num_timeout", "python"}  # parameters that are not a job's
SHARED_KEYS = {  # that submitit calls alike for every cluster
    *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node"),
    *("mem_gb", "nodes", "name", "stderr_to_stdout"),
}
# What sbatch complains of, and what to change.
CURES = {
    "partition": "partition=…",
    "gres|gpu|generic resource": "gpus_per_node=…",
    "account": "account=…",
    "qos": "qos=…",
    "time limit": "timeout_min=…",
    "memory": "mem_gb=…",
    "cpu|node": "cpus_per_task=… or hydra.launcher.nodes=…",
}


class JobStates:
    """The states of jobs that SLURM knows, asked for once in a while for all of them."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._asked: set[str] = set()
        self._next = 0.0

    def of(self, job: str) -> str:
        """Return the state of a job; "" where SLURM does not know it."""
        if job not in self._asked or time.monotonic() >= self._next:
            self._asked.add(job)
            self._states = slurm.job_states(self._asked)
            self._next = time.monotonic() + STATE_INTERVAL
        return self._states.get(job, "")


@dataclass
class SlurmRunner:
    """Submits each training as a job that runs `python -m MODULE`.

    Args:
        parameters: of Hydra's launcher submitit_slurm.
        size: trainings at once.
        module: that `python -m` runs for a training.
        hydra_arguments: that each training needs to find its configs.
        on_restart: overrides by which a job that SLURM starts again goes on.
    """

    parameters: Mapping[str, Any]
    size: int
    module: str
    hydra_arguments: Sequence[str] = ()
    on_restart: Sequence[str] = ("resume=auto",)
    states: JobStates = field(default_factory=JobStates, init=False)

    def start(self, tasks: Sequence[TrainingTask]) -> list["SlurmTraining"]:
        """Submit trainings, or wait for the jobs of those that an earlier sweep has submitted.

        Raises:
            SettingError: SLURM refuses the jobs.
            ResourceError: SLURM cannot be reached.
        """
        job_of = {task.number: self._known_job(task) for task in tasks}
        new = [task for task in tasks if job_of[task.number] is None]
        executor = self._executor()
        commands = [(self._command(task), str(task.folder / OUTPUT_FILE)) for task in new]
        try:
            with slurm.outside_job():
                jobs = executor.map_array(run_training, *zip(*commands, strict=True)) if new else []
        except (FailedJobError, FailedSubmissionError) as error:
            raise refusal(str(error)) from error
        for task, job in zip(new, jobs, strict=True):
            task.folder.mkdir(parents=True, exist_ok=True)
            write_text(task.folder / JOB_FILE, job.job_id)
            job_of[task.number] = job
        if jobs:
            logger.info("%d jobs submitted to SLURM: %s.", len(jobs), jobs[0].job_id.split("_")[0])
        return [SlurmTraining(job_of[task.number], task, self.states.of) for task in tasks]

    def _command(self, task: TrainingTask) -> list[str]:
        """Return the command of a training, which goes on where SLURM starts its job again."""
        folder = override_text("hydra.run.dir", task.folder)
        overrides = [*task.overrides, folder, *self.on_restart]
        return [sys.executable, "-m", self.module, *self.hydra_arguments, *overrides]

    def _known_job(self, task: TrainingTask) -> Any:
        """Return the job of a training that is in SLURM's queue, or running; None if none is."""
        path = task.folder / JOB_FILE
        if not path.is_file():
            return None
        job_id = path.read_text(encoding="utf-8").strip()
        is_id = re.fullmatch(r"\d+(_\d+)?", job_id)
        if not is_id or self.states.of(job_id) not in slurm.UNFINISHED_STATES:
            return None
        logger.info("%s: waiting for its job %s.", task.folder.name, job_id)
        return submitit.SlurmJob(self.parameters["submitit_folder"], job_id)

    def _executor(self) -> submitit.AutoExecutor:
        """Make what submits the jobs, with the parameters of Hydra's launcher."""
        submitit_options = {
            f"slurm_{key}": value
            for key, value in self.parameters.items()
            if key in SUBMITIT_KEYS - {"submitit_folder"}
        }
        folder = self.parameters["submitit_folder"]
        executor = submitit.AutoExecutor(folder, cluster="slurm", **submitit_options)
        delay = self.parameters.get("signal_delay_s", 120)
        further = {**(self.parameters.get("additional_parameters") or {})}
        further.setdefault("signal", f"USR1@{delay}")  # on which a training stops; not on USR2
        job = {**self.parameters, "additional_parameters": further}
        executor.update_parameters(
            **{
                key if key in SHARED_KEYS else f"slurm_{key}": value
                for key, value in job.items()
                if key not in SUBMITIT_KEYS
            }
        )
        return executor


def refusal(text: str) -> SettingError | ResourceError:
    """Return the error for what sbatch printed when it refused a job."""
    lines = [line for line in text.splitlines() if "error:" in line] or text.splitlines() or [text]
    reason = shorten(lines[0].removeprefix("sbatch: error: ").strip(), 250)
    if re.search("contact|timed out", text, re.IGNORECASE):
        return ResourceError(f"SLURM does not take jobs: {reason}. Start the same command later.")
    cures = [cure for pattern, cure in CURES.items() if re.search(pattern, text, re.IGNORECASE)]
    cure = cures[0] if cures else "…"
    return SettingError(
        f"SLURM refused the job: {reason}. Change hydra.launcher.{cure} and start again in the "
        "same folder: nothing has failed by this."
    )


def run_training(command: list[str], log: str) -> int:
    """Run a training as a process of this job; return its exit code.

    SLURM sends its signals to that process too, which stops. Then this one ends without a result,
    since the job may be started again.
    """
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCONT):
        signal.signal(number, lambda *_: None)
    with Path(log).open("ab") as file:
        code = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    if code > 128:
        sys.exit(code)
    return code


@dataclass
class SlurmTraining:
    """A training in a job.

    Args:
        job: of submitit.
        task: the training.
        state_of: returns the state of a job.
    """

    job: Any
    task: TrainingTask
    state_of: Callable[[str], str]
    next_look: float = 0.0
    looks_left: int = LOOKS_AFTER_END
    stopped_by: int | None = None

    def poll(self) -> ProcessResult | None:
        """Return how it ended; None while it waits or runs."""
        if self.stopped_by is not None:
            return ProcessResult(128 + self.stopped_by, "")
        if time.monotonic() < self.next_look:
            return None
        self.next_look = time.monotonic() + RESULT_INTERVAL
        if self.job.paths.result_pickle.exists():
            return self._result()
        state = self.state_of(self.job.job_id)
        if state in slurm.UNFINISHED_STATES:
            self.looks_left = LOOKS_AFTER_END
            return None
        self.looks_left -= 1
        return None if self.looks_left else self._lost(state)

    def _result(self) -> ProcessResult:
        """Return how the process of the training ended."""
        try:
            (code,) = self.job.results()
        except FailedJobError:
            code = ExitCode.MISTAKE
        return ProcessResult(code, self._message() if code else "")

    def _lost(self, state: str) -> ProcessResult:
        """Return how a job ended that left no result: it was stopped, or never began."""
        job = f"SLURM's job {self.job.job_id} ended as {state or 'unknown to squeue'}"
        code = slurm.exit_code(self.job.job_id)
        if state == "OUT_OF_MEMORY":
            return ProcessResult(ExitCode.RESOURCE, f"{job}. {self._message()}")
        if state in ("FAILED", "COMPLETED") and code <= 128:
            return ProcessResult(code or ExitCode.MISTAKE, f"{job}. {self._message()}")
        return ProcessResult(128 + signal.SIGTERM, job)

    def _message(self) -> str:
        """Return the cause from the log of the training or else of its job, and which log it is."""
        log = self.task.folder / OUTPUT_FILE
        if log.is_file() and (message := last_error_message(log)):
            return f"{message} (see {log})"
        log = self.job.paths.stderr
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        lines = text.splitlines() or ["It printed nothing."]
        causes = [line for line in lines if re.search("error|fatal", line, re.IGNORECASE)]
        return f"{shorten((causes or lines)[-1], 200)} (see {log})"

    def send(self, number: int) -> None:
        """Wait no longer: the job goes on, and the next start of the sweep finds it."""
        self.stopped_by = number
