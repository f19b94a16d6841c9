"""A SLURM of two nodes on this machine's loopback, from Debian's packages, without systemd."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

from waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
NODE = "127.0.0.1"  # an address, as the processes of a training that find each other need it
SECOND_NODE = "second"  # of the partition `both` alone

CONFIG = """
ClusterName=octopi
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
FirstJobId={ports[0]}
MessageTimeout=60
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=20
MinJobAge=300
PropagateResourceLimitsExcept=ALL
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=6000
NodeName={second} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=6000
PartitionName=main Nodes={node} Default=YES State=UP PriorityTier=1
PartitionName=urgent Nodes={node} State=UP PriorityTier=2
PartitionName=both Nodes={node},{second} State=UP PriorityTier=1
"""


def missing_programs() -> list[str]:
    """List the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


class SlurmCluster:
    """The servers of a cluster, in a folder of their own.

    Args:
        folder: for configuration, state and logs; its path must be short.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[subprocess.Popen] = []
        self.lock = socket.socket(socket.AF_UNIX)  # held as long as its ports are used

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which SLURM's programs are found, and find the servers."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def start(self) -> None:
        """Start the servers and wait until the nodes accept jobs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "slurm.conf").write_text(
            CONFIG.format(
                folder=self.folder,
                host=socket.gethostname().partition(".")[0],
                user=getpass.getuser(),
                node=NODE,
                second=SECOND_NODE,
                ports=self._reserve_ports(),
            ),
            encoding="utf-8",
        )
        key, munge_socket = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        paths = {"key-file": key, "socket": munge_socket} | {
            name: self.folder / f"munged.{name}" for name in ("pid-file", "seed-file", "log-file")
        }
        options = [f"--{name}={path}" for name, path in paths.items()]
        self._serve("munged", "--foreground", "--force", "--num-threads=2", *options)
        self._wait("munge", "--no-input", f"--socket={munge_socket}")
        config = str(self.folder / "slurm.conf")
        self._serve("slurmctld", "-D", "-f", config)
        self._wait("scontrol", "ping")
        for node in (NODE, SECOND_NODE):
            self._serve("slurmd", "-D", "-N", node, "-f", config)
        self._wait("srun", "--partition=both", "--nodes=2", "true")

    def stop(self) -> None:
        """Cancel all jobs and end the servers."""
        self.cancel_all()
        for server in reversed(self.servers):
            server.terminate()
            server.wait(30)
        self.lock.close()

    def cancel_all(self) -> None:
        """Kill and cancel every job."""
        if (self.folder / "slurm.conf").exists():
            user = f"--user={getpass.getuser()}"
            self.run("scancel", user, "--signal=KILL", "--full")
            self.run("scancel", user)

    def run(self, *command: str) -> str:
        """Run a program of SLURM; return what it prints."""
        done = subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return done.stdout + done.stderr

    def submit(self, script: str, *options: str) -> str:
        """Submit a job script; return the id of the job."""
        path = self.folder / f"script_{time.monotonic_ns()}.sh"
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        answer = self.run("sbatch", "--parsable", *options, str(path)).strip()
        assert answer.isdigit(), answer
        return answer

    def state(self, job: str) -> dict[str, str]:
        """Return what `scontrol` shows of a job that is no array."""
        (task,) = self.tasks(job)
        return task

    def tasks(self, job: str) -> list[dict[str, str]]:
        """Return what `scontrol` shows of each task of a job array; one of another job."""
        lines = self.run("scontrol", "--oneliner", "show", "job", job).splitlines()
        return [
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in lines
            if line.startswith("JobId=")
        ]

    def wait_for_end(self, job: str, *, seconds: float = 400) -> str:
        """Wait until all tasks of a job have ended; return the highest exit code, CODE:SIGNAL."""
        ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}
        wait_until(
            lambda: (
                bool(states := {task["JobState"] for task in self.tasks(job)}) and states <= ended
            ),
            seconds=seconds,
            seconds_between=0.2,
        )
        return max(task["ExitCode"] for task in self.tasks(job))

    def _reserve_ports(self) -> list[int]:
        """Return free ports of the servers, below those that the kernel hands out.

        No cluster of another process of the tests takes them at the same time: the name of the
        lock is unique on the machine, and goes with this process. The first job's number, from
        which the tasks of srun derive their ports, is the port's: ports of clusters are far apart.
        """
        for port in range(20_000, 24_000, 100):
            try:
                self.lock.bind(f"\0octopi-slurm-{port}")
            except OSError:
                continue
            ports = [port, port + 1, port + 2]
            if all(map(_is_free, ports)):
                return ports
            self.lock.close()
            self.lock = socket.socket(socket.AF_UNIX)
        raise AssertionError("There are no free ports for a cluster.")

    def _serve(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as log:
            server = subprocess.Popen(
                command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.servers.append(server)

    def _wait(self, *command: str) -> None:
        """Wait until a program succeeds."""
        environment = os.environ | self.environment

        def answers() -> bool:
            assert self.servers[-1].poll() is None, self.logs()
            done = subprocess.run(command, env=environment, capture_output=True, check=False)
            return done.returncode == 0

        wait_until(answers, seconds=60, seconds_between=0.2)

    def logs(self) -> str:
        """Return the ends of what the servers have logged."""
        files = [*self.folder.glob("*.out"), *self.folder.glob("*.log")]
        return "\n".join(
            f"{path.name}: {path.read_text(encoding='utf-8', errors='replace')[-500:]}"
            for path in files
        )


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) != 0
